"""Shard refit: the average of the adapters of all shards, of which those with forgotten patients were trained anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from monai.engines import SupervisedTrainer

from mu_monai.adapters.averaging import shard_average
from mu_monai.adapters.rewriting import take_all_weights
from mu_monai.engine import warn
from mu_monai.engine.shards import count_shards
from mu_monai.methods.method import UnlearningMethod
from mu_monai.methods.settings import Text, setting
from mu_monai.runs.shards import Shards, read_shards


@dataclass(kw_only=True)
class ShardRefit(UnlearningMethod):
    r"""Take the average of shards that were trained without the forget cases, and end the run.

    .. math:: \theta = \theta_B + \frac1n \sum_{i=1}^n \Delta_i(B, S_i \setminus D_f)

    Each :math:`\Delta_i` is a function of the base `B`, of the shard's own patients and of the seed. Those that hold
    nobody of :math:`D_f` are as they were, so that only the others are trained again, and the result is the model that
    a training without :math:`D_f` gives, bit for bit. The trainings are runs of their own, which `mu-monai unlearn
    --exact` makes before; that is why it is not in the list of methods.

    Args:
        shards: the run folder with the base, the adapters of every shard, and `shards.json`.

    Raises:
        InputError: if the base or the adapters of a shard are not those of `shards.json`, or for adapters instead of
            all weights.

    Source:
        Bourtoule et al., *Machine Unlearning* (SISA, arXiv 1912.03817); Dukler et al., *SAFE* (arXiv 2304.13169); see
        `mu_monai.adapters.averaging`.

    Example:
        >>> ShardRefit(forget_loader=[], shards="runs/without").cost
        'one-shot'
    """

    paper = "Bourtoule et al. 2021, arXiv 1912.03817; Dukler et al. 2023, arXiv 2304.13169"
    needs: ClassVar[tuple[str, ...]] = ("retain labels",)
    cost = "one-shot"
    selective = True
    without_forget_images = True
    recipe: ClassVar[Mapping[str, Any]] = {**UnlearningMethod.recipe, "max_epochs": 1}

    shards: str = setting("", Text("a run folder with shards.json"))

    def on_start(self, engine: SupervisedTrainer) -> None:
        """Take the average, and end the run."""
        take_all_weights(engine.network, shard_average(engine.network.reverted(), self.shards).state_dict())
        count_shards(engine, self.shards)
        said = base_warning(read_shards(self.shards))
        if said:
            warn(engine, said)
        engine.terminate()

    def measurements(self, engine: SupervisedTrainer) -> dict[str, Any]:
        """What every method measures, plus how many shards there are and how many were trained again."""
        shards = read_shards(self.shards)
        refit = sum(shard.fitted for shard in shards.shards)
        counts = {"shards": len(shards.shards), "refit": refit, "forgotten_in_base": _in_base(shards)}
        return super().measurements(engine) | {"shards": counts}


def _in_base(shards: Shards) -> int | None:
    """How many of the removed images the base itself was trained on, as far as is known; None if nothing is."""
    number = len(set(shards.base_saw) & set(shards.removed))
    return number if number or shards.base_known else None


def base_warning(shards: Shards) -> str:
    """What the base may still know of the removed images; empty if it is known to be nothing.

    Args:
        shards: the content of `shards.json`.
    """
    number = _in_base(shards)
    if number is None:
        return (
            "what the base was trained on is not known, since it is not a run, or the split of its run is gone or "
            "another one, or it was itself trained in shards on a base: forgetting is exact for the adapters only, and "
            "the base stays as it is; make sure that it never saw anybody who is to be forgotten"
        )
    if number:
        return (
            f"THE BASE WAS ITSELF TRAINED ON {number} OF THE FORGOTTEN IMAGES: forgetting is exact for the adapters "
            "only, and the base still knows them; train in shards on a base that never saw them"
        )
    return ""
