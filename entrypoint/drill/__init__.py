"""The rehearsal of a restore next to the running server."""
