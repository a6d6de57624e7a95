"""MONAI bundles: where they are, what their configs say, and what of a received run's config may be used with them."""

from mu_monai.bundle.find import bundle_root, find_bundle, shipped_bundles

__all__ = ["bundle_root", "find_bundle", "shipped_bundles"]
