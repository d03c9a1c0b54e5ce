"""The server as we run it and ask it: the context of a start, its programs, its sessions."""
