"""Tables: one reader for those of this program and of other people, and how to make them safe for spreadsheets."""

from __future__ import annotations

from mu_monai.tables.ids import read_ids
from mu_monai.tables.likeness import by_likeness, forms, likeness, nearly_equal
from mu_monai.tables.reading import read_table
from mu_monai.tables.spreadsheets import FORMULA, for_spreadsheets, is_formula

__all__ = [
    "FORMULA",
    "by_likeness",
    "for_spreadsheets",
    "forms",
    "is_formula",
    "likeness",
    "nearly_equal",
    "read_ids",
    "read_table",
]
