"""MONAI bundles: finding them, reading their configs, and the parts of an untrusted run's config that may be used."""

from mu_monai.bundle.find import bundle_root, find_bundle, shipped_bundles
from mu_monai.bundle.opened import Bundle, open_bundle

__all__ = ["Bundle", "bundle_root", "find_bundle", "open_bundle", "shipped_bundles"]
