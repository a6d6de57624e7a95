"""Amnesiac relabeling: forget cases get one wrong label each, and are trained on together with retained cases."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import torch
from monai.engines import SupervisedTrainer

from mu_monai.keys import LOSS
from mu_monai.losses.outcomes import outcome_count, shifted
from mu_monai.methods.retain_fine_tuning import RetainFineTuning


@dataclass(kw_only=True)
class Amnesiac(RetainFineTuning):
    r"""Train on the retained cases and on forget cases with a wrong label, as if they were one data set.

    .. math:: L = \frac{N_r \, \ell(D_r) + N_f \, \ell(D_f, \tilde y)}{N_r + N_f}, \quad
        \tilde y = (y + s) \bmod K, \quad s \sim U\{1, \dots, K - 1\}

    :math:`N_r` and :math:`N_f` are the numbers of cases. The shift `s` is drawn once per case and stays: it comes from
    the run's seed and the case's id, so a resumed run has the same. For a class it makes every wrong class equally
    probable. In a mask all structures of a case change their names alike, whichever patch of it is seen; a sigmoid
    channel, with two outcomes, is inverted.

    Raises:
        InputError: for a network that is no `Student`.

    Source:
        Graves et al., *Amnesiac Machine Learning* (arXiv 2010.10981), its first method, called unlearning there: random
        wrong labels, then some more training. Its second, amnesiac unlearning, subtracts the updates of batches that
        held forget cases; these must be logged while the model is trained, so it cannot be done to a model that exists,
        and it is not this. Papers use SGD or Adam on joined data; here a step takes one batch of each side, weighted as
        joined data would be, with the bundle's AdamW at 1e-4 and BatchNorm's statistics frozen. Masks: our extension.

    Example:
        >>> Amnesiac(forget_loader=[]).needs
        ('retain labels', 'forget labels')
    """

    paper = "Graves et al. 2021, arXiv 2010.10981"
    needs = ("retain labels", "forget labels")
    cost = "both"

    def on_start(self, engine: SupervisedTrainer) -> None:
        """Note the seed that the wrong labels come from."""
        super().on_start(engine)
        self._seed = torch.initial_seed()

    def on_loss(self, engine: SupervisedTrainer) -> None:
        """Add the loss of a relabeled forget batch, by the numbers of cases."""
        super().on_loss(engine)
        image, label, cases = self.forget_batch(engine)
        logits = engine.inferer(image, engine.network)
        shift = torch.tensor([self._shift(case, outcome_count(logits, self.is_softmax)) for case in cases])
        wrong = shifted(label, logits, self.is_softmax, shift.to(label.device))
        loss = engine.loss_function(logits, wrong)
        self.record(engine, "relabelled", loss, len(image))
        kept, gone = len(engine.data_loader.dataset), len(self.forget_loader.dataset)  # type: ignore[arg-type]
        engine.state.output[LOSS] = (kept * engine.state.output[LOSS] + gone * loss) / (kept + gone)

    def _shift(self, case: str, count: int) -> int:
        """How far a case's label is shifted, the same in every epoch."""
        return Random(f"{self._seed} {case}").randrange(1, count)
