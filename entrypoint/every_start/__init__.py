"""What is done at every start once the server accepts connections."""
