"""Watching a restoration: what comes back, when it stops, and which epoch is kept."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_monai.methods.restoration import RestorationWatch


def watch(tolerance: float | None = 0.1, teacher: float = 0.2, start: float = 1.2) -> RestorationWatch:
    return RestorationWatch(tolerance, teacher_forget_loss=teacher, start_forget_loss=start)


def test_the_way_back_runs_from_zero_to_one():
    assert [watch().returned(loss) for loss in (1.2, 0.7, 0.2)] == pytest.approx([0, 0.5, 1])
    assert watch().returned(1.7) == pytest.approx(-0.5), "forgotten further"


def test_it_stops_beyond_the_tolerance_and_keeps_the_epoch_with_the_lowest_retain_loss():
    one = watch(0.3)
    assert one.see(4, forget_loss=1.1, retain_loss=0.5)
    assert one.see(5, forget_loss=1.0, retain_loss=0.3)
    assert not one.see(6, forget_loss=0.95, retain_loss=0.4)
    assert not one.stopped
    assert not one.see(7, forget_loss=0.85, retain_loss=0.1), "better on retain, but too far back"
    assert one.stopped
    assert one.kept_epoch == 5


def test_the_first_epoch_may_already_be_too_much():
    one = watch(0.1)
    assert not one.see(4, forget_loss=0.5, retain_loss=0.1)
    assert one.stopped
    assert one.kept_epoch is None


def test_exactly_the_tolerance_is_accepted():
    one = watch(0.5, teacher=0.0, start=1.0)
    assert one.see(1, forget_loss=0.5, retain_loss=0.1)
    assert not one.stopped


def test_without_a_tolerance_it_only_watches():
    one = watch(None)
    assert one.see(1, forget_loss=0.2, retain_loss=0.1)
    assert not one.stopped
    assert one.epochs[0]["returned"] == pytest.approx(1)


def test_where_nothing_was_forgotten_nothing_can_come_back():
    one = watch(teacher=1.0, start=1.0)
    assert not one.can_judge
    one.see(1, forget_loss=0.1, retain_loss=0.1)
    assert not one.stopped


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5)), min_size=1, max_size=8))
def test_it_goes_on_from_json_as_if_it_had_not_been_away(epochs):
    whole, broken = watch(), watch()
    for number, (forget, retain) in enumerate(epochs):
        whole.see(number, forget_loss=forget, retain_loss=retain)
        broken = RestorationWatch(**json.loads(json.dumps(broken.as_dict())))
        broken.see(number, forget_loss=forget, retain_loss=retain)
    assert broken == whole
    kept = [seen for seen in whole.epochs if seen["epoch"] == whole.kept_epoch]
    assert all(seen["returned"] <= 0.1 for seen in kept)
