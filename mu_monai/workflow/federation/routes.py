"""The routes by which a site that leaves a federation can be forgotten: where each starts, its rounds, its limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mu_monai.data import read_split
from mu_monai.files import has_sha256
from mu_monai.keys import VALIDATION
from mu_monai.methods import ShrinkAndRestore
from mu_monai.methods.shrink_and_restore import damage_of
from mu_monai.runs.federation import RESTORE, RETRAINING, TRAIN, UNLEARN, Federation, Round, Site, round_file
from mu_monai.workflow.federation.training import training_rounds

REWIND, DISTIL = "rewind", "distil"
_ROUNDS = 2  # of restoring or recovering, if not said


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
