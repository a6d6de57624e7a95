"""Three sites with small phantoms, and a federation of them as if it had been trained."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch

from mu_monai import workflow
from mu_monai.adapters import read_weights, weights_sha256
from mu_monai.adapters.milestones import write_safetensors
from mu_monai.bundle import open_bundle
from mu_monai.data import Source, SplitSettings, make_split, write_phantoms, write_split
from mu_monai.errors import InputError
from mu_monai.files import write_json
from mu_monai.runs.federation import Federation, Site, SiteNumbers, read_federation, round_file, write_federation
from mu_monai.runs.record import FINISHED
from mu_monai.workflow.federation import simulating
from mu_monai.workflow.federation.sites import open_sites, read_sites
from mu_monai.workflow.federation.training import training_rounds, with_audit

forgetting = import_module("mu_monai.workflow.federation.forgetting")
STAY, ALL = ("north", "south"), ("north", "south", "west")
JOINS = {"north": 1, "south": 1, "west": 3}
TINY = {
    "image_size": [32, 32],
    "network_def::channels": [4, 8],
    "network_def::strides": [2],
    "batch_size": 2,
    "learning_rate": 0.01,
}


@pytest.fixture(scope="session")
def sites_file(tmp_path_factory):
    """The file of three sites, each with a split of its own phantoms."""
    folder = tmp_path_factory.mktemp("sites")
    for seed, name in enumerate(JOINS):
        manifest = write_phantoms("lesions", folder / name, patients=5, images_per_patient=1, size=32, seed=seed)
        source = Source(manifest=manifest, path=name, layout="manifest")
        write_split(folder / f"{name}.json", make_split(source, SplitSettings(forget=None)))
    write_json(
        folder / "sites.json", {name: {"split": f"{name}.json", "joins": joins} for name, joins in JOINS.items()}
    )
    return folder / "sites.json"


@pytest.fixture(scope="session")
def sites(sites_file) -> list[Site]:
    bundle = open_bundle("isic")
    return open_sites(read_sites(sites_file, bundle, 4), bundle)


@pytest.fixture
def trained(sites, tmp_path):
    """The folder of a finished federation of four rounds, whose models are not weights of the network."""
    folder, bundle = tmp_path / "trained", open_bundle("isic")
    rounds = with_audit(training_rounds(sites, 1, 4), sites)
    told = {"metric": "dice", "value": 0.8, "low": 0.7, "high": 0.9, "unseen": 5, "trained": 10, "auc": 0.75}
    models = {number: {"weight": torch.tensor([float(number)])} for number in range(5)}
    digests = {str(number): weights_sha256(weights) for number, weights in models.items()}
    federation = Federation(
        status=FINISHED,
        bundle=str(bundle.place),
        name="isic",
        version=bundle.version,
        code=bundle.code_sha256,
        configs=bundle.configs_sha256,
        sites=tuple(sites),
        total=4,
        local_epochs=1,
        settings=TINY,
        rounds=tuple(replace(each, bytes=1_000_000, passes=10) for each in rounds),
        numbers=tuple(SiteNumbers(site=site.name, **told) for site in sites),
        weights=digests["4"],
        models=digests,
    )
    for number, weights in models.items():
        write_safetensors(round_file(folder, number), weights)
    write_federation(folder, federation)
    return folder


@pytest.fixture
def with_nvflare(monkeypatch):
    """As if NVFlare were installed."""
    found = simulating.find_spec
    monkeypatch.setattr(simulating, "find_spec", lambda name: True if name == "nvflare" else found(name))


@pytest.fixture
def planned(monkeypatch, with_nvflare):
    """What would be simulated."""
    seen = {}
    monkeypatch.setattr(forgetting, "finish", lambda folder: seen.update(kept=[*(folder / "rounds").iterdir()]))
    monkeypatch.setattr(forgetting, "simulated", lambda work, resume: seen.update(f=next(iter(work.values()))))

    def plan(folder, route, **options):
        out = folder.parent / f"without-by-{route}"
        workflow.forget_site(folder, site="west", route=route, out=out, **options)
        assert seen["kept"] == [*(out / "rounds").iterdir()]  # it is finished when all else is done
        return seen["f"], out

    return plan


def refused(folder, **options):
    given = {"site": "west", "route": "rewind", "out": folder.parent / "out"} | options
    with pytest.raises(InputError) as caught:
        workflow.forget_site(folder, **given)
    assert not Path(given["out"]).exists()
    return str(caught.value)


def changed(folder, **changes):
    federation = replace(read_federation(folder), **changes)
    write_federation(folder, federation)
    return federation


def joined(folder, **joins):
    """The federation as if sites had joined in other rounds; the model after round N is the number N."""
    sites = [replace(site, joins=joins[site.name]) for site in read_federation(folder).sites]
    rounds = [replace(each, bytes=1, passes=1) for each in with_audit(training_rounds(sites, 1, 4), sites)]
    changed(folder, sites=tuple(sites), rounds=tuple(rounds))


def kept(folder):
    files = {number: round_file(folder, number) for number in range(6)}
    return {number: float(read_weights(file)["weight"]) for number, file in files.items() if file.is_file()}
