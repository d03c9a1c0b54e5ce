"""A first start: a new cluster, by initdb or as a copy, and its init files; all or nothing."""
