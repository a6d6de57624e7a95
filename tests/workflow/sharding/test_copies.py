"""Forgetting exactly when one image is several cases, as when two readers drew its mask."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from mu_monai import workflow
from mu_monai.data import open_split, write_split
from mu_monai.data.shards import only
from mu_monai.errors import InputError
from mu_monai.keys import CASE_ID, FORGET, IMAGE, LABEL, PATIENT_ID, RETAIN, SUBSETS
from mu_monai.runs.shards import read_shards


@pytest.fixture(scope="module")
def twice(tmp_path_factory, private):
    """The split of images that two readers drew masks for."""
    folder, rows = tmp_path_factory.mktemp("twice"), []
    for case in [case for part in open_split(private("masks")).located.values() for case in part]:
        second = folder / f"{case[CASE_ID]}.png"
        Image.fromarray(np.roll(np.asarray(Image.open(case[LABEL])), 3, axis=0)).save(second)
        for reader, label in enumerate((case[LABEL], second)):
            names = {PATIENT_ID: case[PATIENT_ID], CASE_ID: f"{case[CASE_ID]}-{reader}"}
            rows.append({IMAGE: case[IMAGE], LABEL: label, **names})
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    workflow.split(folder / "manifest.csv", out=folder / "split.json", on_duplicates="together")
    return folder / "split.json"


@pytest.fixture(scope="module")
def run(tmp_path_factory, train, twice):
    return train("masks", tmp_path_factory.mktemp("run") / "run", twice)


def test_copies_of_two_patients_are_not_held_out_and_trained_on_at_once(twice, tmp_path):
    parts = {name: [*cases] for name, cases in open_split(twice).located.items()}
    for number, case in enumerate(parts[RETAIN]):
        case[PATIENT_ID] = f"{case[PATIENT_ID]}-{number}"
    split = write_split(tmp_path / "split.json", only(open_split(twice), parts))
    with pytest.raises(InputError, match=r"is in several folds .*; give copies one patient_id") as raised:
        workflow.train_folds(
            "isic", split=split, folds=2, out=tmp_path / "folds", settings=["max_epochs=1"], quiet=True
        )
    assert 1 < len(raised.value.problems) < len(parts[RETAIN]) / 2
    assert not (tmp_path / "folds").exists()


@pytest.fixture
def changed(request_for, run, twice, patients_of, tmp_path):
    """A request for a patient, whose split was then changed."""

    def make(change):
        victim = next(people[0] for people in patients_of(run).values() if len(people) > 1)
        split = open_split(request_for(twice, victim))
        parts = {name: [*split.located[name]] for name in SUBSETS}
        change(parts[RETAIN])
        return write_split(tmp_path / "changed.json", only(split, parts))

    return make


def numbers(folder):
    return {shard.name: (shard.patients, shard.cases) for shard in read_shards(folder).shards}


def test_no_case_is_dropped_and_only_the_shard_of_the_forgotten_is_trained_again(
    run, twice, refit, request_for, train, patients_of, tmp_path
):
    before = numbers(run)
    assert all(cases == 2 * patients for patients, cases in before.values())
    name, victim = next((name, people[0]) for name, people in patients_of(run).items() if len(people) > 1)
    request = request_for(twice, victim)
    assert len(open_split(request).rows[FORGET]) == 2
    new = refit("masks", request, teacher=run)
    patients, cases = before[name]
    assert numbers(new) == before | {name: (patients - 1, cases - 2)}
    assert [shard.name for shard in read_shards(new).shards if shard.fitted] == [name]
    never = train("masks", tmp_path / "never", request, subsets=[RETAIN])
    one, other = (torch.load(place / "model.pt", weights_only=True) for place in (new, never))
    assert all(torch.equal(value, other[key]) for key, value in one.items())
    with pytest.raises(InputError, match="taken out by earlier requests, so there is nothing to do"):
        refit("masks", request, "again", teacher=new)


def test_a_mask_that_is_missing_in_the_request_is_said(changed, refit, run):
    missing = []
    request = changed(lambda retain: missing.append(retain.pop(0)[CASE_ID]))
    with pytest.raises(InputError, match=f"case '{missing[0]}' is in no subset of the split, but shard"):
        refit("masks", request, teacher=run)


def test_a_further_mask_of_a_known_image_is_said(changed, refit, run):
    request = changed(lambda retain: retain.append({**retain[0], CASE_ID: "third"}))
    with pytest.raises(InputError, match="case 'third' is to be retained, but no shard was trained on it"):
        refit("masks", request, teacher=run)


def test_masks_that_changed_places_are_said(changed, refit, run):
    def swap(retain):
        retain[:2] = [{**one, LABEL: other[LABEL]} for one, other in zip(retain[:2], retain[1::-1], strict=True)]

    with pytest.raises(InputError, match=r"images or labels of shard '.*' are not those that it was trained on"):
        refit("masks", changed(swap), teacher=run)


def test_cases_with_other_ids_are_not_guessed(changed, refit, run):
    def rename(retain):
        retain[:2] = [{**case, CASE_ID: f"new-{case[CASE_ID]}"} for case in retain[:2]]

    with pytest.raises(InputError, match="which keeps case ids") as error:
        refit("masks", changed(rename), teacher=run)
    assert len(error.value.problems) == 4
