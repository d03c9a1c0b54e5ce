"""What the watch shows over HTTP: probes, metrics, and the status page; it only reads."""
