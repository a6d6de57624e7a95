"""Train a bundle over several sites, and keep the global model after every round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from monai.utils import set_determinism

from mu_monai.adapters import read_weights, weights_sha256
from mu_monai.adapters.milestones import write_safetensors
from mu_monai.bundle import open_bundle
from mu_monai.bundle.config import built_network, parse_settings, unknown_ids
from mu_monai.bundle.layers import LayeredConfig
from mu_monai.bundle.trust import SEPARATOR
from mu_monai.errors import collect, raise_if_any
from mu_monai.lock import writes
from mu_monai.runs.federation import AUDIT, TRAIN, Federation, Round, Site, round_file
from mu_monai.workflow.checks import device_problems, number_problems, place_problems, weight_problems
from mu_monai.workflow.federation.at_site import AtSite
from mu_monai.workflow.federation.simulating import finish, nvflare_problems, resume_problems, simulated
from mu_monai.workflow.federation.sites import open_sites, read_sites

_SET_HERE = {
    "max_epochs": "give the passes over a site's cases in a round as --local-epochs",
    "subsets": "sites train on 'retain'",
    "milestones": "every round's model is kept",
}


@writes("out")
def train_federation(
    bundle: str | Path,
    *,
    sites: str | Path,
    rounds: int,
    out: str | Path,
    local_epochs: int = 1,
    start: str | Path | None = None,
    settings: Sequence[str] = (),
    resume: bool = False,
    device: str | None = None,
) -> Path:
    """Train a bundle over several sites with federated averaging, in NVFlare's simulator.

    In each round the global model goes to every site that has joined, each trains it on its own `retain` cases as the
    bundle trains, and the average of what comes back, weighted by cases, is the next model. Each site then measures the
    last one on its own cases and tells a few numbers.

    Args:
        bundle: folder, or name of a shipped bundle.
        sites: a JSON file: `{"north": {"split": "north.json"}, "west": {"split": "west.json", "joins": 3}}`.
        rounds: the number of rounds, at least 1.
        out: the folder to make: `federation.json`, `model.pt`, and every round's model in `rounds/`.
        local_epochs: passes of a site over its cases in a round, at least 1.
        start: a run folder or weights file to start from; by default the bundle's network with new weights.
        settings: `KEY=VALUE` overrides of config ids, for all sites.
        resume: continue after the last round that was over when it was interrupted.
        device: such as `cpu` or `cuda:0`; by default a GPU if there is one.

    Returns:
        the folder.

    Raises:
        InputError: every problem of the input, before anything is trained.
        RunError: if a site fails.

    Source: McMahan et al., *Communication-Efficient Learning of Deep Networks from Decentralized Data* (arXiv
        1602.05629): federated averaging.
    """
    out, source, given = Path(out), open_bundle(bundle), parse_settings(settings)
    config = LayeredConfig(source, "train")
    config.lay("settings", given)
    seed = config.read().get("seed") or 0
    given.pop("seed", None)  # of the first round; each round has its own
    problems = collect(
        nvflare_problems,
        lambda: _count_problems(rounds, local_epochs, seed),
        lambda: setting_problems(config, given, _SET_HERE),
        lambda: number_problems(given),
        lambda: [] if resume else out_problems(out),
        lambda: place_problems({"--out": out, "--start": start, "BUNDLE": source.place}),
        lambda: device_problems(device),
        lambda: [] if start is None else weight_problems(config.read(), start),
    )
    raise_if_any(problems)
    opened = open_sites(read_sites(sites, source, rounds), source)
    federation = Federation(
        bundle=str(source.place),
        name=", ".join(source.names),
        version=source.version,
        code=source.code_sha256,
        configs=source.configs_sha256,
        sites=tuple(opened),
        total=rounds,
        local_epochs=local_epochs,
        seed=seed,
        device=device or "",
        settings=given,
        rounds=with_audit(training_rounds(opened, 1, rounds), opened),
    )
    raise_if_any(
        problem for site in opened for problem in AtSite(folder=out, federation=federation, site=site).problems()
    )
    federation = _begun(out, federation, _first_weights(config, start, seed), resume=resume)
    simulated({out: federation}, resume=resume)
    finish(out)
    return out


def _count_problems(rounds: int, local_epochs: int, seed: Any) -> Iterator[str]:
    for name, number in (("--rounds", rounds), ("--local-epochs", local_epochs)):
        if number < 1:
            yield f"{name} {number} is not allowed; use a whole number of at least 1"
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        yield f"--set seed={seed} is not allowed; use 0, 1, 2 ..."


def setting_problems(config: LayeredConfig, given: Mapping[str, Any], elsewhere: Mapping[str, str]) -> Iterator[str]:
    """Why sites cannot be given settings: ids that the config does not have, or that are said elsewhere."""
    yield from unknown_ids(config.read("recipe"), list(given))
    for key in given:
        if key in elsewhere:
            yield f"--set {key.replace(SEPARATOR, '#')} is not for a federation: {elsewhere[key]}"


def out_problems(out: Path) -> Iterator[str]:
    """Why a federation cannot be written to a folder."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        yield f"'{out}' exists and is not empty; give another --out or remove it"


def _first_weights(config: LayeredConfig, start: str | Path | None, seed: int) -> dict[str, Any]:
    if start is not None:
        return read_weights(start)
    set_determinism(seed)
    return built_network(config.read()).state_dict()


def _begun(out: Path, federation: Federation, first: Mapping[str, Any], *, resume: bool) -> Federation:
    """The federation with the digest of its first weights, which are written, or else are those that it began with."""
    federation = replace(federation, models={"0": weights_sha256(first)})
    if resume:
        raise_if_any(resume_problems(out, federation))
    else:
        write_safetensors(round_file(out, 0), first)
    return federation


def training_rounds(sites: Sequence[Site], first: int, last: int) -> list[Round]:
    """The rounds of a training; in each take part those that have joined, and a round with nobody is left out."""
    numbered = {number: [site.name for site in sites if site.joins <= number] for number in range(first, last + 1)}
    return [Round(number=number, task=TRAIN, sites=tuple(names)) for number, names in numbered.items() if names]


def with_audit(rounds: Sequence[Round], asked: Sequence[Site]) -> tuple[Round, ...]:
    """Rounds, and a last one in which sites measure the model."""
    return (*rounds, Round(number=rounds[-1].number + 1, task=AUDIT, sites=tuple(site.name for site in asked)))
