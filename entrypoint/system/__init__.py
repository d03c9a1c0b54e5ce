"""What Linux gives: processes, signals, files, users, locks, and how root handles what others can write."""
