"""Whether restoring a model on retained cases brings the forgotten ones back."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class RestorationWatch:
    r"""Follows the loss of the forget cases through the epochs of a restoration.

    .. math:: \text{returned} = \frac{L_{start} - L}{L_{start} - L_{teacher}}

    is 0 where restoration starts and 1 where the forget cases are answered as well as by the teacher.

    Args:
        tolerance: the largest share of the way back that is accepted, in [0, 1]; none to watch without stopping.
        teacher_forget_loss: mean loss of the forget cases under the teacher.
        start_forget_loss: the same under the student when restoration starts.
        epochs: what was seen: `epoch`, `forget_loss`, `retain_loss` and `returned` of each.
        stopped: whether the tolerance was exceeded.
        kept_epoch: the epoch whose weights are kept: the one with the lowest retain loss within the tolerance; none for
            the weights that restoration started from.

    Source:
        Ours; *Erase to Retain* (arXiv 2511.16574, abstract) restores without watching. Learning on retained cases alone
        is known to bring forgotten ones back (relearning).

    Example:
        >>> watch = RestorationWatch(0.1, teacher_forget_loss=0.2, start_forget_loss=1.2)
        >>> watch.see(6, forget_loss=1.15, retain_loss=0.4), watch.see(7, forget_loss=0.9, retain_loss=0.3)
        (True, False)
        >>> watch.stopped, watch.kept_epoch
        (True, 6)
    """

    tolerance: float | None
    teacher_forget_loss: float
    start_forget_loss: float
    epochs: list[dict[str, float]] = field(default_factory=list)
    stopped: bool = False
    kept_epoch: int | None = None

    @property
    def can_judge(self) -> bool:
        """Whether there is a way back: the student answers the forget cases worse than the teacher does."""
        return self.start_forget_loss > self.teacher_forget_loss

    def returned(self, forget_loss: float) -> float:
        """The share of the way back; 0 where there is none."""
        if not self.can_judge:
            return 0.0
        return (self.start_forget_loss - forget_loss) / (self.start_forget_loss - self.teacher_forget_loss)

    def see(self, epoch: int, *, forget_loss: float, retain_loss: float) -> bool:
        """Take note of an epoch, and say whether its weights are the best so far."""
        returned = self.returned(forget_loss)
        best = min((seen["retain_loss"] for seen in self.epochs), default=float("inf"))
        self.epochs.append(
            {"epoch": epoch, "forget_loss": forget_loss, "retain_loss": retain_loss, "returned": returned}
        )
        if self.tolerance is not None and returned > self.tolerance:
            self.stopped = True
            return False
        if retain_loss < best:
            self.kept_epoch = epoch
            return True
        return False

    def warnings(self) -> list[str]:
        """What a user must know of the finished restoration."""
        if self.can_judge:
            return []
        return [
            "restoration could not be watched: before it began, the forget cases were answered no worse than by the "
            f"teacher (loss {self.start_forget_loss:.4f}, teacher {self.teacher_forget_loss:.4f}), so there was "
            "nothing that could come back"
        ]

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON holds it; `RestorationWatch(**content)` is its inverse."""
        return asdict(self)
