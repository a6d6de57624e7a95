"""The gradient of each case separately, which batches average away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from monai.data.utils import set_rnd
from monai.engines import SupervisedTrainer
from monai.utils import convert_to_tensor
from torch.utils.data import DataLoader

from mu_monai.precision import in_full


def case_gradients(
    engine: SupervisedTrainer, loader: DataLoader[Mapping[str, Any]], weights: Sequence[torch.Tensor]
) -> Iterator[torch.Tensor]:
    r"""The gradient of the trainer's loss, case by case, :math:`\nabla_\theta \ell_i`, `(P,)`.

    The network is in `eval` mode and in full precision, so that no case depends on the others in its batch. If a case
    has several patches, each patch counts as a case.

    Args:
        engine: the trainer.
        loader: batches of cases; its random transforms are seeded with the run's seed.
        weights: the tensors to differentiate by, P numbers in all; the gradient is 0 if the loss does not depend on
            them.
    """
    engine.network.eval()
    apply = in_full(engine.inferer)
    set_rnd(loader.dataset, torch.initial_seed() % 2**32)
    for batch in loader:
        image, label, *_ = engine.prepare_batch(batch, engine.state.device, engine.non_blocking, **engine.to_kwargs)
        image, label = convert_to_tensor((image, label), track_meta=False)  # a batch with metadata cannot be split
        for one, truth in zip(image.split(1), label.split(1), strict=True):
            loss = engine.loss_function(apply(one, engine.network), truth)
            gradients = torch.autograd.grad(loss, list(weights), materialize_grads=True)
            yield torch.cat([gradient.flatten() for gradient in gradients])
