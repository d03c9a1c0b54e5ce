"""WAL goes into the archive and comes out of it; the archive belongs to one cluster."""
