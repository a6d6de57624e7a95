"""Following how well losses tell forget cases from unseen ones."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from mu_monai.engine import ReferenceWatch, StopAtReference
from mu_monai.engine.stop_at_reference import loss_auc
from mu_monai.errors import InputError

losses = st.lists(st.floats(0, 10), min_size=1, max_size=12)


def test_the_auc_is_hand_computed():
    assert loss_auc([0.1, 0.2], [0.3, 0.4]) == 1, "remembered"
    assert loss_auc([0.3, 0.4], [0.1, 0.2]) == 0, "forgotten too far"
    assert loss_auc([0.2], [0.1, 0.2, 0.3, 0.4]) == pytest.approx(2.5 / 4)


@given(losses, losses)
def test_the_auc_is_that_of_an_attacker_who_calls_low_losses_members(forget, unseen):
    members = [1] * len(forget) + [0] * len(unseen)
    assert loss_auc(forget, unseen) == pytest.approx(roc_auc_score(members, [-loss for loss in forget + unseen]))
    assert loss_auc(forget, unseen) == pytest.approx(1 - loss_auc(unseen, forget))


def test_it_knows_where_it_is_and_which_epoch_was_nearest():
    watch = ReferenceWatch(0.1)
    assert (watch.reached, watch.overshot, watch.nearest) == (False, False, None)
    watch.see(1, [0.1, 0.1], [0.3, 0.3])
    assert (watch.reached, watch.overshot, watch.nearest) == (False, False, 1)
    watch.see(2, [0.1, 0.4], [0.3, 0.3])
    assert (watch.reached, watch.overshot, watch.nearest) == (True, False, 2)
    watch.see(3, [0.4, 0.4], [0.3, 0.3])
    assert (watch.reached, watch.overshot, watch.nearest) == (False, True, 2)
    assert watch.epochs[-1] == {"epoch": 3, "forget_auc": 0.0, "forget_loss": 0.4, "unseen_loss": 0.3}


@pytest.mark.parametrize(
    ("forget", "what"), [([0.1], "still answered better"), ([0.9], "answered worse"), ([0.3], None)]
)
def test_it_warns_where_the_reference_was_not_reached(forget, what):
    watch = ReferenceWatch(0.1)
    watch.see(1, forget, [0.3])
    assert what in watch.warnings()[0] if what else watch.warnings() == []
    assert ReferenceWatch(0.1).warnings() == []
    stood_in = watch.warnings(stand_in=True)
    assert "so the forget cases are at most about as well known" in stood_in[0] if what else stood_in == []


@given(st.lists(st.tuples(losses, losses), max_size=4))
def test_it_survives_json(seen):
    watch = ReferenceWatch(0.05)
    for epoch, (forget, unseen) in enumerate(seen, 1):
        watch.see(epoch, forget, unseen)
    assert ReferenceWatch(**json.loads(json.dumps(watch.as_dict()))) == watch


@pytest.mark.parametrize(
    ("stop_at", "comes_back", "auc", "ends"),
    [
        ("reference", False, 0.55, True),
        ("reference", False, 0.2, True),
        ("reference", True, 0.2, False),
        ("reference", False, 0.9, False),
        ("rewind", False, 0.55, False),
    ],
)
def test_it_goes_on_from_a_checkpoint_that_may_be_an_earlier_versions(stop_at, comes_back, auc, ends):
    ended = []
    engine = SimpleNamespace(terminate=lambda: ended.append(True))
    handler = StopAtReference(
        stop_at=stop_at, tolerance=0.1, comes_back=comes_back, cases=lambda engine: None, unseen=["a batch"]
    )
    seen = {"epoch": 1, "forget_auc": auc, "forget_loss": 0.1, "unseen_loss": 0.2}
    state = {"steering": {"tolerance": 0.1, "epochs": [seen], "nearest": 1}}
    handler.load_state_dict(state, engine)
    assert ended == [True] * ends
    assert handler.state_dict() == {**state, "nearest": {}}, "an earlier version kept no student"
    handler.load_state_dict({**state, "nearest": {"weight": 1}}, engine)
    assert handler.state_dict()["nearest"] == {"weight": 1}


@pytest.mark.parametrize("unseen", [None, []])
def test_without_unseen_cases_there_is_nothing_to_compare_with(unseen):
    with pytest.raises(InputError, match="method#stop_at='rewind' compares with unseen cases"):
        StopAtReference(stop_at="rewind", tolerance=0.1, comes_back=False, cases=lambda engine: None, unseen=unseen)
