"""Federations on NVFlare: several sites train one model, and one of them leaves and is forgotten."""
