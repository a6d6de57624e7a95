"""Bundles of anybody's: their parts are found through their engines, and the configs that commands run are made."""
