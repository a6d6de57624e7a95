"""Where bundles are found."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mu_monai.bundle.find import bundle_root, find_bundle, shipped_bundles
from mu_monai.errors import InputError

SHIPPED = sorted(shipped_bundles())


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Nothing may depend on the folder that a command is started in."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    # MONAI leaves the bundles that earlier tests ran on the path
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if Path(entry).name not in SHIPPED])


def make_bundle(folder: Path) -> Path:
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "metadata.json").write_text("{}")
    return folder


def test_bundles_are_shipped_and_each_is_whole():
    assert {"isic", "chase"} <= set(SHIPPED)
    for folder in shipped_bundles().values():
        assert (folder / "configs" / "metadata.json").is_file()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_bundle_is_found_by_name(name):
    assert find_bundle(name) == shipped_bundles()[name]
    assert find_bundle(name).is_absolute()


@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_is_found_by_its_path(tmp_path, kind):
    folder = make_bundle(tmp_path / "mine")
    assert find_bundle(kind(folder)) == folder.resolve()
    assert find_bundle(kind("../mine")) == folder.resolve()


def test_a_folder_of_that_name_goes_before_a_shipped_bundle():
    assert find_bundle("isic") == shipped_bundles()["isic"]
    folder = make_bundle(Path("isic"))
    assert find_bundle("isic") == folder.resolve()


def test_a_folder_without_metadata_is_no_bundle(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        InputError, match=r"empty' is neither a folder with configs/metadata\.json nor one of chase, isic"
    ):
        find_bundle(tmp_path / "empty")


@pytest.mark.parametrize(("typo", "meant"), [("isci", "isic"), ("chse", "chase"), ("chase1", "chase")])
def test_a_near_name_is_suggested(typo, meant):
    with pytest.raises(InputError, match=f"bundle '{typo}' is neither .*; did you mean '{meant}'\\?"):
        find_bundle(typo)


def test_a_far_name_gets_no_suggestion():
    with pytest.raises(InputError, match="bundle 'zzzz' is neither") as error:
        find_bundle("zzzz")
    assert "did you mean" not in str(error.value)


class TestBundleRoot:
    """A config asks for the folder that it lies in."""

    def test_the_shipped_bundle_comes_last(self):
        assert bundle_root("isic") == str(shipped_bundles()["isic"])

    def test_a_copied_bundle_on_the_path_finds_itself(self, tmp_path, monkeypatch):
        folder = make_bundle(tmp_path / "copy" / "isic")
        monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
        assert bundle_root("isic") == str(folder.resolve())
        assert bundle_root("chase") == str(shipped_bundles()["chase"])

    def test_the_working_directory_is_a_bundle(self, tmp_path, monkeypatch):
        folder = make_bundle(tmp_path / "isic")
        monkeypatch.chdir(folder)
        assert bundle_root("isic") == str(folder.resolve())

    def test_a_folder_without_metadata_is_passed_over(self, tmp_path, monkeypatch):
        (tmp_path / "isic").mkdir()
        monkeypatch.chdir(tmp_path / "isic")
        assert bundle_root("isic") == str(shipped_bundles()["isic"])

    def test_an_unknown_bundle_is_refused(self):
        with pytest.raises(InputError, match="bundle 'unheard-of' is neither a folder"):
            bundle_root("unheard-of")
