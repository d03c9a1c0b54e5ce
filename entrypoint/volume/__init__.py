"""The data folder before there is a server, and what is ours in it."""
