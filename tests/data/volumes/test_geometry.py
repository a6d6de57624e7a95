from __future__ import annotations

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_monai.data.volumes.geometry import affine_problem, grid_problem, voxel_spacing

SHAPE = (7, 6, 5)
OBLIQUE = nibabel.affines.from_matvec(
    nibabel.eulerangles.euler2mat(0.1, -0.2, 0.3) @ np.diag([0.7, 0.8, 3.0]), [-90, 12, 40]
)


@given(order=st.permutations(range(3)), flips=st.tuples(*[st.sampled_from([1, -1])] * 3))
def test_order_and_direction_of_the_axes_do_not_move_a_volume(order, flips):
    turned = np.stack([order, flips], axis=1)
    affine = OBLIQUE @ nibabel.orientations.inv_ornt_aff(turned, SHAPE)
    shape = tuple(int(size) for size in np.asarray(SHAPE)[np.argsort(order)])
    assert grid_problem(shape, affine, SHAPE, OBLIQUE) is None
    shifted = affine.copy()
    shifted[0, 3] += 0.5
    assert "up to 0.5 mm away" in grid_problem(shape, shifted, SHAPE, OBLIQUE)


def test_headers_may_round():
    assert grid_problem((512, 512, 200), OBLIQUE.astype(np.float32), (512, 512, 200), OBLIQUE) is None


def test_the_spacing_is_that_of_the_voxels_in_any_direction():
    assert voxel_spacing(OBLIQUE) == pytest.approx([0.7, 0.8, 3.0])


@pytest.mark.parametrize(
    ("affine", "problem"),
    [
        (OBLIQUE, None),
        (np.diag([-1, -1, 3, 1]), None),
        (np.diag([1, np.nan, 1, 1]), "affine with NaN or infinity"),
        (np.diag([1, 1, 0, 1]), "spacing 1 x 1 x 0 mm; each must be above 0"),
        ([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], "singular"),
    ],
)
def test_an_affine_must_place_voxels(affine, problem):
    found = affine_problem(affine)
    assert found is None if problem is None else problem in found
