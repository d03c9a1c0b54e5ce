"""A cluster restored from the archive: the backup and the target are chosen, fetched and replayed."""
