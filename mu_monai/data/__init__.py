"""From a folder or table of images to a split by patient: manifests, layouts, duplicates, splits and phantoms.

What needs torch is imported from its own module: `datasets`, `check_volume`, `crop_volume`, `run_case` and
`volumes.cache`, which bundles use.
"""

from __future__ import annotations

from mu_monai.data.classes import class_indices, indexed
from mu_monai.data.duplicates import DuplicatePolicy, Resolved, digest_files, resolve_duplicates, unite_groups
from mu_monai.data.label_map import parse_label_map
from mu_monai.data.layouts.class_folders import read_class_folders
from mu_monai.data.layouts.dicom import read_dicom
from mu_monai.data.layouts.layout import LAYOUTS, Layout, Patterns, Source, read_chase, read_isic, read_layout
from mu_monai.data.layouts.volumes import read_decathlon, read_volumes
from mu_monai.data.manifest import check_manifest, is_file_label, read_manifest
from mu_monai.data.near_duplicates import find_near_duplicates
from mu_monai.data.phantoms import PhantomKind
from mu_monai.data.phantoms.write import phantom_split, write_phantoms
from mu_monai.data.reading import Reading
from mu_monai.data.reselect import requested, reselect, with_forgotten
from mu_monai.data.selection import ForgetFraction, ForgetIds, ForgetSelector, ForgetWhere
from mu_monai.data.split import SplitSettings, make_split, split_manifest
from mu_monai.data.split_file import Split, load_leaving, load_split, open_split, read_split, split_content, write_split
from mu_monai.data.split_provenance import Provenance, provenance_of

__all__ = [
    "LAYOUTS",
    "DuplicatePolicy",
    "ForgetFraction",
    "ForgetIds",
    "ForgetSelector",
    "ForgetWhere",
    "Layout",
    "Patterns",
    "PhantomKind",
    "Provenance",
    "Reading",
    "Resolved",
    "Source",
    "Split",
    "SplitSettings",
    "check_manifest",
    "class_indices",
    "digest_files",
    "find_near_duplicates",
    "indexed",
    "is_file_label",
    "load_leaving",
    "load_split",
    "make_split",
    "open_split",
    "parse_label_map",
    "phantom_split",
    "provenance_of",
    "read_chase",
    "read_class_folders",
    "read_decathlon",
    "read_dicom",
    "read_isic",
    "read_layout",
    "read_manifest",
    "read_split",
    "read_volumes",
    "requested",
    "reselect",
    "resolve_duplicates",
    "split_content",
    "split_manifest",
    "unite_groups",
    "with_forgotten",
    "write_phantoms",
    "write_split",
]
