"""MONAI bundles: where they are, what their configs say, and what of a received run's config may be used with them."""

from mu_monai.bundle.find import bundle_root, find_bundle, shipped_bundles
from mu_monai.bundle.opened import Bundle, open_bundle

__all__ = ["Bundle", "bundle_root", "find_bundle", "open_bundle", "shipped_bundles"]
