"""The server: the context of a start, the server's programs, and our sessions with it."""
