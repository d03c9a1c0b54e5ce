"""The data folder before a server runs on it, and our own files in it."""
