"""How a file was made is said in one place: the command, the versions, and what of a split is not told."""

import json

import pytest

from mu_monai.runs.stamp import cases_sha256, command_line, package_versions, public_provenance, told_split


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["/usr/bin/mu-monai", "unlearn", "--set", "name=a b"], "mu-monai unlearn --set 'name=a b'"),
        (["/opt/monai/bundle/__main__.py", "run"], "/opt/monai/bundle/__main__.py run"),
    ],
)
def test_a_command_can_be_typed_again(monkeypatch, typed, told):
    monkeypatch.setattr("sys.argv", typed)
    assert command_line() == told


def test_versions_are_told_by_names_that_are_fields():
    found = package_versions("pytorch-ignite", "numpy")
    assert list(found) == ["pytorch_ignite", "numpy"]
    assert all(found.values())


def test_of_a_split_all_is_told_but_digests_and_salt():
    kept = {"seed": 0, "selector": None, "of a later version": [1]}
    assert public_provenance({"salt": "secret", **kept, "sha256": {}}) == kept
    assert public_provenance(kept) == kept


def test_the_public_part_is_read_from_a_split(tmp_path):
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"provenance": {"salt": "secret", "seed": 0, "sha256": {}}}))
    told = told_split(split)
    assert (told.file, told.provenance) == (str(split), {"seed": 0})
    split.write_text("{}")
    assert told_split(split).provenance == {}


@pytest.fixture
def cases():
    """A split of two cases with several channels, a further input and a mask."""
    rows = [
        {"case_id": f"{n}", "patient_id": "p", "image": [f"{n}/t1", f"{n}/t2"], "label": f"{n}/mask", "vein": f"{n}/v"}
        for n in (1, 2)
    ]
    digests = {f"{n}/{name}": f"{name}-{n}" for n in (1, 2) for name in ("t1", "t2", "mask", "v")}
    return {"retain": rows, "forget": [], "provenance": {"inputs": ["vein"], "sha256": digests}}


def test_the_digest_of_cases_is_the_same_wherever_they_are_and_in_any_order(cases):
    moved = json.loads(json.dumps(cases).replace("/", "/else/where/"))
    moved["retain"].reverse()
    moved["provenance"]["seed"] = 3
    assert cases_sha256(moved) == cases_sha256(cases)
    assert cases_sha256({}) != cases_sha256(cases)


@pytest.mark.parametrize(
    "change",
    [
        lambda cases: cases["provenance"]["sha256"].update({"2/t2": "other"}),
        lambda cases: cases["provenance"]["sha256"].update({"2/v": "other"}),
        lambda cases: cases["provenance"]["sha256"].update({"2/mask": "other"}),
        lambda cases: cases["retain"][0]["image"].reverse(),
        lambda cases: cases["retain"][0].update(patient_id="q"),
        lambda cases: cases["retain"][0].update(case_id="3"),
        lambda cases: cases["retain"][0].update(label="nevus"),
        lambda cases: cases["forget"].append(cases["retain"].pop()),
    ],
    ids=["channel", "input", "mask", "order of channels", "patient", "case", "class", "subset"],
)
def test_the_digest_of_cases_tells_others(cases, change):
    before = cases_sha256(cases)
    change(cases)
    assert cases_sha256(cases) != before
