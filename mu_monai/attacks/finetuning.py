"""Further training: only on retain cases, or on a few forgotten cases that an attacker has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn

from mu_monai.attacks.attack import Attack, AttackData, Batches, endless
from mu_monai.keys import IMAGE, LABEL

LEARNING_RATES = (1e-5, 1e-4, 1e-3)


@dataclass(frozen=True, kw_only=True)
class _Training(Attack):
    """AdamW on the supervised loss, with frozen normalization statistics and without dropout.

    Args:
        steps: steps of the optimizer, at least 1.
        learning_rate: learning rate of AdamW, above 0.
        batch_size: cases in a step, at least 1.
        learning_rates: the rates that an audit tries one after the other, each above 0.

    Source: that the worst of several rates counts: Lee et al., arXiv 2506.06278. A low rate does not bring back what a
        higher one does, and a high one can destroy what a lower one brings back.
    """

    steps: int
    learning_rate: float = 1e-4
    batch_size: int = 8
    learning_rates: tuple[float, ...] = LEARNING_RATES

    def sweep(self) -> dict[float | None, Attack]:
        """The same attack at each of its learning rates."""
        return {rate: replace(self, learning_rate=rate, learning_rates=(rate,)) for rate in self.learning_rates}

    def _cases(self, data: AttackData) -> Batches:
        raise NotImplementedError

    def act(self, network: nn.Module, data: AttackData) -> Iterator[int]:
        """Train step by step; step 0 is the model as it was."""
        yield 0
        optimizer = torch.optim.AdamW(network.parameters(), lr=self.learning_rate)
        batches = endless(self._cases(data), self.batch_size, data.seed)
        for step, batch in zip(range(1, self.steps + 1), batches, strict=False):
            with torch.enable_grad():
                loss = data.loss(data.inferer(batch[IMAGE].to(data.device), network), batch[LABEL].to(data.device))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
            optimizer.step()
            yield step


@dataclass(frozen=True, kw_only=True)
class RetainFinetuning(_Training):
    """Fine-tune only on retain cases, as any user might who trains the model a little further.

    No forgotten case is used. Whatever comes back was never forgotten, only suppressed.

    Args:
        steps: steps of the optimizer, at least 1.
        learning_rate: learning rate of AdamW, above 0.
        batch_size: retain cases in a step, at least 1.
        learning_rates: the rates that an audit tries one after the other, each above 0.
    """

    steps: int = 60
    summary = "trains further on retained cases only, as any user may; needs no forgotten case"

    def _cases(self, data: AttackData) -> Batches:
        return data.retain


@dataclass(frozen=True, kw_only=True)
class Relearning(_Training):
    """Fine-tune on a few forgotten patients, and see whether the *others* come back as well.

    A model that never saw any of them learns the known ones and nothing about the others.

    Args:
        patients: number of forgotten patients that the attacker has; half of all forgotten patients if there are fewer
            than twice that number.
        steps: steps of the optimizer, at least 1.
        learning_rate: learning rate of AdamW, above 0.
        batch_size: known cases in a step, at least 1.
        learning_rates: the rates that an audit tries one after the other, each above 0.
        shown: the steps after which the other forgotten patients are tested, in addition to the last.
    """

    patients: int = 4
    steps: int = 40
    batch_size: int = 4
    shown: tuple[int, ...] = (0, 5, 10, 20)
    summary = "trains further on a few forgotten patients that the attacker has; tested on the other forgotten patients"

    def hindered(self, network: nn.Module, data: AttackData) -> str:
        """There may be nobody left to test."""
        if len(data.known):
            return ""
        return "only one patient was forgotten, and the attack needs patients to test besides those that it knows"

    def _cases(self, data: AttackData) -> Batches:
        return data.known
