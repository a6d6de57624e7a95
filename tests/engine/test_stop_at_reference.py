"""Following how well losses tell forget cases from unseen ones."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from mu_monai.engine import ReferenceWatch
from mu_monai.engine.stop_at_reference import loss_auc

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


@given(st.lists(st.tuples(losses, losses), max_size=4))
def test_it_survives_json(seen):
    watch = ReferenceWatch(0.05)
    for epoch, (forget, unseen) in enumerate(seen, 1):
        watch.see(epoch, forget, unseen)
    assert ReferenceWatch(**json.loads(json.dumps(watch.as_dict()))) == watch
