"""Methods of other packages: found, listed, told apart from others of their name, and left out where broken."""

from __future__ import annotations

import logging
import sys
from importlib.metadata import version

import pytest

from mu_monai import workflow
from mu_monai.methods import METHODS, EraseToRetain, Scrub
from mu_monai.methods.registry import imported, method_at, method_named, registered
from mu_monai.runs.origin import origin_of

# Of the same name as one of ours, and something else.
TWIN = """
from dataclasses import dataclass
from mu_monai.methods import UnlearningMethod

@dataclass(kw_only=True)
class EraseToRetain(UnlearningMethod):
    "Erase to retain, as the neighbors understand it."
    tasks = ("classification",)
    task: str = "classification"
"""
BROKEN = """
from dataclasses import dataclass
from mu_monai.methods import UnlearningMethod
from mu_monai.methods.settings import Interval, setting

something = 3

@dataclass(kw_only=True)
class Good(UnlearningMethod):
    "Does nothing."

@dataclass(kw_only=True)
class Priceless(UnlearningMethod):
    cost = "nothing"

@dataclass(kw_only=True)
class Needy(UnlearningMethod):
    needs = ("a miracle",)

@dataclass(kw_only=True)
class Idle(UnlearningMethod):
    tasks = ()

@dataclass(kw_only=True)
class Bold(UnlearningMethod):
    forgets_classes = True

@dataclass(kw_only=True)
class Outside(UnlearningMethod):
    share: float = setting(2, Interval(0, 1))

@dataclass(kw_only=True)
class Bare(UnlearningMethod):
    share: float

@dataclass(kw_only=True)
class Listed(UnlearningMethod):
    trials = ("first",)

def made():
    class Hidden(Good):
        pass
    return Hidden

Hidden = made()
"""


def test_a_method_of_an_installed_package_stands_beside_ours(installed, fading):
    installed("hospital-forget", fading, "2.1", fading="hospital_forget:Fading")
    assert list(registered()) == [*METHODS, "fading"]
    kind = method_named("fading")
    assert origin_of(kind) == {"target": "hospital_forget.Fading", "package": "hospital-forget", "version": "2.1"}
    entry = workflow.methods()["fading"]
    assert entry["summary"] == "Pull the weights to zero, whoever they remember."
    assert (entry["package"], entry["version"], entry["forgets_classes"]) == ("hospital-forget", "2.1", True)
    assert (entry["settings"]["strength"], entry["allowed"]["strength"]) == (0.5, "a number in [0, 1]")


def test_the_command_lists_it_with_package_version_and_ranges(installed, fading, mu_monai):
    installed("hospital-forget", fading, "2.1", fading="hospital_forget:Fading")
    code, out, _ = mu_monai("methods")
    listed = out[out.index("\nfading\n") :]
    assert code == 0
    assert "  package: hospital-forget 2.1\n" in listed
    assert "    --set method#strength=0.5   (a number in [0, 1])\n" in listed
    assert out.count(f"  package: mu-monai {version('mu-monai')}\n") == len(METHODS)
    assert "    --set method#forget_weight=3.0   (a number of 0 or more)\n" in out
    assert "    --set method#stop_at=null   (one of null, reference, rewind)\n" in out
    assert "    --set 'method#forget_terms={\"background\": 1.0}'   (weights of 0 or more" in out


def test_ours_are_found_without_importing_what_others_installed(installed, fading):
    installed("hospital-forget", fading, fading="hospital_forget:Fading")
    assert method_named("scrub") is Scrub
    assert "hospital_forget" not in sys.modules
    assert method_named("fading").__module__ == "hospital_forget"
    assert method_named("none") is None
    assert method_named(None) is None


def test_a_class_of_our_name_is_another_method(installed):
    installed("neighbors", TWIN, neighborly="neighbors:EraseToRetain")
    theirs = method_named("neighborly")
    assert theirs is not EraseToRetain
    assert method_at("neighbors.EraseToRetain") is theirs
    for target in ("mu_monai.methods.EraseToRetain", "mu_monai.methods.erase_to_retain.EraseToRetain"):
        assert method_at(target) is EraseToRetain
        assert imported(target) is EraseToRetain
    assert origin_of(EraseToRetain)["package"] == "mu-monai"
    assert origin_of(theirs)["package"] == "neighbors"


@pytest.mark.parametrize("target", ["unheard_of.Method", "os.system", "Scrub", "", "unheard_of", "mu_monai.methods."])
def test_a_name_that_is_not_registered_leads_to_no_method_and_no_import(target, monkeypatch, tmp_path):
    (tmp_path / "unheard_of.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert method_at(target) is None
    assert "unheard_of" not in sys.modules


@pytest.mark.parametrize(
    ("name", "place", "reason"),
    [
        ("gone", "broken:Gone", "it cannot be used (AttributeError: "),
        ("gone", "no_such_module:Gone", "it cannot be used (ModuleNotFoundError: "),
        ("thing", "broken:something", "it is not a class that extends mu_monai.methods.UnlearningMethod"),
        ("itself", "mu_monai.methods:UnlearningMethod", "it is not a class that extends"),
        ("scrub", "broken:Good", "its name is taken; its package must register it under another"),
        ("all", "broken:Good", "its name is taken"),
        ("teacher", "broken:Good", "its name is taken"),
        ("Good", "broken:Good", "lowercase letters and digits"),
        ("priceless", "broken:Priceless", "its cost is 'nothing'; use one of one-shot, forget, retain, both"),
        ("needy", "broken:Needy", "its needs are ('a miracle',); use some of retain labels"),
        ("idle", "broken:Idle", "its tasks are (); use some of segmentation, classification"),
        ("bold", "broken:Bold", "a setting 'forget_classes' if forgets_classes"),
        ("outside", "broken:Outside", "the default of method#share=2 is not allowed; use a number in [0, 1]"),
        ("bare", "broken:Bare", "its setting 'share' has no default"),
        ("listed", "broken:Listed", "each of its trials must map config ids to values"),
        ("hidden", "broken:Hidden", "it cannot be imported as 'broken.made.<locals>.Hidden'"),
    ],
)
def test_what_is_registered_wrongly_is_told_in_one_sentence_and_left_out(name, place, reason, installed, caplog):
    installed("broken", BROKEN, **{name: place, "good": "broken:Good"})
    with caplog.at_level(logging.WARNING):
        assert list(registered()) == [*METHODS, "good"]
    (told,) = caplog.messages
    assert told.startswith(f"the method '{name}' of the package broken 1.0 is left out: ")
    assert reason in told


@pytest.mark.parametrize("source", ["raise RuntimeError('no GPU')", "raise SystemExit(3)", "def ("])
def test_a_package_that_cannot_be_imported_breaks_nothing_but_itself(source, installed, caplog, mu_monai):
    installed("broken", source, gone="broken:Gone")
    code, out, _ = mu_monai("methods")
    assert code == 0
    assert "\nscrub\n" in out
    assert "\ngone\n" not in out
    assert "the method 'gone' of the package broken 1.0 is left out: it cannot be used (" in caplog.text


def test_of_two_packages_with_one_name_the_first_has_it(installed, caplog):
    installed("b-second", BROKEN, good="b_second:Good")
    installed("a-first", BROKEN, good="a_first:Good")
    assert registered()["good"].__module__ == "a_first"
    assert "the method 'good' of the package b-second 1.0 is left out: its name is taken" in caplog.text


def test_a_class_that_nobody_installed_has_no_package(tmp_path, monkeypatch):
    (tmp_path / "beside_a_bundle.py").write_text(TWIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    kind = imported("beside_a_bundle.EraseToRetain")
    assert origin_of(kind) == {"target": "beside_a_bundle.EraseToRetain", "package": None, "version": None}
    assert method_at("beside_a_bundle.EraseToRetain") is None
    sys.modules.pop("beside_a_bundle")
