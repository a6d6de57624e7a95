"""Phantoms: drawn images of patients who do not exist."""

from mu_monai.data.phantoms.write import PhantomKind, phantom_split, write_phantoms

__all__ = ["PhantomKind", "phantom_split", "write_phantoms"]
