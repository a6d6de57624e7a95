"""A user's own bundles: created from a shipped one, and checked for what runs and their reports rely on."""
