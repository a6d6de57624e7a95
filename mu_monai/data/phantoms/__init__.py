"""Phantoms: drawn images of patients who do not exist."""

from typing import Literal

PhantomKind = Literal["lesions", "vessels", "classes", "volumes"]
PHANTOM = "phantom"  # the column of a manifest in which every row of theirs has its kind
