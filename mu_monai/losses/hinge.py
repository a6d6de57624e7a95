"""A loss that pushes other losses up to a limit, and no further."""

from __future__ import annotations

import torch
from torch import nn


class Hinge(nn.Module):
    r"""Push the losses of forget cases up to those of unseen ones.

    .. math:: L = \frac1B \sum_i \max(0,\, t_i - \ell_i), \quad
        L_{two\text{-}sided} = \frac1B \sum_i |t_i - \ell_i|

    It is 0, with a zero gradient, as soon as every case has reached its target: unlike gradient ascent on the loss, it
    cannot diverge. The two-sided hinge also brings back cases that are beyond their target.

    Source:
        Ours. Bounded ascent is known from unlearning by a loss threshold ("stop at the loss of unseen data"); here the
        threshold is that of each case, and is measured on unseen cases under the teacher.

    Example:
        >>> losses, targets = torch.tensor([0.1, 0.9]), torch.tensor([0.5, 0.5])
        >>> round(float(Hinge()(losses, targets)), 3), round(float(Hinge()(losses, targets, two_sided=True)), 3)
        (0.2, 0.4)
    """

    def forward(self, losses: torch.Tensor, targets: torch.Tensor, *, two_sided: bool = False) -> torch.Tensor:
        """The hinge of a batch.

        Args:
            losses: the loss of each forget case, `(B,)`, in the loss's own unit.
            targets: the losses to reach, `(B,)`, in the same unit.
            two_sided: whether a loss beyond its target is brought back.
        """
        missing = targets - losses
        return (missing.abs() if two_sided else missing.relu()).mean()
