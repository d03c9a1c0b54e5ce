"""Following another server, taking its place, and giving way to it."""
