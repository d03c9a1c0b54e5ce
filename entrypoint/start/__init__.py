"""A start, from the settings to the hand-over to PID 1."""
