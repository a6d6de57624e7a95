"""The user's error: every problem at once."""

from __future__ import annotations

import pytest

from mu_monai.errors import InputError, collect, raise_if_any


def test_one_problem_is_its_own_message():
    error = InputError("image 'a.png' is missing")
    assert str(error) == "image 'a.png' is missing"
    assert error.problems == ["image 'a.png' is missing"]


def test_one_problem_in_a_list_reads_the_same():
    assert str(InputError(["a is missing"])) == str(InputError("a is missing"))


def test_several_problems_are_counted_and_listed_in_order():
    error = InputError(f"{name} is missing" for name in "abc")
    assert str(error) == "3 problems:\n  - a is missing\n  - b is missing\n  - c is missing"
    assert error.problems == ["a is missing", "b is missing", "c is missing"]


def test_it_is_a_value_error():
    with pytest.raises(ValueError, match="a is missing"):
        raise InputError("a is missing")


def test_a_problem_that_two_checks_find_is_told_once():
    def raising():
        raise InputError(["b", "c"])

    assert collect(lambda: ["a", "b"], raising, lambda: None) == ["a", "b", "c"]


def test_raise_if_any_collects_from_a_generator():
    with pytest.raises(InputError, match="2 problems") as error:
        raise_if_any(name for name in ("a", "b"))
    assert error.value.problems == ["a", "b"]


@pytest.mark.parametrize("nothing", [[], (), iter(())])
def test_raise_if_any_is_silent_without_a_problem(nothing):
    raise_if_any(nothing)
