"""Layers that run before the first adapted one: computed once per batch, used by teacher and student."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

ADAPTED = (BaseTunerLayer, ModulesToSaveWrapper)


class SharedPrefix:
    """Caches the outputs of the frozen layers before the first adapted one, so that a second pass need not run them.

    Teacher and student differ only in adapted layers: everything that runs before the first of them gives the same
    result for both. These layers are detected while the network runs, so this works for any network and placement. In
    the second pass they return what they returned in the first; everything else runs as usual.

    Args:
        network: a network with adapters, whose frozen layers are deterministic (in evaluation mode).
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self.forget()

    def forget(self) -> None:
        """Clear the cache."""
        self._image: torch.Tensor | None = None
        self._autocast = False
        self._outputs: dict[nn.Module, list[Any]] = {}
        self._returned: dict[int, int] = {}  # the version of each tensor when a layer last returned it, by its id
        self._versions: list[int] | None = None
        self._spoiled = False

    def holds(self, image: torch.Tensor) -> bool:
        """Whether the cached outputs belong to this very tensor, unchanged since by in-place operations."""
        return (
            self._image is image
            and not self._spoiled
            and self._autocast == torch.is_autocast_enabled(image.device.type)
            and self._versions == self._current_versions()
        )

    @contextmanager
    def recording(self, image: torch.Tensor) -> Iterator[None]:
        """Cache what the frozen layers return until the first adapted one runs."""
        self.forget()
        self._image, self._autocast = image, torch.is_autocast_enabled(image.device.type)

        def keep(layer: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
            def run(*args: Any, **kwargs: Any) -> Any:
                output = forward(*args, **kwargs)
                if self._versions is None:
                    self._outputs.setdefault(layer, []).append(_same(output))
                    self._returned |= {id(tensor): tensor._version for tensor in _tensors(output)}
                return output

            return run

        def reach(layer: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
            def run(*args: Any, **kwargs: Any) -> Any:
                if self._versions is None:
                    self._versions = self._current_versions()
                    # changed in place by the network itself between its layers: a second pass would change it again
                    cached = _tensors(list(self._outputs.values()))
                    self._spoiled = any(tensor._version != self._returned[id(tensor)] for tensor in cached)
                return forward(*args, **kwargs)

            return run

        frozen, adapted = _parts(self._network)
        try:
            with _replaced(frozen, keep), _replaced(adapted, reach):
                yield
        except BaseException:
            self.forget()
            raise

    @contextmanager
    def replaying(self) -> Iterator[None]:
        """Let the frozen layers return what they returned before; the cache is cleared afterwards."""

        def recall(layer: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
            outputs = iter(self._outputs[layer])

            def run(*args: Any, **kwargs: Any) -> Any:
                for output in outputs:
                    return _same(output)
                return forward(*args, **kwargs)  # a layer may run again after the first adapted one

            return run

        try:
            with _replaced(list(self._outputs), recall):
                yield
        finally:
            self.forget()

    def _current_versions(self) -> list[int]:
        return [tensor._version for tensor in _tensors([self._image, list(self._outputs.values())])]


def _tensors(output: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(output) if isinstance(leaf, torch.Tensor)]


def _same(output: Any) -> Any:
    """The same tensors in new lists and tuples, because the network may empty or reverse them."""
    return tree_map(lambda leaf: leaf, output)


def _parts(network: nn.Module) -> tuple[list[nn.Module], list[nn.Module]]:
    """The largest parts of a network without an adapter, and the adapted layers."""
    if isinstance(network, ADAPTED):
        return [], [network]
    if not any(isinstance(module, ADAPTED) for module in network.modules()):
        return [network], []
    frozen, adapted = [], []
    for child in network.children():
        more_frozen, more_adapted = _parts(child)
        frozen += more_frozen
        adapted += more_adapted
    return frozen, adapted


@contextmanager
def _replaced(
    layers: list[nn.Module], make: Callable[[nn.Module, Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    """Temporarily replace the `forward` of layers: unlike a hook, this can skip the computation."""
    layers = list(dict.fromkeys(layers))
    try:
        for layer in layers:
            layer.forward = make(layer, layer.forward)
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)
