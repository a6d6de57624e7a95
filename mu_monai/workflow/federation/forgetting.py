"""Forget a site that leaves a federation, by one of four routes."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mu_monai.bundle import Bundle
from mu_monai.bundle.config import parse_settings
from mu_monai.bundle.layers import LayeredConfig
from mu_monai.bundle.trust import STRANGER, Trust
from mu_monai.errors import collect, did_you_mean, raise_if_any
from mu_monai.lock import writes
from mu_monai.runs.federation import (
    TEACHER_FILE,
    UNLEARN,
    Federation,
    read_federation,
    round_file,
    site_folder,
)
from mu_monai.runs.record import RUNNING
from mu_monai.workflow.checks import place_problems
from mu_monai.workflow.federation.models import model_problems
from mu_monai.workflow.federation.received import changed_problems, received_problems, trusted_sites
from mu_monai.workflow.federation.routes import DISTIL, REWIND, ROUTES, Leaving
from mu_monai.workflow.federation.simulating import finish, nvflare_problems, resume_problems, simulated
from mu_monai.workflow.federation.training import out_problems, setting_problems, with_audit

_SET_HERE = {
    "method::damage": "give it as --damage",
    "method::stop_at": "the rounds end it",
    "seed": "it follows from that of the training",
}
logger = logging.getLogger(__name__)


@writes("out")
def forget_site(
    folder: str | Path,
    *,
    site: str,
    route: str,
    out: str | Path,
    rounds: int | None = None,
    damage: float | None = None,
    settings: Sequence[str] = (),
    resume: bool = False,
    trust: Trust = STRANGER,
) -> Path:
    """Forget a site that leaves a federation, in NVFlare's simulator.

    `rewind` goes back to the model after the round before the site joined, and trains on without it: bit for bit the
    model of a federation that it never joined. `distil` damages the weights and restores the model at the sites that
    stay, with the former model as teacher. `unlearn` lets the site that leaves raise its own losses until they are like
    those of its unseen cases, and the others recover. `retraining` trains all rounds again without it, for comparison.

    Args:
        folder: the folder of the federation.
        site: the name of the site.
        route: `rewind`, `distil`, `unlearn` or `retraining`.
        out: the folder to make.
        rounds: for `distil` and `unlearn`: rounds of the sites that stay, at least 1; 2 by default.
        damage: for `distil`: how far the weights move toward a fresh initialization, in (0, 1]; by default as
            `ShrinkAndRestore` finds it, from the membership that the site measured.
        settings: `KEY=VALUE` overrides of config ids, for rounds that restore or unlearn.
        resume: continue after the last round that was over when it was interrupted.
        trust: how far the folder is trusted.

    Returns:
        the folder.

    Raises:
        InputError: every problem of the input, before anything is trained.
        RunError: if a site fails.

    Source: going back and training on: Mu & Klabjan, *Rewind-to-Delete* (arXiv 2409.09778), with rounds for epochs;
        ascent at the site that leaves: Halimi et al., *Federated Unlearning: How to Efficiently Erase a Client in FL?*
        (arXiv 2207.05521), without its ball around the other sites' model: the losses of unseen cases end it.
    """
    work = prepared(
        folder,
        site=site,
        route=route,
        out=out,
        rounds=rounds,
        damage=damage,
        settings=settings,
        resume=resume,
        trust=trust,
    )
    carry_out([work], resume=resume)
    return work.out


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A route that was checked, and whose model to start from is in its folder.

    Args:
        out: the folder.
        federation: what is to be done in it.
        former: the number of the model that still knows the site and must not stay; None if it has no part.
    """

    out: Path
    federation: Federation
    former: int | None


def prepared(
    folder: str | Path,
    *,
    site: str,
    route: str,
    out: str | Path,
    rounds: int | None = None,
    damage: float | None = None,
    settings: Sequence[str] = (),
    resume: bool = False,
    trust: Trust = STRANGER,
) -> Prepared:
    """Check a route and put the models that it starts from into its folder; `forget_site` has the arguments."""
    folder, out, given = Path(folder), Path(out), parse_settings(settings)
    before = read_federation(folder)
    raise_if_any(
        [*nvflare_problems(), *received_problems(before, trust), *_choice_problems(folder, before, site, route)]
    )
    leaving = Leaving(folder=folder, before=before, site=before.site(site), rounds=rounds, damage=damage)
    chosen, source = ROUTES[route], trust.bundle_named(before.name, before.bundle)
    raise_if_any(
        collect(
            lambda: chosen.problems(leaving),
            lambda: _option_problems(leaving, route, source, given),
            lambda: [] if resume else out_problems(out),
            lambda: place_problems({"--out": out}),
            lambda: changed_problems(before, source),
        )
    )
    work, start = chosen.rounds(leaving), chosen.start(leaving)
    taken = _taken(folder, start, work[0].number, earlier=route == REWIND)
    trusted = trusted_sites(before, source)
    after = replace(
        before,
        status=RUNNING,
        bundle=str(source.place),
        configs=source.configs_sha256,
        route=route,
        left=site,
        source=str(folder.resolve()),
        sites=tuple(each for each in trusted if each.name != site),
        leaver=next(each for each in trusted if each.name == site),
        forgetting=given,
        rounds=with_audit(work, [*leaving.others, leaving.site]),
        numbers=(),
        weights="",
        models={str(number): before.model_sha256(of) for number, of in taken.items()},
    )
    if resume:
        raise_if_any(resume_problems(out, after))
    else:
        raise_if_any(model_problems(folder, before, taken.values()))
        _take_rounds(folder, out, taken)
    logger.info("'%s' is forgotten by %s, %s", site, route, chosen.said)
    if not before.configs:
        logger.warning(
            "'%s' was made by an earlier version, which kept no digest of the bundle's configs: whether '%s' has those "
            "of the training was not checked",
            folder,
            source.place,
        )
    if route == DISTIL:
        logger.info("the damage is %.2f", work[0].damage)
    return Prepared(out=out, federation=after, former=start if start == leaving.last else None)


def carry_out(work: Sequence[Prepared], *, resume: bool = False) -> None:
    """Take routes, one after the other in one simulator.

    Args:
        work: the routes, all for the same site.
        resume: whether rounds that are over are kept.
    """
    simulated({each.out: each.federation for each in work}, resume=resume)
    for each in work:
        if each.former is not None:
            _drop_former(each.out, each.federation, each.former)
        finish(each.out)  # last, so that an interrupted one is resumed, and never keeps the former model
    logger.info(
        "nothing here keeps '%s' from joining again: disable it at the server of NVFlare, and revoke its certificate",
        work[0].federation.left,
    )


def _choice_problems(folder: Path, before: Federation, site: str, route: str) -> Iterator[str]:
    names = [each.name for each in before.sites]
    if not before.finished:
        yield f"the federation in '{folder}' is not finished: its simulator was interrupted; train it again"
    if route not in ROUTES:
        yield f"--route {route} is not known; use {', '.join(ROUTES)}{did_you_mean(route, ROUTES)}"
    if site == before.left:
        yield f"site '{site}' was forgotten already: '{folder}' is the federation without it"
    elif site not in names:
        yield f"site '{site}' is not in the federation; its sites are {', '.join(names)}{did_you_mean(site, names)}"
    elif len(names) < 3:
        yield (
            f"without '{site}' only one site is left ({', '.join(n for n in names if n != site)}), which is not a "
            "federation: train or unlearn there, with mu-monai train or unlearn"
        )


def _option_problems(leaving: Leaving, route: str, source: Bundle, given: dict[str, object]) -> Iterator[str]:
    if leaving.rounds is not None and leaving.rounds < 1:
        yield f"--rounds {leaving.rounds} is not allowed; use a whole number of at least 1"
    if leaving.damage is not None and route != DISTIL:
        yield f"--damage is for the route distil, and this is {route}; leave it out"
    if given and route not in (DISTIL, UNLEARN):
        yield f"--set is for the routes distil and unlearn: {route} trains as before; leave it out"
    yield from setting_problems(LayeredConfig(source, "unlearn"), given, _SET_HERE)


def _taken(folder: Path, start: int, first: int, *, earlier: bool) -> dict[int, int]:
    """The rounds whose models are taken over, by the rounds that they stand for.

    Args:
        folder: the folder of the federation with the site.
        start: the round to start from. Without the site, rounds after it may have nobody, which leaves the model as it
            was.
        first: the first round that is done.
        earlier: whether those before the start are taken as well, if they are there: the site had no part in them.
    """
    there = [number for number in range(start) if earlier and round_file(folder, number).is_file()]
    return dict(zip(there, there, strict=True)) | dict.fromkeys(range(start, first), start)


def _take_rounds(folder: Path, out: Path, rounds: Mapping[int, int]) -> None:
    for number, of in rounds.items():
        target = round_file(out, number)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(round_file(folder, of), target)


def _drop_former(out: Path, after: Federation, start: int) -> None:
    """Remove the model that still knows the site, which restoring and recovering began with."""
    round_file(out, start).unlink(missing_ok=True)
    for site in after.everybody:
        (site_folder(out, site.name) / TEACHER_FILE).unlink(missing_ok=True)
