"""What was understood of a source: a few cases in words and as a sheet of thumbnails."""
