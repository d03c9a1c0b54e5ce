"""A restore that is rehearsed beside the running server."""
