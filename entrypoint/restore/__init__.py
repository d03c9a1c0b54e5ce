"""A cluster out of the archive: which backup, up to where, fetched and replayed."""
