"""Random labels: train on forget cases with random labels, and on retained cases with their own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from monai.engines import SupervisedTrainer

from mu_monai.keys import IMAGE, LOSS
from mu_monai.losses.outcomes import holds_indices, outcome_count, shifted
from mu_monai.methods.method import UnlearningMethod
from mu_monai.methods.settings import FLAG, setting


@dataclass(kw_only=True)
class RandomLabels(UnlearningMethod):
    r"""Each epoch is a pass over the forget cases with random labels, then one over the retained cases with their own.

    .. math:: L_1 = \ell(D_f, \tilde y), \quad L_2 = \ell(D_r)

    The labels are redrawn in every epoch, uniformly over the other classes: once per case in classification, once per
    pixel or voxel for masks. A sigmoid channel has only one other outcome, so its mask is inverted; with `include_true`
    it is a fair coin.

    Args:
        include_true: whether the true class may be drawn as well.

    Raises:
        InputError: for a value outside these choices, or a network that is not a `Student`.

    Source:
        Golatkar et al., *Eternal Sunshine of the Spotless Net* (arXiv 1911.04933), in the form that SalUn's code
        (arXiv 2310.12508) made common: forget pass, then retain pass. Papers differ on whether the true class may be
        drawn; they use SGD at 0.01 to 0.1 for 10 epochs. Here it is the bundle's AdamW at 1e-4 with frozen BatchNorm
        statistics, and the bundle's loss. Masks are our extension.

    Example:
        >>> RandomLabels(forget_loader=[]).settings()["include_true"]
        False
    """

    paper = "Golatkar et al. 2020, arXiv 1911.04933"
    needs = ("retain labels", "forget labels")
    cost = "both"
    trials = ({}, {"method::include_true": True}, {"learning_rate": 3e-5}, {"learning_rate": 3e-4})

    include_true: bool = setting(False, FLAG)

    def on_epoch_start(self, engine: SupervisedTrainer) -> None:
        """Pass once over the forget set, with labels drawn for this epoch."""
        super().on_epoch_start(engine)
        engine.network.train()
        for image, label, _ in self.forget_pass(engine):
            logits = engine.inferer(image, engine.network)
            loss = engine.loss_function(logits, self._drawn(label, logits))
            self.record(engine, "relabeled", loss, len(image))
            self.step(engine, loss)
            self.on_step(engine)

    def on_loss(self, engine: SupervisedTrainer) -> None:
        """Record the supervised loss and keep it as it is."""
        self.record(engine, "supervised", engine.state.output[LOSS], len(engine.state.output[IMAGE]))

    def _drawn(self, label: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        classes = self.is_softmax or holds_indices(label, logits)
        places = logits[:, 0] if classes else logits
        count = outcome_count(logits, classes)
        shift = torch.randint(0 if self.include_true else 1, count, places.shape, device=logits.device)
        return shifted(label, logits, classes, shift)
