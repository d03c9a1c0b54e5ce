"""What Linux provides: processes, signals, files, users and locks, and safe file access for root."""
