"""What the watch has noted: conditions and events, and everything that it shows."""
