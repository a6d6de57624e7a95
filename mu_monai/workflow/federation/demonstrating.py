"""A federation of three sites on phantoms, one of which leaves: every route, and the table that compares them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mu_monai.data import Source, SplitSettings, make_split, write_phantoms, write_split
from mu_monai.errors import raise_if_any
from mu_monai.files import write_json
from mu_monai.lock import writes
from mu_monai.runs.federation import UNLEARN
from mu_monai.workflow.federation.comparing import compare_federations
from mu_monai.workflow.federation.forgetting import Prepared, carry_out, prepared
from mu_monai.workflow.federation.routes import DISTIL, ROUTES
from mu_monai.workflow.federation.simulating import nvflare_problems
from mu_monai.workflow.federation.training import out_problems, train_federation

_BUNDLE, _LEAVES = "isic", "west"
_SITES = {"north": 1, "south": 1, _LEAVES: 3}  # with the rounds in which they join
_PATIENTS, _ROUNDS, _LATER, _LOCAL = 16, 4, 1, 10
_SETTINGS = (
    *("image_size=[64, 64]", "network_def#channels=[8, 16, 32, 64]", "network_def#strides=[2, 2, 2]"),
    *("batch_size=4", "learning_rate=0.003"),
)
_DAMAGE = 0.3


@writes("out")
def demo_federation(*, out: str | Path) -> pd.DataFrame:
    """Train a federation of three sites on phantoms, let one leave by every route, and compare them.

    Args:
        out: the folder to make.

    Returns:
        the table of `compare_federations`; each federation is in a folder with the name of its route.

    Raises:
        InputError: if `out` exists and is not empty, or NVFlare is missing.
    """
    out = Path(out)
    raise_if_any([*nvflare_problems(), *out_problems(out)])
    whole = train_federation(
        _BUNDLE,
        sites=phantom_sites(out),
        rounds=_ROUNDS,
        local_epochs=_LOCAL,
        out=out / "training",
        settings=_SETTINGS,
        device="cpu",
    )
    carry_out([_prepared(whole, route, out) for route in ROUTES])
    return compare_federations([whole, *(out / route for route in ROUTES)])


def _prepared(whole: Path, route: str, out: Path) -> Prepared:
    later, damage = (_LATER if route in (DISTIL, UNLEARN) else None), (_DAMAGE if route == DISTIL else None)
    return prepared(whole, site=_LEAVES, route=route, out=out / route, rounds=later, damage=damage)


def phantom_sites(out: Path) -> Path:
    """Draw the phantoms of every site and split them; returns the file of the sites."""
    for number, name in enumerate(_SITES):
        manifest = write_phantoms("lesions", out / name, patients=_PATIENTS, images_per_patient=1, seed=number)
        source = Source(manifest=manifest, path=str(out / name), layout="manifest")
        write_split(out / f"{name}.json", make_split(source, SplitSettings(forget=None, validation=0.2, test=0.3)))
    write_json(out / "sites.json", {name: {"split": f"{name}.json", "joins": joins} for name, joins in _SITES.items()})
    return out / "sites.json"
