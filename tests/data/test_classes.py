from __future__ import annotations

import pytest

from mu_monai.data import class_indices
from mu_monai.errors import InputError

CLASSES = ["background", "organ", "lesion", "vessel"]


def test_indices_come_in_the_order_of_the_classes():
    assert class_indices(["vessel", "organ", "vessel"], CLASSES) == [1, 3]
    assert class_indices([], CLASSES) == []


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["lesions"],
            "'lesions' to forget .*; choose from 'organ', 'lesion', 'vessel'; did you",
        ),
        (["background"], "'background' to forget is the background"),
        (["organ", "lesion", "vessel"], "'organ', 'lesion', 'vessel', are all .* keep at least one"),
    ],
)
def test_what_cannot_be_forgotten_is_said(names, message):
    with pytest.raises(InputError, match=message):
        class_indices(names, CLASSES)


def test_all_unknown_names_are_listed():
    with pytest.raises(InputError, match="2 problems"):
        class_indices(["x", "y"], CLASSES)
