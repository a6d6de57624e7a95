"""Versions of a ledger that must not be released."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from mu_monai.record import is_ledger, read_ledger


def ledger_problems(run: Path, weights: str, ledger: str | Path | None = None) -> Iterator[str]:
    """Why a version of a ledger must not be released: somebody came back in it, or was forgotten since.

    Args:
        run: its run folder; a ledger in the folder around it is looked at.
        weights: the digest of its weights.
        ledger: the folder of another ledger to look at: its first version was made before it, and lies elsewhere.

    Raises:
        InputError: if a ledger was edited, cut or forked, or there is none where one was said to be.
    """
    around = run.resolve().parent
    given = [] if ledger is None else [Path(ledger).resolve()]
    for place in dict.fromkeys([*given, *([around] if is_ledger(around) else [])]):
        yield from _problems(run, weights, place, given)


def _problems(run: Path, weights: str, place: Path, given: Collection[Path]) -> Iterator[str]:
    """What a ledger says against a run, which must be a version of it if it was given."""
    ledger = read_ledger(place)
    version = ledger.version_with(weights)
    if version is None:
        if run.resolve().parent == place and run.resolve().name.startswith("version-"):
            yield (
                f"'{run}' is not entered in the ledger in '{place}', so nobody audited whether earlier requests came "
                f"back in it; finish it first: mu-monai request run {place}"
            )
        elif place in given:
            yield (
                f"'{run}' is not a version of the ledger in '{place}'; give the ledger that its weights were entered "
                "in, or leave --ledger out"
            )
        return
    back, held = ledger.back_in(version), ledger.held_by(weights)
    if back:
        yield (
            f"'{run}' is refused by the ledger in '{place}': the patients of request {', '.join(map(str, back))} came "
            f"back in version {version.number}; answer the requests by another route: mu-monai request run {place}"
        )
    elif held:
        yield (
            f"'{run}' is version {version.number} of the ledger in '{place}', and holds the patients of request "
            f"{', '.join(map(str, held))}, who were forgotten since; release version {ledger.current.number}"
        )
