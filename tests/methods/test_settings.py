"""What settings may be is declared once, beside their defaults, and everything else follows from it."""

from __future__ import annotations

import math
from functools import singledispatch

import pytest

from mu_monai.errors import InputError
from mu_monai.methods import METHODS, PerturbedSignGradient
from mu_monai.methods.boundary_search import SearchSettings
from mu_monai.methods.registry import defaults
from mu_monai.methods.settings import (
    Interval,
    OneOf,
    OrNull,
    Range,
    Several,
    Text,
    Weights,
    declared,
)

SETTINGS = [
    pytest.param(method, name, id=f"{label}-{name}") for label, method in METHODS.items() for name in method.allowed()
]
NOT_NUMBERS = (math.nan, math.inf, -math.inf, True, "1", None, [1])


@singledispatch
def outside(allowed):
    """Values that are just not allowed, of every kind of declaration."""
    raise NotImplementedError(f"say what is just outside of {type(allowed).__name__}")


@outside.register
def _(allowed: Interval):
    step = 1 if allowed.whole else 1e-9
    low = allowed.low - step if allowed.closed in ("both", "left") else allowed.low
    high = (
        [] if allowed.high is None else [allowed.high + step if allowed.closed in ("both", "right") else allowed.high]
    )
    return [low, *high, *NOT_NUMBERS, *([allowed.low + 0.5] if allowed.whole else [])]


@outside.register
def _(allowed: OneOf):
    return ["none of them", 7, [], *(str(choice) for choice in allowed.choices if not isinstance(choice, str))]


@outside.register
def _(allowed: OrNull):
    return [value for value in outside(allowed.inner) if value is not None]


@outside.register
def _(allowed: Text):
    return [1, None, ["text"], True]


@outside.register
def _(allowed: Several):
    return ["text", 1, None, *([value] for value in outside(allowed.inner))]


@outside.register
def _(allowed: Range):
    return [1, "text", None, [1], [1, 1], [1, 0], [0, 1, 2], [0, math.inf], [math.nan, 1], [False, 1], ["0", "1"]]


@outside.register
def _(allowed: Weights):
    name = next(iter(allowed.names))
    return [{}, "text", 1, None, [1.0], *({name: value} for value in outside(allowed.weight))]


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_setting_says_what_it_may_be(method):
    assert set(method.allowed()) == set(method(forget_loader=[], task=method.tasks[0]).settings())


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_the_defaults_are_those_of_a_method_that_nobody_set(method):
    assert defaults(method) == method(forget_loader=[], task=method.tasks[0]).settings()


@pytest.mark.parametrize(("method", "name"), SETTINGS)
def test_what_is_just_outside_is_refused_by_name_value_and_range(method, name):
    allowed = method.allowed()[name]
    assert allowed.fits(defaults(method)[name])
    for value in outside(allowed):
        assert not allowed.fits(value), value
        with pytest.raises(InputError) as caught:
            method(**{"forget_loader": [], "task": method.tasks[0], name: value})
        told = next(problem for problem in caught.value.problems if problem.startswith(f"method#{name}"))
        assert "use " in told or "name at least one of" in told


@pytest.mark.parametrize(
    ("allowed", "words", "inside"),
    [
        (Interval(0), "a number of 0 or more", [0, 0.0, 1e300]),
        (Interval(0, closed="neither"), "a number above 0", [1e-300, 5]),
        (Interval(1, whole=True), "a whole number of 1 or more", [1, 10**9]),
        (Interval(0.5, 1, closed="left"), "a number in [0.5, 1)", [0.5, 0.999]),
        (Interval(0, 1, closed="right"), "a number in (0, 1]", [1e-9, 1]),
        (OneOf(None, True, "rewind"), "one of null, true, rewind", [None, True, "rewind"]),
        (OrNull(Interval(1, whole=True)), "a whole number of 1 or more, or null", [None, 1]),
        (Range(), "[lowest, highest]", [[-1, 1], (0.5, 2)]),
        (Text("the name of a layer"), "the name of a layer", ["", "encoder"]),
        (Several(Interval(1, whole=True), "channels from 1 on"), "channels from 1 on", [[], [1, 2], (3,)]),
        (Weights(["entropy"]), "weights of 0 or more for some of entropy", [{"entropy": 0}, {"entropy": 2.5}]),
    ],
)
def test_what_is_allowed_in_words(allowed, words, inside):
    assert str(allowed) == words
    assert all(map(allowed.fits, inside))


def test_all_settings_are_checked_at_once():
    with pytest.raises(InputError) as caught:
        PerturbedSignGradient(forget_loader=[], steps=0, on_fail="cry", tolerance=1)
    assert len(caught.value.problems) == 3


def test_the_settings_of_the_search_are_declared_once():
    shared = declared(SearchSettings)
    assert len(shared) == 10
    assert all(PerturbedSignGradient.allowed()[name] is allowed for name, allowed in shared.items())


def test_a_default_that_can_be_changed_is_each_methods_own():
    first, second = (METHODS["erase-to-retain"](forget_loader=[]) for _ in range(2))
    first.forget_terms["entropy"] = 1.0
    assert second.forget_terms == {"background": 1.0}
    assert defaults(METHODS["erase-to-retain"])["forget_terms"] == {"background": 1.0}
