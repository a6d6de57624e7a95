"""Amnesiac relabeling: each forget case gets one fixed wrong label and is trained on together with retained cases."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import torch
from monai.engines import SupervisedTrainer

from mu_monai.keys import IMAGE, LOSS
from mu_monai.losses.outcomes import holds_indices, outcome_count, shifted
from mu_monai.methods.method import UnlearningMethod


@dataclass(kw_only=True)
class Amnesiac(UnlearningMethod):
    r"""Train on the retained cases and on forget cases with a wrong label, as if they were one data set.

    .. math:: L = \frac{N_r \, \ell(D_r) + N_f \, \ell(D_f, \tilde y)}{N_r + N_f}, \quad
        \tilde y = (y + s) \bmod K, \quad s \sim U\{1, \dots, K - 1\}

    :math:`N_r` and :math:`N_f` are the numbers of cases. The shift `s` is drawn once per case from the run's seed and
    the case's id, so a resumed run uses the same one. In classification every wrong class is equally probable. In a
    mask all classes of a case are shifted by the same `s`, whichever patch is seen; a sigmoid channel, which has two
    outcomes, is inverted.

    Raises:
        InputError: for a network that is not a `Student`.

    Source:
        Graves et al., *Amnesiac Machine Learning* (arXiv 2010.10981), the first of its two methods, called unlearning
        there: random wrong labels, then some more training. The second, amnesiac unlearning, is not implemented: it
        subtracts the updates of batches that held forget cases, which must be logged during training, so it cannot be
        applied to an existing model. Papers use SGD or Adam on the combined data; here a step takes one batch of each
        side, weighted as in the combined data, with the bundle's AdamW at 1e-4 and frozen BatchNorm statistics. Masks
        are our extension.

    Example:
        >>> Amnesiac(forget_loader=[]).needs
        ('retain labels', 'forget labels')
    """

    paper = "Graves et al. 2021, arXiv 2010.10981"
    needs = ("retain labels", "forget labels")
    cost = "both"
    replicable = True

    def on_start(self, engine: SupervisedTrainer) -> None:
        """Remember the seed that the wrong labels are drawn from."""
        super().on_start(engine)
        self._seed = torch.initial_seed()

    def on_loss(self, engine: SupervisedTrainer) -> None:
        """Add the loss of a relabeled forget batch, weighted by the numbers of cases."""
        output = engine.state.output
        self.record(engine, "supervised", output[LOSS], len(output[IMAGE]))
        image, label, cases = self.forget_batch(engine)
        logits = engine.inferer(image, engine.network)
        classes = self.is_softmax or holds_indices(label, logits)
        shift = torch.tensor([self._shift(case, outcome_count(logits, classes)) for case in cases])
        wrong = shifted(label, logits, classes, shift.to(label.device))
        loss = engine.loss_function(logits, wrong)
        self.record(engine, "relabeled", loss, len(image))
        retain, forget = len(engine.data_loader.dataset), len(self.forget_loader.dataset)  # type: ignore[arg-type]
        output[LOSS] = (retain * output[LOSS] + forget * loss) / (retain + forget)

    def _shift(self, case: str, count: int) -> int:
        """The shift of a case's label; the same in every epoch."""
        return Random(f"{self._seed} {case}").randrange(1, count)
