"""Keeping the server up: the second half of PID 1, what it decides, and what it tells."""
