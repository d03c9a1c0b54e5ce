"""WAL into the archive and out of it, and whose archive it is."""
