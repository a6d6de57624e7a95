"""Compare methods on one split, with retrained models as the yardstick."""
