"""The repulsion term: on forget cases the student's features should point away from the teacher's."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import cosine_similarity

from mu_monai.adapters import pooled


class Repulsion(nn.Module):
    r"""Cosine similarity of the student's and the teacher's pooled features.

    .. math:: L = \frac{1}{B} \sum_b \frac{f_s \cdot f_t}{\|f_s\| \|f_t\|}

    with features averaged over space. Range [-1, 1]; 1 if they point in the same direction, -1 if in opposite ones. It
    favors no answer. With features that are never negative, such as after a ReLU, the term cannot go below 0.

    At equality the gradient is exactly zero, as at every maximum: a student that starts equal to its teacher needs
    another term, or dropout in the adapters, to move away from it.

    Source:
        *Erase to Retain* (arXiv 2511.16574), section 3, which maximizes `1 - cos`; minimizing `cos` is the same. It
        does not name the layer; pooled features of the last encoder stage are our default.

    Example:
        >>> features = torch.rand(2, 8, 4, 4)
        >>> round(Repulsion()(features, 3 * features).item(), 4), round(Repulsion()(features, -features).item(), 4)
        (1.0, -1.0)
    """

    def forward(self, student_features: torch.Tensor, teacher_features: torch.Tensor) -> torch.Tensor:
        """Return the scalar term for features `(B, C, H, W[, D])`, `(B, tokens, C)` or `(B, C)`."""
        return cosine_similarity(pooled(student_features), pooled(teacher_features), dim=1).mean()
