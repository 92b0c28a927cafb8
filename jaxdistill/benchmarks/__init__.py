"""What the figures of speed measure."""
