"""Versions of a ledger that must not be released."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mu_monai.record import is_ledger, read_ledger


def ledger_problems(run: Path, weights: str) -> Iterator[str]:
    """Why a version of a ledger must not be released: somebody came back in it, or was forgotten since.

    Args:
        run: its run folder; the ledger is looked for in the folder around it.
        weights: the digest of its weights.

    Raises:
        InputError: if the ledger was edited, cut or forked.
    """
    place = run.resolve().parent
    if not is_ledger(place):
        return
    ledger = read_ledger(place)
    version = ledger.version_with(weights)
    if version is None:
        if run.resolve().name.startswith("version-"):
            yield (
                f"'{run}' is not entered in the ledger in '{place}', so nobody audited whether earlier requests came "
                f"back in it; finish it first: mu-monai request run {place}"
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
