"""Of an id that several layers set, the value of the last one counts: a table, and nothing is trained."""

import json
from itertools import pairwise

import pytest

from mu_monai.bundle import open_bundle
from mu_monai.bundle.layers import LAYERS, LayeredConfig
from mu_monai.bundle.trust import inherited
from mu_monai.methods import NPO
from mu_monai.runs import RunRecord, add_files, write_record
from mu_monai.workflow.recipe import recipe_of

ISIC = open_bundle("isic")
OWN = ISIC.files("unlearn")[0]


def config_of(layers, tmp_path):
    """A config in which every layer of some sets `max_epochs` to its place in the order, and one id of its own."""
    values = {layer: {"max_epochs": LAYERS.index(layer), f"only_{layer}": True} for layer in layers}
    files = {}
    for layer in ("preset", "overlay"):
        files[layer] = [str(tmp_path / f"{layer}.json")] if layer in layers else []
        if files[layer]:
            (tmp_path / f"{layer}.json").write_text(json.dumps(values[layer]))
    config = LayeredConfig(ISIC, "unlearn", presets=files["preset"], overlays=files["overlay"])
    for layer in ("recipe", "run", "options", "settings"):
        if layer == "run":
            taken = {key: value for key, value in values.get(layer, {}).items() if "overlay" not in layers}
            config.lay(layer, taken)  # `inherited` leaves to overlays what they set
        else:
            config.lay(layer, values.get(layer, {}))
    return config


@pytest.mark.parametrize(("lower", "higher"), pairwise(LAYERS))
def test_of_two_layers_the_later_one_counts(lower, higher, tmp_path):
    read = config_of({lower, higher}, tmp_path).read()
    assert read.get("max_epochs") == LAYERS.index(higher)


@pytest.mark.parametrize("top", LAYERS[1:])
def test_of_all_layers_up_to_one_that_one_counts(top, tmp_path):
    layers = LAYERS[: LAYERS.index(top) + 1]
    assert config_of(set(layers), tmp_path).read().get("max_epochs") == LAYERS.index(top)


def test_an_overlay_goes_before_the_recipe_of_a_method_also_within_it(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"learning_rate": 0.5, "method#beta": 0.25, "network": {"_target_": "mine.Net"}}))
    config = LayeredConfig(ISIC, "unlearn", overlays=[str(file)])
    recipe = recipe_of(NPO, ISIC, config.read("recipe"))
    assert {"learning_rate", "network::trainable", "method"} <= set(recipe)
    config.lay("recipe", recipe)
    read = config.read()
    assert read.get("learning_rate") == 0.5
    assert read.get("method::_target_").endswith("NPO")
    assert read.get("method::beta") == 0.25
    assert read.get("network") == {"_target_": "mine.Net"}


@pytest.mark.parametrize("how", ["overlays", "presets"])
def test_what_an_overlay_or_a_preset_sets_is_not_taken_from_a_run(how, tmp_path):
    write_record(tmp_path / "run", RunRecord(status="finished", role="teacher"))
    (tmp_path / "run" / "config.json").write_text(json.dumps({"image_size": [48, 48]}))
    add_files(tmp_path / "run", "config.json")
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"image_size": [32, 32]}))
    for given, expected in (([], [48, 48]), ([str(file)], [32, 32])):
        config = LayeredConfig(ISIC, "unlearn", **{how: given})
        config.lay("run", inherited(tmp_path / "run", ISIC, overlays=config.overlays))
        assert config.read().get("image_size") == expected


def test_reading_changes_nothing_of_the_layers():
    config = LayeredConfig(ISIC, "unlearn")
    config.lay("settings", {"max_epochs": 3})
    config.read()["max_epochs"] = 7
    assert (config.overrides, config.read().get("max_epochs"), config.files) == ({"max_epochs": 3}, 3, [OWN])


def test_what_is_set_within_a_component_of_a_recipe_is_not_taken_for_a_part_of_it():
    """Otherwise an id that the component does not have would be known."""
    config = LayeredConfig(ISIC, "unlearn")
    config.lay("recipe", {"method": {"_target_": "mu_monai.methods.NPO"}})
    config.lay("settings", {"method::strength": 3})
    config.read()
    assert "strength" not in config.read("recipe").get("method")
