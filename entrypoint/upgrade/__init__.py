"""The upgrade of a cluster to a newer major version: checked, built next to the data, committed, undone."""
