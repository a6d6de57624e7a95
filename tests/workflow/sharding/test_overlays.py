"""Forgetting exactly where shards were trained with a config of the user on top of the bundle's."""

import json

import pytest
import torch

from mu_monai.errors import InputError
from mu_monai.files import read_json
from mu_monai.keys import RETAIN
from mu_monai.runs.shards import read_shards

LOSS = {"_target_": "DiceFocalLoss", "sigmoid": True}


@pytest.fixture(scope="module")
def overlay(tmp_path_factory):
    """Writes a config; by default one with code, a value within a part of the bundle, and what is of trainings only."""
    folder = tmp_path_factory.mktemp("overlay")

    def write(name="mine", **changes):
        steps = [{"_target_": "RandFlipd", "keys": ["image", "label"], "prob": 0.0}]
        own = {"loss": LOSS, "transforms#transforms#5": steps[0], "optimizer#weight_decay": 0.5, "max_epochs": 3}
        (folder / f"{name}.json").write_text(json.dumps(own | changes))
        return [str(folder / f"{name}.json")]

    return write


@pytest.fixture(scope="module")
def run(tmp_path_factory, train, overlay):
    out = tmp_path_factory.mktemp("run") / "run"
    return train("masks", out, overlays=overlay(), settings=["learning_rate=0.01"])


@pytest.fixture
def request_of(run, private, patients_of, request_for):
    victim = next(people[0] for people in patients_of(run).values() if len(people) > 1)
    return request_for(private("masks"), victim)


def test_shards_are_trained_again_with_the_overlay_that_they_were_trained_with(
    run, request_of, refit, train, overlay, tmp_path
):
    new = refit("masks", request_of, teacher=run, overlays=overlay())
    never = train(
        "masks",
        tmp_path / "never",
        request_of,
        subsets=[RETAIN],
        overlays=overlay(),
        settings=["learning_rate=0.01"],
    )
    one, other = (torch.load(place / "model.pt", weights_only=True) for place in (new, never))
    assert all(torch.equal(value, other[key]) for key, value in one.items())
    assert sum(shard.fitted for shard in read_shards(new).shards) == 1
    config, before = (read_json(place / "config.json") for place in (new, run))
    assert all(config[key] == before[key] for key in ("loss", "transforms"))
    assert config["loss"] == LOSS
    assert config["max_epochs"] == 1  # what an overlay says of trainings is not for taking the average


def test_it_goes_on_after_its_training(run, request_of, refit, overlay):
    new = refit("masks", request_of, teacher=run, overlays=overlay())
    before = (new / "scores.csv").read_bytes()
    (new / "scores.csv").unlink()
    refit("masks", request_of, teacher=run, overlays=overlay(), resume=True)
    assert (new / "scores.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"loss": {"_target_": "DiceLoss", "sigmoid": True}},
            "config id 'loss' was .*DiceFocalLoss.* and is now .*DiceL",
        ),
        ({"optimizer#weight_decay": 0.25}, "config id 'optimizer' was .*0.5.* and is now .*0.25"),
        ({"max_epochs": 4}, "config id 'max_epochs' was 3 and is now 4"),
    ],
    ids=["loss", "optimizer", "max_epochs"],
)
def test_another_overlay_is_refused(run, request_of, refit, overlay, changes, said):
    with pytest.raises(InputError, match=said):
        refit("masks", request_of, teacher=run, overlays=overlay("other", **changes))


def test_without_the_overlay_its_code_is_not_taken_from_the_run(run, request_of, refit):
    with pytest.raises(InputError, match=r"has loss = .*DiceFocalLoss.*; the bundle has .*"):
        refit("masks", request_of, teacher=run)
