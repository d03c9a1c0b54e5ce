"""Text that sorts differently than when it was indexed: noticed, examined, rebuilt."""
