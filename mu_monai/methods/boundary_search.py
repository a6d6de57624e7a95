"""The search for the point where a model's answer to an image changes, by perturbed sign gradient steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from mu_monai.engine.cost import FORWARD, TRAINED
from mu_monai.keys import IMAGE
from mu_monai.methods.settings import COUNT, POSITIVE, SHARE, Interval, OneOf, setting

SCHEDULES = ("constant", "sqrt")
NOISE_SCALES = ("relative", "absolute")
CLEAN, RELEASED = "clean", "released"
VARIANTS = (CLEAN, RELEASED)
# Drawn in place from torch's global generator; the difference of two exponential draws is a Laplace draw.
NOISES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "normal": lambda like: like.normal_(),
    "laplace": lambda like: torch.empty_like(like).exponential_() - like.exponential_(),
    "cauchy": lambda like: like.cauchy_(),
    "uniform": lambda like: like.uniform_(-1, 1),
}


class Standing(NamedTuple):
    """A model's loss for each image of a batch, its confidence in the true answer, and whether it answers otherwise.

    Each is `(B,)`; the loss is differentiable, the confidence is a probability.
    """

    loss: torch.Tensor
    confidence: torch.Tensor
    flipped: torch.Tensor


Judge = Callable[[torch.Tensor], Standing]


@dataclass(frozen=True, kw_only=True)
class BoundaryPoints:
    """Where a search ended, for a batch of B images.

    Args:
        image: the points, in the shape and units of the images.
        offset: difference from the images, as a share of the intensity range.
        flipped: `(B,)`, whether the answer differs from the truth.
        steps: `(B,)`, the number of steps taken.
        losses: `(steps + 1, B)`, the loss before the first step and after each; constant once a case has stopped.
    """

    image: torch.Tensor
    offset: torch.Tensor
    flipped: torch.Tensor
    steps: torch.Tensor
    losses: torch.Tensor

    @property
    def distance(self) -> torch.Tensor:
        """`(B,)`, the largest change of any pixel, as a share of the intensity range."""
        return self.offset.abs().flatten(1).amax(1)


@dataclass(kw_only=True)
class SearchSettings:
    """The settings of a search; `BoundarySearch` has the formula.

    Args:
        steps: maximum number of steps of a search, at least 1.
        step_size: size of the first step, as a share of the intensity range, > 0.
        schedule: `constant`, or `sqrt`: step t has the size `step_size / sqrt(t)`.
        radius: maximum change of a pixel, as a share of the intensity range, > 0.
        closeness: weight of `|delta|^2 / 2`, which keeps the point near the image, >= 0.
        noise: scale of the noise inside the sign, >= 0.
        noise_distribution: `normal`, `laplace`, `cauchy`, or `uniform` over [-1, 1].
        noise_scale: `relative`: the noise is a multiple of the case's mean `|g|`, so that the scale of the loss does
            not matter; or `absolute`.
        confidence: a flipped case stops if the probability of the truth is at most this, in [0, 1]; 0 never stops it.
        bisections: number of bisection steps back to the boundary, >= 0.
    """

    steps: int = setting(10, COUNT)
    step_size: float = setting(0.02, POSITIVE)
    schedule: str = setting("constant", OneOf(*SCHEDULES))
    radius: float = setting(0.1, POSITIVE)
    closeness: float = setting(1e-3, Interval(0))
    noise: float = setting(1e-2, Interval(0))
    noise_distribution: str = setting("normal", OneOf(*NOISES))
    noise_scale: str = setting("relative", OneOf(*NOISE_SCALES))
    confidence: float = setting(0.5, SHARE)
    bisections: int = setting(6, Interval(0, whole=True))


@dataclass(kw_only=True)
class BoundarySearch(SearchSettings):
    r"""Climb the loss of each image separately until the answer changes, then bisect back to where it just changed.

    .. math::
        \delta_{t+1} = \Pi\big(\delta_t + \varepsilon_t\,\mathrm{sign}(g_t - \lambda\delta_t + \gamma z_t)\big), \quad
        g_t = \nabla_\delta\,\ell\big(f(x + s\,\delta_t), y\big), \quad
        \varepsilon_t = \varepsilon_0 \text{ or } \varepsilon_0 / \sqrt t

    :math:`\delta` is a share of the intensity range `s = high - low`, whatever the images' normalization is.
    :math:`\Pi` keeps each pixel's change within the radius, and the image within its range; a pixel that is already
    outside the range may stay there and is never moved by the projection alone. A case stops at the first point that
    is flipped with a confidence of at most `confidence`, and is then bisected back along the line to its image: the
    resulting point is past the boundary, and the point :math:`2^{-n} \delta` before it is not.

    Args:
        variant: `clean`, as above; or `released`: one step of the size of the radius, as in the authors' code:
            the gradient of the batch's mean loss, absolute noise, and `closeness` times the difference between the
            image in its own units and in [0, 1]; the clean term is zero in the first step.

    Source:
        *Targeted Unlearning Using Perturbed Sign Gradient Methods* (arXiv 2505.21872), Algorithm 1. We could not read
        its text: steps, early stop, projection and bisection are ours, and so is the sign of the closeness term. The
        released term pushes away from the image. We do not use the released code's normalization constants, which move
        an image even without a gradient, nor its rounding of the step to 1/255.

    Example:
        >>> def judge(image):  # an answer that changes where an image's mean exceeds 0.5
        ...     loss = image.flatten(1).mean(1)
        ...     return Standing(loss, 1 - loss.detach(), loss.detach() > 0.5)
        >>> image = torch.full((1, 1, 2, 2), 0.45)
        >>> points = BoundarySearch(noise=0, step_size=0.04)(judge, image, torch.tensor(0.0), torch.tensor(1.0))
        >>> points.flipped.tolist(), points.steps.tolist(), round(points.distance.item(), 2)
        ([True], [2], 0.05)
    """

    variant: str = CLEAN

    @property
    def passes(self) -> int:
        """The most sample passes of a search for an image, with those of the answers where it ends."""
        steps, bisections = (1, 0) if self.variant == RELEASED else (self.steps, self.bisections)
        return TRAINED * steps + FORWARD * (bisections + 2)

    def __call__(self, judge: Judge, image: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> BoundaryPoints:
        """Find a point for each image.

        Args:
            judge: maps points to the model's standing for each, every image separately.
            image: `(B, C, H, W[, D])`.
            low: the lower end of the intensity range, in any shape that broadcasts to one image.
            high: the upper end, likewise.
        """
        ball = _Ball(judge, image, low, high, self.radius)
        offset = torch.zeros_like(image)
        taken = torch.zeros(len(image), dtype=torch.long, device=image.device)
        steps, losses = 1 if self.variant == RELEASED else self.steps, []
        for step in range(1, steps + 1):
            standing, gradient = ball.climb(offset)
            losses.append(standing.loss.detach())
            if self.variant == RELEASED:
                going, move = torch.ones_like(standing.flipped), self.radius * self._released_push(gradient, ball)
            else:
                going, move = ~self._crossed(standing), self._size(step) * self._push(gradient, offset)
            if not going.any():
                break
            offset = torch.where(_each(going, image), ball.project(offset + move), offset)
            taken += going
        with torch.no_grad():
            end = judge(ball.point(offset))
            offset = self._bisected(ball, offset, self._crossed(end)) if self.variant == CLEAN else offset
        return BoundaryPoints(
            image=ball.point(offset),
            offset=offset,
            flipped=end.flipped,
            steps=taken,
            losses=torch.stack(losses + [end.loss] * (steps + 1 - len(losses))),
        )

    def _size(self, step: int) -> float:
        return self.step_size / math.sqrt(step) if self.schedule == "sqrt" else self.step_size

    def _crossed(self, standing: Standing) -> torch.Tensor:
        most = self.confidence or -1.0  # a probability may underflow to 0
        return standing.flipped & (standing.confidence <= most)

    def _push(self, gradient: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
        push = gradient - self.closeness * offset
        if self.noise:
            mean = _each(gradient.abs().flatten(1).mean(1), gradient) if self.noise_scale == "relative" else 1
            push = push + self.noise * mean * NOISES[self.noise_distribution](torch.empty_like(gradient))
        return push.sign()

    def _released_push(self, gradient: torch.Tensor, ball: _Ball) -> torch.Tensor:
        """As in the released code: in the units of the network's input, so the closeness term is not a distance."""
        push = gradient / ball.span / len(gradient)
        push = push + self.closeness * (ball.image - (ball.image - ball.low) / ball.span)
        if self.noise:
            push = push + self.noise * NOISES[self.noise_distribution](torch.empty_like(gradient))
        return push.sign()

    def _bisected(self, ball: _Ball, offset: torch.Tensor, crossed: torch.Tensor) -> torch.Tensor:
        """Bisect between the image and a point past the boundary; returns the end that is past the boundary."""
        near, far = torch.zeros_like(offset), offset
        for _ in range(self.bisections):
            middle = (near + far) / 2
            beyond = _each(self._crossed(ball.judge(ball.point(middle))), offset)
            near, far = torch.where(beyond, near, middle), torch.where(beyond, middle, far)
        return torch.where(_each(crossed, offset), far, offset)


class _Ball:
    """The region that the points of a batch may lie in, as offsets in shares of the intensity range, and the judge."""

    def __init__(self, judge: Judge, image: torch.Tensor, low: torch.Tensor, high: torch.Tensor, radius: float) -> None:
        self.judge, self.image, self.low = judge, image, low
        self.span = (high - low).clamp(min=torch.finfo(image.dtype).tiny)  # a constant channel cannot move
        self._least, self._most = torch.minimum(image, low), torch.maximum(image, high)
        self._lower = ((self._least - image) / self.span).clamp(min=-radius)
        self._upper = ((self._most - image) / self.span).clamp(max=radius)

    def point(self, offset: torch.Tensor) -> torch.Tensor:
        return (self.image + self.span * offset).clamp(self._least, self._most)

    def project(self, offset: torch.Tensor) -> torch.Tensor:
        return offset.clamp(self._lower, self._upper)

    def climb(self, offset: torch.Tensor) -> tuple[Standing, torch.Tensor]:
        """The standing of the points, and the gradient of each one's loss with respect to its offset."""
        with torch.enable_grad():
            offset = offset.detach().requires_grad_()
            standing = self.judge(self.image + self.span * offset)
            (gradient,) = torch.autograd.grad(standing.loss.sum(), offset)
        return standing, gradient


def _each(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """One value per case, `(B,)`, in a shape that broadcasts over `like`."""
    return values.view(-1, *[1] * (like.dim() - 1))


def intensity_range(batches: Iterable[Mapping[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
    """The lowest and highest values of each channel over batches of images, `(C, 1, 1[, 1])`.

    Example:
        >>> low, high = intensity_range([{"image": torch.tensor([[[[0.0, 2.0]]], [[[-1.0, 0.5]]]])}])
        >>> low.item(), high.item()
        (-1.0, 2.0)
    """
    lows, highs = [], []
    for batch in batches:
        image = torch.as_tensor(batch[IMAGE])
        places = (0, *range(2, image.dim()))
        lows.append(image.amin(places, keepdim=True)[0])
        highs.append(image.amax(places, keepdim=True)[0])
    return torch.stack(lows).amin(0), torch.stack(highs).amax(0)
