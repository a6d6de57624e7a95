"""The teacher's answers: kept if a case always looks the same, made anew if not."""

from __future__ import annotations

import torch
from ignite.engine import Events
from monai.data import CacheDataset, Dataset
from monai.transforms import Compose, EnsureTyped, GridSplitd, Lambdad, OneOf, RandFlipd, RandomOrder, SomeOf
from torch.utils.data import ConcatDataset, Subset

from mu_monai.engine import count_of
from mu_monai.methods import ShrinkAndRestore
from mu_monai.methods.teacher_answers import always_the_same, answered

FIXED = Compose([EnsureTyped("image")])
RANDOM = Compose([EnsureTyped("image"), Compose([RandFlipd("image")])])
CASES = [{"image": torch.zeros(1, 2, 2)}]


def test_a_random_transform_anywhere_makes_a_case_look_different():
    assert always_the_same(Dataset(CASES, FIXED))
    assert always_the_same(CacheDataset(CASES, FIXED, progress=False))
    assert not always_the_same(Dataset(CASES, RANDOM))


def test_parts_and_sums_are_as_random_as_what_they_are_of():
    fixed, random = Dataset(CASES, FIXED), Dataset(CASES, RANDOM)
    assert always_the_same(Subset(fixed, [0]))
    assert always_the_same(ConcatDataset([fixed, fixed]))
    assert not always_the_same(Subset(random, [0]))
    assert not always_the_same(ConcatDataset([fixed, random]))


def test_what_a_data_set_is_made_of_counts():
    assert always_the_same(Dataset(Dataset(CASES, FIXED), FIXED))
    assert not always_the_same(Dataset(Dataset(CASES, RANDOM), FIXED))
    assert not always_the_same(Dataset(CASES, Compose([Lambdad("image", lambda image: image + torch.rand(1))])))


def test_several_patches_of_a_case_have_several_answers():
    """`GridSplitd` draws nothing, but makes four items that all bear the id of their case."""
    assert not always_the_same(Dataset(CASES, Compose([EnsureTyped("image"), GridSplitd("image", (2, 2))])))


def test_what_is_not_understood_counts_as_random():
    assert not always_the_same(Dataset(CASES, Compose([lambda case: case])))
    assert not always_the_same(CASES)


def _passes(small, dataset):
    settings = {"damage": 0.1, "stop_at": None, "probe_steps": 0}
    job = small(ShrinkAndRestore, options={"epochs": 3, "retain_batch": 8}, **settings)
    job.trainer.data_loader = torch.utils.data.DataLoader(dataset(job.retain), batch_size=8)
    job.trainer.state.dataloader = job.trainer.data_loader
    job.run()
    return count_of(job.trainer).passes


def test_kept_answers_take_one_pass_in_the_whole_run(small):
    def fixed(cases):
        return Dataset(cases, Compose([EnsureTyped("image", track_meta=False)]))

    assert _passes(small, fixed) == 3 * 3 * 8 + 8
    assert _passes(small, lambda cases: cases) == 3 * (3 * 8 + 8)


def test_transforms_that_draw_which_of_them_is_used_are_random_wherever_they_stand():
    for draws in (OneOf, SomeOf, RandomOrder):
        choice = draws([EnsureTyped("image"), EnsureTyped("label", allow_missing_keys=True)])
        assert not always_the_same(Dataset(CASES, choice))
        assert not always_the_same(Dataset(CASES, Compose([choice])))
    assert always_the_same(Dataset(CASES, Compose([FIXED])))


def test_a_resumed_run_does_not_count_kept_answers_again(small):
    """A budget would end it earlier than a run that was not interrupted."""

    def job():
        settings = {"damage": 0.1, "stop_at": None, "probe_steps": 0}
        made = small(ShrinkAndRestore, options={"epochs": 1, "retain_batch": 8}, **settings)
        cases = Dataset(made.retain, Compose([EnsureTyped("image", track_meta=False)]))
        made.trainer.data_loader = torch.utils.data.DataLoader(cases, batch_size=8)
        made.trainer.state.dataloader = made.trainer.data_loader
        return made

    first, again = job(), job()
    first.run()
    kept = [case["case_id"] for case in first.retain]
    assert answered(first.method) == {"answered": {"_teacher": sorted(kept)}}
    again.trainer.add_event_handler(
        Events.STARTED, lambda: again.method.load_state_dict(first.method.state_dict(), again.trainer)
    )
    again.run()
    assert count_of(first.trainer).passes - count_of(again.trainer).passes == len(kept)
    assert answered(again.method) == answered(first.method)
