"""Whether forgetting has come to where it should end: where forgotten cases are answered like unseen ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from scipy.stats import mannwhitneyu


@dataclass
class ReferenceWatch:
    r"""Follows how well losses tell forget cases from unseen ones, and says when they no longer do.

    .. math:: A = P(L_{forget} < L_{unseen}) + \tfrac12 P(L_{forget} = L_{unseen})

    over patients. A model that remembers has `A` near 1; one that never saw the forget cases has 0.5; below, it answers
    them worse than cases that it never saw, which gives them away as well.

    Args:
        tolerance: how far from 0.5 `A` may be to count as reached, in (0, 0.5).
        epochs: what was seen: `epoch`, `forget_auc`, `forget_loss` and `unseen_loss` (medians) of each.
        nearest: the epoch whose `A` is nearest to 0.5; none before the first.

    Source:
        Ours. The losses are those that a loss-threshold attack uses (arXiv 1709.01604); the unseen cases are those of
        `validation`, so that `test` stays unseen for the audit.

    Example:
        >>> watch = ReferenceWatch(tolerance=0.1)
        >>> watch.see(1, [0.1, 0.1, 0.2], [0.3, 0.4]), watch.reached, watch.overshot
        (1.0, False, False)
        >>> watch.see(2, [0.1, 0.3, 0.5], [0.3, 0.4]), watch.reached, watch.nearest
        (0.5833333333333334, True, 2)
    """

    tolerance: float
    epochs: list[dict[str, float]] = field(default_factory=list)
    nearest: int | None = None

    def see(self, epoch: int, forget: Sequence[float], unseen: Sequence[float]) -> float:
        """Take note of the losses after an epoch, one per patient; returns `A`."""
        auc = loss_auc(forget, unseen)
        best = min((abs(seen["forget_auc"] - 0.5) for seen in self.epochs), default=float("inf"))
        if abs(auc - 0.5) < best:
            self.nearest = epoch
        self.epochs.append(
            {"epoch": epoch, "forget_auc": auc, "forget_loss": median(forget), "unseen_loss": median(unseen)}
        )
        return auc

    @property
    def reached(self) -> bool:
        """Whether the losses after the last epoch no longer tell forget cases from unseen ones."""
        return bool(self.epochs) and abs(self.epochs[-1]["forget_auc"] - 0.5) <= self.tolerance

    @property
    def overshot(self) -> bool:
        """Whether forget cases were answered worse than unseen ones after the last epoch."""
        return bool(self.epochs) and self.epochs[-1]["forget_auc"] < 0.5 - self.tolerance

    def warnings(self) -> list[str]:
        """What a user must know of the finished run."""
        if not self.epochs:
            return []
        auc = next(seen["forget_auc"] for seen in self.epochs if seen["epoch"] == self.nearest)
        if abs(auc - 0.5) <= self.tolerance:
            return []
        what = "are still answered better" if auc > 0.5 else "are answered worse"
        return [
            f"the run ended before it reached its reference: forget cases {what} than unseen ones (AUC {auc:.3f}, "
            f"sought 0.5 within {self.tolerance:g}); give it more epochs, or a weaker or stronger forget side"
        ]

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON holds it; `ReferenceWatch(**content)` is its inverse."""
        return asdict(self)


def loss_auc(forget: Sequence[float], unseen: Sequence[float]) -> float:
    """The share of pairs in which the forget loss is the lower one; ties count half.

    Example:
        >>> loss_auc([0.1, 0.5], [0.3])
        0.5
    """
    return float(mannwhitneyu(unseen, forget).statistic) / (len(forget) * len(unseen))
