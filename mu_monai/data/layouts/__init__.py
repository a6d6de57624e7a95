"""Layouts of image folders, recognized and read as a manifest."""

from mu_monai.data.layouts.layout import LAYOUTS, Layout, Source, read_chase, read_class_folders, read_isic, read_layout
from mu_monai.data.layouts.volumes import read_decathlon, read_dicom, read_volumes

__all__ = [
    "LAYOUTS",
    "Layout",
    "Source",
    "read_chase",
    "read_class_folders",
    "read_decathlon",
    "read_dicom",
    "read_isic",
    "read_layout",
    "read_volumes",
]
