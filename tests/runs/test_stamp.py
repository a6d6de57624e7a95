"""How a file was made is said in one place: the command, the versions, and what of a split is not told."""

import json

import pytest

from mu_monai.runs.stamp import command_line, package_versions, public_provenance, told_provenance


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
    assert told_provenance(split) == {"seed": 0}
    split.write_text("{}")
    assert told_provenance(split) == {}
