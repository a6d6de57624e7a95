"""Layouts of image folders, recognized and read as a manifest."""
