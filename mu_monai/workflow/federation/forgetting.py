"""Forget a site that leaves a federation, by one of four routes."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mu_monai.bundle import Bundle
from mu_monai.bundle.config import parse_settings
from mu_monai.bundle.layers import LayeredConfig
from mu_monai.bundle.trust import STRANGER, Trust
from mu_monai.data import read_split
from mu_monai.errors import collect, did_you_mean, raise_if_any
from mu_monai.files import has_sha256
from mu_monai.keys import VALIDATION
from mu_monai.lock import writes
from mu_monai.methods import ShrinkAndRestore
from mu_monai.methods.shrink_and_restore import damage_of
from mu_monai.runs.federation import (
    RESTORE,
    RETRAINING,
    TEACHER_FILE,
    TRAIN,
    UNLEARN,
    Federation,
    Round,
    Site,
    read_federation,
    round_file,
    site_folder,
)
from mu_monai.runs.record import RUNNING
from mu_monai.workflow.checks import place_problems
from mu_monai.workflow.federation.received import changed_problems, received_problems, trusted_sites
from mu_monai.workflow.federation.simulating import nvflare_problems, resume_problems, simulated
from mu_monai.workflow.federation.training import out_problems, setting_problems, training_rounds, with_audit

REWIND, DISTIL = "rewind", "distil"
_ROUNDS = 2  # of restoring or recovering, if not said
_SET_HERE = {
    "method::damage": "give it as --damage",
    "method::stop_at": "the rounds end it",
    "seed": "it follows from that of the training",
}
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Leaving:
    """A site that leaves, and how it is to be forgotten.

    Args:
        folder: the folder of the federation.
        before: the federation with the site.
        site: the site.
        rounds: rounds of restoring or recovering; None if not said.
        damage: for `distil`, in [0, 1]; None for what the site's membership asks for.
    """

    folder: Path
    before: Federation
    site: Site
    rounds: int | None
    damage: float | None

    @property
    def others(self) -> list[Site]:
        """Those who stay."""
        return [site for site in self.before.sites if site.name != self.site.name]

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(site.name for site in self.others)

    @property
    def last(self) -> int:
        """The number of the last round in which weights changed."""
        return self.before.training[-1].number

    @property
    def later(self) -> range:
        """The numbers of rounds after the last one."""
        return range(self.last + 1, self.last + 1 + (self.rounds or _ROUNDS))

    @property
    def share(self) -> float | None:
        """The damage; None if it was not said and does not follow from what the site measured."""
        told = self.before.numbers_of(self.site.name)
        if self.damage is not None:
            return self.damage
        return None if told is None or told.auc is None else damage_of(told.auc, ShrinkAndRestore.strength)


@dataclass(frozen=True, kw_only=True)
class Route:
    """A way to forget a site.

    Args:
        start: the number of the round whose model it starts from.
        rounds: what is done after it.
        problems: why it is not possible.
        said: what it promises and what it does not, in one sentence.
    """

    start: Callable[[Leaving], int]
    rounds: Callable[[Leaving], list[Round]]
    problems: Callable[[Leaving], Iterator[str]]
    said: str


def _again(leaving: Leaving) -> list[Round]:
    return training_rounds(leaving.others, 1, leaving.before.total)


def _on_without(leaving: Leaving) -> list[Round]:
    return training_rounds(leaving.others, leaving.site.joins, leaving.before.total)


def _distilled(leaving: Leaving) -> list[Round]:
    first, share = leaving.later[0], leaving.share or 0.0
    return [
        Round(number=number, task=RESTORE, sites=leaving.names, damage=share if number == first else 0.0)
        for number in leaving.later
    ]


def _recovered(leaving: Leaving) -> list[Round]:
    first, *_ = leaving.later
    unlearned = Round(number=first, task=UNLEARN, sites=(leaving.site.name,))
    return [unlearned, *(Round(number=n + 1, task=TRAIN, sites=leaving.names) for n in leaving.later)]


def _fixed_rounds(leaving: Leaving) -> Iterator[str]:
    if leaving.rounds is not None:
        yield "--rounds is for the routes distil and unlearn; this one takes those of the training, so leave it out"


def _rewind_problems(leaving: Leaving) -> Iterator[str]:
    yield from _fixed_rounds(leaving)
    name, joins = leaving.site.name, leaving.site.joins
    if joins == 1:
        yield (
            f"site '{name}' took part from round 1, so there is no round before it joined to go back to; use --route "
            "retraining, distil or unlearn"
        )
    elif not round_file(leaving.folder, joins - 1).is_file():
        yield (
            f"the model after round {joins - 1}, the last before '{name}' joined, is not in '{leaving.folder}'; use "
            "--route retraining, distil or unlearn, or the federation that the other sites left"
        )


def _retraining_problems(leaving: Leaving) -> Iterator[str]:
    yield from _fixed_rounds(leaving)
    if not round_file(leaving.folder, 0).is_file():
        yield f"the model that training started from is not in '{leaving.folder}'; use --route distil or unlearn"


def _unlearn_problems(leaving: Leaving) -> Iterator[str]:
    site, file = leaving.site, Path(leaving.site.split)
    if has_sha256(file, site.sha256) and not read_split(file).rows[VALIDATION]:
        yield (
            f"site '{site.name}' has no cases in 'validation' of '{file}', whose losses say when it has unlearned; use "
            "--route rewind, distil or retraining"
        )


def _distil_problems(leaving: Leaving) -> Iterator[str]:
    if leaving.damage is not None and not 0 < leaving.damage <= 1:
        yield f"--damage {leaving.damage:g} is not allowed; use a share in (0, 1], such as 0.3"
    elif leaving.share is None:
        yield f"site '{leaving.site.name}' did not measure its membership, so that no damage follows; give --damage"
    elif not leaving.share:
        yield (
            f"the losses of site '{leaving.site.name}' do not tell its patients from unseen ones, so that no damage "
            "follows from them; give --damage, such as 0.3"
        )


ROUTES = {
    REWIND: Route(
        start=lambda leaving: leaving.site.joins - 1,
        rounds=_on_without,
        problems=_rewind_problems,
        said="exact: no round of this model ever had the site. Not covered is what was decided by looking at it: the "
        "number of rounds, settings, and who else joined",
    ),
    DISTIL: Route(
        start=lambda leaving: leaving.last,
        rounds=_distilled,
        problems=_distil_problems,
        said="approximate: the teacher saw the site, and what it answers on others' cases carries a trace of that",
    ),
    UNLEARN: Route(
        start=lambda leaving: leaving.last,
        rounds=_recovered,
        problems=_unlearn_problems,
        said="approximate: the site raises the losses of its cases; recovering may undo that, or not mend the model",
    ),
    RETRAINING: Route(
        start=lambda leaving: 0,  # also if the others joined later, to a model that the site trained alone
        rounds=_again,
        problems=_retraining_problems,
        said="exact: a training from the same start without the site, for comparison",
    ),
}


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
    trusted = trusted_sites(before, source)
    after = replace(
        before,
        status=RUNNING,
        bundle=str(source.place),
        route=route,
        left=site,
        source=str(folder.resolve()),
        sites=tuple(each for each in trusted if each.name != site),
        leaver=next(each for each in trusted if each.name == site),
        forgetting=given,
        rounds=with_audit(work, [*leaving.others, leaving.site]),
        numbers=(),
        weights="",
    )
    if resume:
        raise_if_any(resume_problems(out, after))
    else:
        earlier = {number: number for number in range(start)} if route == REWIND else {}
        _take_rounds(folder, out, earlier | dict.fromkeys(range(start, work[0].number), start))
    logger.info("'%s' is forgotten by %s, %s", site, route, chosen.said)
    if route == DISTIL:
        logger.info("the damage is %.2f", work[0].damage)
    simulated(out, after, resume=resume)
    if start == leaving.last:
        _drop_former(out, after, start)
    logger.info(
        "nothing here keeps '%s' from joining again: disable it at the server of NVFlare, and revoke its certificate",
        site,
    )
    return out


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


def _take_rounds(folder: Path, out: Path, rounds: Mapping[int, int]) -> None:
    """Take over models of earlier rounds in which the site had no part, or the one to start from.

    Args:
        folder: the folder of the federation with the site.
        out: the folder of the one without it.
        rounds: the round whose model is taken, by the round that it stands for. Without the site, a round may have
            nobody, which leaves the model as it was.
    """
    for number, taken in rounds.items():
        source, target = round_file(folder, taken), round_file(out, number)
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def _drop_former(out: Path, after: Federation, start: int) -> None:
    """Remove the model that still knows the site, which restoring and recovering began with."""
    round_file(out, start).unlink()
    for site in after.everybody:
        (site_folder(out, site.name) / TEACHER_FILE).unlink(missing_ok=True)
