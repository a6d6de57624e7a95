"""Training on: on retain cases alone, or on the few forgotten cases that an attacker happens to have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from mu_monai.attacks.attack import Attack, AttackData, Batches, endless
from mu_monai.keys import IMAGE, LABEL


@dataclass(frozen=True, kw_only=True)
class _Training(Attack):
    """AdamW on the supervised loss, with frozen normalization statistics and without dropout.

    Args:
        steps: steps of the optimizer, at least 1.
        learning_rate: of AdamW, above 0.
        batch_size: cases in a step, at least 1.
    """

    steps: int
    learning_rate: float = 1e-4
    batch_size: int = 8

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
    """Fine-tune on retain cases alone: what any user does who trains the model a little further.

    No forgotten case is used. What comes back was never gone, only pushed aside.

    Args:
        steps: steps of the optimizer, at least 1.
        learning_rate: of AdamW, above 0.
        batch_size: retain cases in a step, at least 1.
    """

    steps: int = 60
    summary = "trains on with retained cases alone, as any user may; needs none of the forgotten"

    def _cases(self, data: AttackData) -> Batches:
        return data.retain


@dataclass(frozen=True, kw_only=True)
class Relearning(_Training):
    """Fine-tune on a few forgotten patients, and see whether the *others* come back as well.

    A model that never saw any of them learns the known ones and nothing about the others.

    Args:
        patients: how many forgotten patients the attacker has; half of them where there are fewer than twice as many.
        steps: steps of the optimizer, at least 1.
        learning_rate: of AdamW, above 0.
        batch_size: known cases in a step, at least 1.
        shown: the steps after which the other forgotten patients are tested, besides the last.
    """

    patients: int = 4
    steps: int = 40
    batch_size: int = 4
    shown: tuple[int, ...] = (0, 5, 10, 20)
    summary = "trains on with a few forgotten patients that the attacker has; tested on the other forgotten ones"

    def _cases(self, data: AttackData) -> Batches:
        return data.known
