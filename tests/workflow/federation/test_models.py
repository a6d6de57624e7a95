"""The models that a route starts from and goes on from are those that `federation.json` names."""

import json
import re
import shutil
from dataclasses import replace
from importlib import import_module

import pytest
import torch
from monai.utils import set_determinism

from mu_monai import workflow
from mu_monai.adapters import read_weights, weights_sha256
from mu_monai.adapters.milestones import write_safetensors
from mu_monai.bundle import open_bundle
from mu_monai.bundle.config import built_network
from mu_monai.bundle.layers import LayeredConfig
from mu_monai.errors import InputError
from mu_monai.runs.federation import read_federation, round_file, write_federation
from tests.workflow.federation.conftest import TINY, changed, refused

training = import_module("mu_monai.workflow.federation.training")


@pytest.mark.parametrize(
    ("route", "number", "other"),
    [
        ("rewind", 2, 3),  # the model of a round that the site trained, in the place of the last one without it
        ("rewind", 1, 3),  # from which another site may be forgotten later
        ("retraining", 0, 3),
        ("distil", 4, 2),
        ("unlearn", 4, 2),
    ],
)
def test_no_route_starts_from_another_model_than_that_of_its_round(trained, planned, route, number, other):
    file, kept_aside = round_file(trained, number), trained.parent / "original"
    shutil.copy(file, kept_aside)
    shutil.copy(round_file(trained, other), file)
    digests = read_federation(trained).models
    said = (
        f"(SHA-256 of its weights {digests[str(other)]}, in federation.json {digests[str(number)]}); put the original"
    )
    assert f"'{file}' is not the model after round {number} {said}" in refused(trained, route=route)
    shutil.copy(kept_aside, file)
    planned(trained, route)


def test_the_last_model_has_to_be_there(trained, with_nvflare):
    file = round_file(trained, 4)
    file.unlink()
    said = f"the model after round 4 is not in '{trained}': '{file}' is missing; put it back"
    assert said in refused(trained, route="distil")
    assert said in refused(trained, route="unlearn")


def test_what_is_taken_keeps_its_digest(trained, planned):
    digests = read_federation(trained).models
    assert planned(trained, "rewind")[0].models == {number: digests[number] for number in ("0", "1", "2")}
    assert planned(trained, "distil")[0].models == {"4": digests["4"]}


def test_of_a_federation_without_digests_nothing_exact_is_made(trained, planned):
    changed(trained, models={})  # as earlier versions wrote it, with the digest of the last model alone
    assert "has no digest of the models after rounds 0, 1, 2, as earlier versions kept none" in refused(trained)
    assert "has no digest of the models after rounds 0, as" in refused(trained, route="retraining")
    for route in ("distil", "unlearn"):
        assert [*planned(trained, route)[0].models] == ["4"]
    shutil.copy(round_file(trained, 3), round_file(trained, 4))
    assert "is not the model after round 4" in refused(trained, route="distil")


def test_an_interrupted_route_goes_on_with_the_same_plan(trained, planned):
    federation, out = planned(trained, "rewind")
    first, *_ = federation.rounds
    one_round_over(out, federation)
    assert planned(trained, "rewind", resume=True)[0] == federation
    write_federation(out, replace(federation, rounds=(first,)))
    with pytest.raises(InputError, match="was begun with other sites, rounds or settings"):
        planned(trained, "rewind", resume=True)
    write_federation(out, replace(federation, status="finished"))
    with pytest.raises(InputError, match="is finished; leave out --resume"):
        planned(trained, "rewind", resume=True)


def one_round_over(folder, federation):
    """As if the first round of a federation was over when it was interrupted; returns its model's file."""
    first, weights = federation.rounds[0], {"weight": torch.tensor([9.0])}
    file = write_safetensors(round_file(folder, first.number), weights)
    write_federation(folder, federation.after(replace(first, bytes=1, passes=2), weights_sha256(weights)))
    return file


def test_no_route_goes_on_from_another_model_than_that_of_the_interrupted_round(trained, planned):
    federation, out = planned(trained, "rewind")
    file = one_round_over(out, federation)
    right = weights_sha256(read_weights(file))
    shutil.copy(round_file(trained, 4), file)
    found = weights_sha256(read_weights(file))
    said = f"'{file}' is not the model after round 3 (SHA-256 of its weights {found}, in federation.json {right})"
    with pytest.raises(InputError, match=re.escape(said)):
        planned(trained, "rewind", resume=True)
    file.unlink()
    with pytest.raises(InputError, match=f"the model after round 3 is not in '{out}': '{file}' is missing"):
        planned(trained, "rewind", resume=True)


def test_no_route_goes_on_that_began_from_another_model_or_with_no_digests(trained, planned):
    federation, out = planned(trained, "rewind")
    write_federation(out, replace(federation, models=federation.models | {"2": "0"}))
    with pytest.raises(InputError, match="was begun from other weights; resume with the same --start"):
        planned(trained, "rewind", resume=True)
    write_federation(out, replace(federation, models={}))
    with pytest.raises(InputError, match="was begun by an earlier version, which kept no digests of its models"):
        planned(trained, "rewind", resume=True)


def test_a_training_is_resumed_from_the_weights_that_it_began_with(sites_file, with_nvflare, monkeypatch, tmp_path):
    out, starts = tmp_path / "out", {}
    monkeypatch.setattr(training, "simulated", lambda work, resume: write_federation(out, work[out]))
    monkeypatch.setattr(training, "finish", lambda folder: None)
    settings = [f"{key.replace('::', '#')}={json.dumps(value)}" for key, value in TINY.items()]
    for seed in (1, 2):
        set_determinism(seed)
        config = LayeredConfig(open_bundle("isic"), "train")
        config.lay("settings", TINY)
        starts[seed] = write_safetensors(tmp_path / f"{seed}.safetensors", built_network(config.read()).state_dict())

    def train(**options):
        workflow.train_federation("isic", sites=sites_file, rounds=4, out=out, settings=settings, **options)

    train(start=starts[1])
    assert read_federation(out).models == {"0": weights_sha256(read_weights(starts[1]))}
    train(start=starts[1], resume=True)
    for other in (starts[2], None):
        with pytest.raises(InputError, match=f"'{out}' was begun from other weights; resume with the same --start"):
            train(start=other, resume=True)
    assert weights_sha256(read_weights(round_file(out, 0))) == read_federation(out).models["0"]
