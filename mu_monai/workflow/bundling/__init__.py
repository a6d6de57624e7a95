"""Bundles of users' own: made from a shipped one, and held to what runs and their reports rely on."""
