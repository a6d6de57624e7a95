"""Phantoms: drawn images of patients who do not exist."""
