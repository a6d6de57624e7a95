"""How a budget is laid out in epochs."""

from __future__ import annotations

import pytest

from mu_monai.bundle import open_bundle
from mu_monai.bundle.layers import LayeredConfig
from mu_monai.methods import Rewind, ShrinkAndRestore
from mu_monai.workflow.recipe import budget_options

_TWO_CYCLES = {"max_epochs": 2, "epoch_length": 60}


@pytest.mark.parametrize(
    ("bundle", "batch", "options"),
    [
        ("isic", {"batch_size": 8}, {}),
        ("volume3d", {"batch_size": 2, "patches_per_volume": 4}, {}),
        ("isic", {"batch_size": 2}, {"samples": 4}),  # as a bundle that was trained elsewhere is found to take
        ("isic", {"batch_size": 4}, {"processes": 2}),
        ("volume3d", {"batch_size": 2, "patches_per_volume": 2}, {"processes": 2}),
    ],
)
@pytest.mark.parametrize(("passes", "epochs"), [(1800, 1), (3839, 1), (3840, 2)])
def test_a_cycle_of_fewer_steps_than_by_the_recipe_is_none(bundle, batch, options, passes, epochs):
    """Steps on eight images, with the teacher's answers, of which two cycles have 120."""
    config = LayeredConfig(open_bundle(bundle), "unlearn")
    config.lay("recipe", _TWO_CYCLES | batch)
    found = budget_options(0.1, ShrinkAndRestore, 10 * passes, config, **options)
    assert found == {"method::budget": passes, "max_epochs": epochs, "epoch_length": -(-passes // (24 * epochs))}


def test_steps_are_given_only_if_a_batch_is_a_number():
    config = LayeredConfig(open_bundle("volume3d"), "unlearn")
    config.lay("recipe", {"max_epochs": 1, "epoch_length": 120, "patches_per_volume": "$1 + 1"})
    assert budget_options(0.1, Rewind, 10000, config) == {"method::budget": 1000}
