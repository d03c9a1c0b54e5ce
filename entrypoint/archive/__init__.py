"""WAL to and from the archive, and the claim to the archive."""
