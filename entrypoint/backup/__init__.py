"""Base backups: scheduling, taking, verifying, keeping and removing them."""
