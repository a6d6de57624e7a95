"""One network trained by several processes: MONAI's way to many GPUs, for whatever a method does with the network."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.inferers import Inferer
from torch import distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from mu_monai.adapters import weights_sha256
from mu_monai.engine.divided import remember_weights, weighted
from mu_monai.errors import RunError, raise_if_any
from mu_monai.processes import differing, is_first, processes, several
from mu_monai.runs.stamp import package_versions

_PACKAGES = ("mu-monai", "torch", "monai", "pytorch-ignite", "peft")


class Replicas:
    """Trains the network of a `SupervisedTrainer` in several processes, each with its own cases.

    Every forward pass that is trained through the trainer's inferer goes through `DistributedDataParallel`: the
    gradient of a step is the mean of those of all processes, so weights stay equal. The gradient of each pass counts as
    much as its batch does (`DividedLoader`), so that the mean is over cases. `engine.network` itself remains what it
    is, so that methods, scores and files see no difference. Passes without a gradient, such as the teacher's, need no
    other process.

    BatchNorm normalizes by the batch of each process. Where its statistics move, their means over all processes count
    from the end of an epoch on.

    Attach it first, in the configs `multi_gpu_train` and `multi_gpu_unlearn`. In a single process it does nothing.

    Raises:
        InputError: if versions of packages differ between processes.
        RunError: if the weights differ between them at the end.

    Source:
        The `multi_gpu_train.json` of MONAI's model zoo, which wraps the network itself.
    """

    def attach(self, engine: SupervisedTrainer) -> None:
        """Hook to the start, to the end of every epoch and to that of the run."""
        engine.add_event_handler(Events.STARTED, self._begin)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._unite_statistics)
        engine.add_event_handler(Events.COMPLETED, self._require_one_network)

    def _begin(self, engine: SupervisedTrainer) -> None:
        if not several():
            return
        if not is_first():
            logging.getLogger("mu_monai").setLevel(logging.ERROR)  # what all processes say is said once
        versions = {f"the version of {name}": version for name, version in package_versions(*_PACKAGES).items()}
        raise_if_any(differing(versions))
        remember_weights(engine)
        engine.inferer = replicated = _Replicated(engine)
        engine.add_event_handler(Events.COMPLETED, replicated.release)

    def _unite_statistics(self, engine: SupervisedTrainer) -> None:
        for module in engine.network.modules() if several() else ():
            if isinstance(module, _BatchNorm) and module.training and module.track_running_stats:
                for statistic in (module.running_mean, module.running_var):
                    assert statistic is not None  # they are tracked
                    unite(statistic)

    def _require_one_network(self, engine: SupervisedTrainer) -> None:
        digest = weights_sha256(engine.network.state_dict()) if several() else ""
        if differing({"the network": digest}):
            raise RunError(
                "the processes of this run ended with different weights, so none of them is its result; please report "
                "the method and the network, and use one process"
            )


def unite(statistic: torch.Tensor) -> None:
    """Replace a tensor by its mean over all processes of the run; all of them must call it."""
    if several():
        distributed.all_reduce(statistic)
        statistic.div_(processes())


class _Replicated(Inferer):
    """Applies a network through `DistributedDataParallel` if a gradient will be taken of it."""

    def __init__(self, engine: SupervisedTrainer) -> None:
        super().__init__()
        self._engine, self._inferer, self._network = engine, engine.inferer, engine.network
        self._trained: list[nn.Parameter] = []
        self._replicas: nn.Module = engine.network

    def __call__(self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any) -> Any:
        if network is not self._network or not torch.is_grad_enabled():
            return self._inferer(inputs, network, *args, **kwargs)
        return weighted(self._engine, inputs, self._inferer(inputs, self._synchronized(), *args, **kwargs))

    def release(self) -> None:
        """Let go of the wrapper, so that the process group ends as it is closed, with its threads.

        A thread of Gloo that outlives it may let go of a tensor while Python ends, which aborts the process after all
        its work is done: "terminate called without an active exception".
        """
        self._replicas, self._trained = self._network, []

    def _synchronized(self) -> nn.Module:
        """The network in its wrapper, which is made anew if other weights train than before."""
        trained = [weight for weight in self._network.parameters() if weight.requires_grad]
        if len(trained) != len(self._trained) or any(a is not b for a, b in zip(trained, self._trained, strict=True)):
            device = trained[0].device
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # newer versions of torch name the argument differently
                self._replicas = DistributedDataParallel(
                    self._network, device_ids=[device] if device.type == "cuda" else None, broadcast_buffers=False
                )
            self._trained = trained
        return self._replicas
