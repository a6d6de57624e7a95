"""The curve: weighted epoch means, and rows that survive a restart."""

from __future__ import annotations

import math
import random

import pandas as pd
import pytest
import torch
from ignite.engine import Engine

from mu_monai.engine import record_term
from mu_monai.engine.curve import Curve, epoch_terms


@pytest.fixture
def engine() -> Engine:
    return Engine(lambda engine, batch: None)


def test_a_term_is_the_mean_over_cases_not_over_batches(engine):
    record_term(engine, "guard", 1.0, 3)
    record_term(engine, "guard", 5.0, 1)
    assert epoch_terms(engine) == {"guard": 2.0}


def test_terms_keep_their_names_and_their_own_counts(engine):
    record_term(engine, "guard", 1.0, 3)
    record_term(engine, "background", 4.0)
    record_term(engine, "background", 8.0)
    assert epoch_terms(engine) == {"guard": 1.0, "background": 6.0}


def test_the_sums_start_over_with_every_epoch(engine):
    record_term(engine, "guard", 1.0)
    epoch_terms(engine)
    assert epoch_terms(engine) == {}
    record_term(engine, "guard", 7.0)
    assert epoch_terms(engine) == {"guard": 7.0}


def test_a_tensor_is_detached_so_that_no_graph_is_kept(engine):
    value = torch.tensor(2.0, requires_grad=True)
    record_term(engine, "guard", value * 2, 4)
    record_term(engine, "guard", value * 4, 4)
    (stored, _), *_ = engine.state.terms.values()
    assert not stored.requires_grad
    assert epoch_terms(engine) == {"guard": 6.0}


def test_two_engines_do_not_share_their_terms(engine):
    other = Engine(lambda engine, batch: None)
    record_term(engine, "guard", 1.0)
    record_term(other, "guard", 2.0)
    assert epoch_terms(engine) == {"guard": 1.0}
    assert epoch_terms(other) == {"guard": 2.0}


def test_a_value_that_is_no_number_shows_in_the_mean(engine):
    record_term(engine, "guard", 1.0)
    record_term(engine, "guard", float("nan"))
    assert math.isnan(epoch_terms(engine)["guard"])


@pytest.fixture
def curve(tmp_path) -> Curve:
    """Three epochs, the second without evaluation."""
    curve = Curve(tmp_path / "curve.csv")
    curve.append({"epoch": 1, "seconds": 0.5, "total": 1 / 3, "forget_dice": 0.9})
    curve.append({"epoch": 2, "seconds": 1.0, "total": 0.1 + 0.2})
    curve.append({"epoch": 3, "seconds": 1.5, "total": 1e-9 / 7, "forget_dice": 0.1})
    return curve


def test_every_epoch_is_a_row_and_columns_may_be_empty(curve):
    table = pd.read_csv(curve.path)
    assert list(table.columns) == ["epoch", "seconds", "total", "forget_dice"]
    assert table["epoch"].tolist() == [1, 2, 3]
    assert table["forget_dice"].isna().tolist() == [False, True, False]


@pytest.mark.parametrize("epoch", [1, 2, 3, 9])
def test_restoring_drops_epochs_that_were_not_finished(curve, epoch):
    restored = Curve(curve.path)
    restored.restore(epoch)
    assert restored.rows == curve.rows[:epoch], "bit for bit, without the empty cells"


def test_going_on_after_a_restart_writes_the_same_file(curve, tmp_path):
    expected = curve.path.read_text()
    other = Curve(curve.path)
    other.restore(2)
    other.append(curve.rows[2])
    assert curve.path.read_text() == expected


def test_numbers_come_back_bit_for_bit(tmp_path):
    curve, numbers = Curve(tmp_path / "curve.csv"), random.Random(0)
    for epoch in range(1, 101):
        curve.append({"epoch": epoch, "total": numbers.random() * 10 ** numbers.randint(-9, 9)})
    restored = Curve(curve.path)
    restored.restore(100)
    assert restored.rows == curve.rows


def test_a_restart_before_the_first_whole_epoch_begins_anew(curve):
    restored = Curve(curve.path)
    restored.restore(0)
    assert restored.rows == []


def test_restoring_without_a_file_is_no_error(tmp_path):
    curve = Curve(tmp_path / "curve.csv")
    curve.restore(2)
    assert curve.rows == []
