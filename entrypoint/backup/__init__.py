"""Base backups: when they are due, taken, verified, kept and removed."""
