"""Volumes: NIfTI files and DICOM series, their geometry, and what is kept of them in memory."""
