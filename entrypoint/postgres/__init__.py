"""What PostgreSQL reads and writes without a server: its files, command lines, names and SQL."""
