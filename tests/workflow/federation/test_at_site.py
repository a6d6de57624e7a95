"""What a site does in each kind of round; NVFlare is not needed for it."""

from dataclasses import replace

import pytest
from monai.utils import set_determinism

from mu_monai.bundle import open_bundle
from mu_monai.bundle.config import built_network
from mu_monai.bundle.layers import LayeredConfig
from mu_monai.data import read_split
from mu_monai.keys import RETAIN, TEST
from mu_monai.runs.federation import Federation, Round, Site, site_folder
from mu_monai.workflow.federation.at_site import AtSite
from mu_monai.workflow.federation.training import training_rounds
from tests.workflow.federation.conftest import TINY

SMALL = {
    "isic_classification": {
        "network_def::layers": [1, 1, 1, 1],
        "network_def::block_inplanes": [4, 8, 16, 32],
        "image_size": [32, 32],
    },
    "volume3d": {
        "network_def::channels": [4, 8],
        "network_def::strides": [2],
        "patch_size": [16, 16, 16],
        "spacing": [4, 4, 4],
    },
}


def at_site(bundle, sites, folder, settings):
    """The first site in a folder of its own, with the weights of a new network."""
    opened = open_bundle(bundle)
    config = LayeredConfig(opened, "train")
    config.lay("settings", settings)
    set_determinism(0)
    weights = built_network(config.read()).state_dict()
    federation = Federation(
        bundle=str(opened.place),
        name=bundle,
        version=opened.version,
        code=opened.code_sha256,
        sites=tuple(sites),
        total=4,
        local_epochs=2,
        device="cpu",
        settings=settings,
        rounds=tuple(training_rounds(sites, 1, 4)),
        route="distil",
    )
    return AtSite(folder=folder, federation=federation, site=sites[0]), weights


def moved(before, after):
    return max(float((after[name] - before[name]).abs().max()) for name in before if before[name].is_floating_point())


def test_a_site_trains_restores_unlearns_and_measures(sites, tmp_path):
    site, weights = at_site("isic", sites, tmp_path, TINY)

    def changed_by(number, task, start, **options):
        return site.change(Round(number=number, task=task, sites=("north",), **options), start)

    assert site.problems() == []
    trained = changed_by(1, "train", weights)
    assert trained.passes == 3 * 2 * site.site.cases  # forward and backward, two epochs
    assert moved(weights, trained.weights) > 0
    again, other = changed_by(1, "train", weights), changed_by(2, "train", weights)
    assert moved(trained.weights, again.weights) == 0  # the same weights and round give the same answer
    assert moved(trained.weights, other.weights) > 0  # every round has a seed of its own

    restored = changed_by(5, "restore", trained.weights, damage=0.5)
    assert moved(trained.weights, restored.weights) > 0
    assert moved(restored.weights, changed_by(6, "restore", restored.weights).weights) > 0

    unlearned = changed_by(5, "unlearn", trained.weights)
    assert unlearned.weights.keys() == trained.weights.keys()
    assert restored.said == ()  # what a run without forget cases warns of is no news here

    numbers = site.measure(trained.weights)
    unseen = len(site.split.rows[TEST])
    assert (numbers.site, numbers.metric, numbers.unseen, numbers.trained) == ("north", "dice", unseen, site.site.cases)
    assert 0 <= numbers.value <= 1
    assert 0 <= numbers.auc <= 1
    own = {path.name for path in site_folder(site.folder, "north").iterdir()}
    assert own == {"audit", "received.safetensors", "teacher.safetensors"}  # no run is left behind


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_restoring_sees_every_case_in_every_epoch_whatever_the_batch(sites, tmp_path, batch):
    site, weights = at_site("isic", sites, tmp_path, TINY)
    site = replace(site, federation=replace(site.federation, forgetting={"batch_size": batch}))
    restored = site.change(Round(number=5, task="restore", sites=("north",), damage=0.5), weights)
    assert restored.passes == (3 * 2 + 1) * site.site.cases  # two epochs, and the teacher answers once


def test_restoring_takes_a_length_that_was_asked_for(sites, tmp_path):
    site, weights = at_site("isic", sites, tmp_path, TINY)
    site = replace(site, federation=replace(site.federation, forgetting={"batch_size": 1, "epoch_length": 5}))
    restored = site.change(Round(number=5, task="restore", sites=("north",), damage=0.5), weights)
    assert restored.passes == 3 * 5 + site.site.cases


@pytest.mark.parametrize("bundle", SMALL)
def test_classes_and_volumes(bundle, phantom_splits, tmp_path):
    split = read_split(phantom_splits[bundle])
    place = str(open_bundle(bundle).place)
    own = Site(name="a", split=str(split.path), sha256=split.sha256, bundle=place, cases=len(split.rows[RETAIN]))
    site, weights = at_site(bundle, [own], tmp_path, SMALL[bundle])
    for work in (
        Round(number=5, task="restore", sites=("a",), damage=0.3),
        Round(number=6, task="train", sites=("a",)),
    ):
        changed = site.change(work, weights)
        assert moved(weights, changed.weights) > 0
    assert site.measure(changed.weights).metric == ("accuracy" if bundle == "isic_classification" else "dice")
