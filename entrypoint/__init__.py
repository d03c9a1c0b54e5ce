"""PID 1 of a PostgreSQL container image."""

__version__ = "0.1.0"
