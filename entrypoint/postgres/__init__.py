"""What PostgreSQL writes and reads: its files, its command lines, its names and its SQL, without a server."""
