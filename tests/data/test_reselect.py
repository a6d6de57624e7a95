"""Choosing anew whom to forget, after the training."""

import pytest

from mu_monai.data import ForgetFraction, ForgetIds, ForgetWhere, load_split, phantom_split, reselect, write_split
from mu_monai.errors import InputError
from mu_monai.files import read_json


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return phantom_split("lesions", tmp_path_factory.mktemp("phantoms") / "lesions", patients=10, size=32)


def patients(split, subset):
    return {case["patient_id"] for case in split[subset]}


@pytest.mark.parametrize("kind", ["fraction", "ids", "where"])
def test_validation_and_test_stay_and_training_cases_are_divided_anew(trained, tmp_path, kind):
    before = load_split(trained)
    wanted = sorted(patients(before, "retain"))[:2]
    selector = {
        "fraction": ForgetFraction(0.5),
        "ids": ForgetIds(tuple(wanted)),
        "where": ForgetWhere(f"patient_id in {wanted}"),
    }[kind]
    after = load_split(write_split(tmp_path / "request.json", reselect(trained, selector)), verify=True)
    for subset in ("validation", "test"):
        assert after[subset] == before[subset]
    training = patients(before, "retain") | patients(before, "forget")
    assert patients(after, "retain") | patients(after, "forget") == training
    assert not patients(after, "retain") & patients(after, "forget")
    if kind != "fraction":
        assert patients(after, "forget") == set(wanted)


def test_metadata_and_provenance_come_along(trained, tmp_path):
    wanted = load_split(trained)["retain"][0]["patient_id"]
    path = write_split(tmp_path / "request.json", reselect(trained, ForgetIds((wanted,)), seed=3))
    old, new = (read_json(file) for file in (trained, path))
    assert set(new["forget"][0]) == set(old["retain"][0])
    assert new["provenance"]["selector"] == {"kind": "ids", "value": [wanted]}
    assert new["provenance"]["chosen_from"]["file"] == str(trained)
    assert new["provenance"]["phantom"] is True
    assert new["provenance"]["counts"]["forget"] == {"patients": 1, "cases": 2}


@pytest.mark.parametrize("subset", ["validation", "test"])
def test_a_patient_that_was_not_trained_on_cannot_be_forgotten(trained, subset):
    patient = load_split(trained)[subset][0]["patient_id"]
    with pytest.raises(InputError, match=rf"to forget is in '{subset}': the model was not trained on it"):
        reselect(trained, ForgetIds((patient,)))


def test_forgetting_everybody_is_refused(trained):
    with pytest.raises(InputError, match="at least 1 to retain"):
        reselect(trained, ForgetWhere("patient_id == patient_id"))
