"""Restore a cluster from the archive: choose the backup and the target, fetch, and replay."""
