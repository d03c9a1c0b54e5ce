"""The steps of every start once the server accepts connections."""
