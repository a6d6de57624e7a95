"""Release a model, sign a record of it, and verify both."""
