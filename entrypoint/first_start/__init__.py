"""A new cluster: made or copied, with its init files; all or nothing."""
