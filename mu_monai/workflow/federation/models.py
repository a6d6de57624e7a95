"""The models that a federation keeps, one after each round: whether they are those that its record names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from mu_monai.adapters import read_weights, weights_sha256
from mu_monai.keys import FEDERATION_JSON
from mu_monai.runs.federation import Federation, round_file


def model_problems(folder: Path, federation: Federation, numbers: Iterable[int]) -> Iterator[str]:
    """Why the models after rounds are not those that `federation.json` names.

    Whatever goes on from a model says of it who trained it, which only its digest shows.

    Args:
        folder: the folder of the federation.
        federation: the content of its `federation.json`.
        numbers: the numbers of the rounds.
    """
    known = {number: federation.model_sha256(number) for number in sorted({*numbers})}
    unknown = [str(number) for number, digest in known.items() if not digest]
    if unknown:
        yield (
            f"'{folder / FEDERATION_JSON}' has no digest of the models after rounds {', '.join(unknown)}, as earlier "
            "versions kept none, so that nothing shows who trained them; use --route distil or unlearn, or train the "
            "sites that stay anew (mu-monai federation train)"
        )
    for number, digest in known.items():
        file = round_file(folder, number)
        if not file.is_file():
            yield f"the model after round {number} is not in '{folder}': '{file}' is missing; put it back"
        elif digest and (found := weights_sha256(read_weights(file))) != digest:
            yield (
                f"'{file}' is not the model after round {number} (SHA-256 of its weights {found}, in {FEDERATION_JSON} "
                f"{digest}); put the original back"
            )
