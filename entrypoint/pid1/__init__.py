"""Keeping the server up: the second half of PID 1, its decisions, and its status."""
