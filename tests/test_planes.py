"""Slices of volumes: orientation, square pixels, frames."""

import numpy as np
import pytest

from mu_monai.planes import cut, framed

SHAPE = (6, 5, 4)


@pytest.mark.parametrize(
    ("plane", "corner", "position", "shape"),
    [
        ("axial", (5, 4, 2), 2, (5, 6)),  # right and anterior
        ("coronal", (5, 1, 3), 1, (4, 6)),  # right and superior
        ("sagittal", (3, 4, 3), 3, (4, 5)),  # anterior and superior
    ],
)
def test_which_corner_of_the_patient_is_up_and_left(plane, corner, position, shape):
    volume = np.zeros(SHAPE, np.uint8)
    volume[corner] = 1
    view = cut(volume, plane, position, (2, 2, 2))
    assert view.shape == shape
    assert view[0, 0] == 1
    assert view.sum() == 1


def test_pixels_are_square_and_classes_stay_classes():
    volume = np.arange(120, dtype=np.uint8).reshape(SHAPE) % 3
    view = cut(volume, "coronal", 2, (1.0, 1.0, 3.0))
    assert view.shape == (12, 6)
    np.testing.assert_array_equal(view[1::3], volume[:, 2, :].T[::-1, ::-1])
    assert set(np.unique(view)) == {0, 1, 2}
    smooth = cut(volume * 100, "coronal", 2, (1.0, 1.0, 3.0), smooth=True)
    assert smooth.dtype == np.uint8
    assert len(np.unique(smooth)) > 3


def test_a_frame_adds_nothing_but_empty_pixels():
    view = framed(np.ones((2, 3), np.uint8), (5, 3))
    assert view.shape == (5, 3)
    assert view.sum() == 6
    assert view[1:3].all()
