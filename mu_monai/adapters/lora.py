"""LoRA layers for every convolution, transposed ones included, and for linear layers, whose merge is exact."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import check_adapters_to_merge
from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class LoraWeight(nn.Module, LoraLayer):
    r"""A low-rank update of one layer's weight, as a peft layer; `LoraConv` and `LoraLinear` say how it is applied.

    .. math:: \tilde W = W + \frac{\alpha}{r} B A, \qquad \tilde b = b + \frac{\alpha}{r} b_B

    `A` starts as Kaiming-uniform and `B` as zero, so that the update starts as zero. `b_B`, the bias of `B`, exists
    only with peft's `lora_bias=True`.

    Outside training the layer runs once, with the weight and bias above, which are exactly the numbers that `merge`
    stores: merged and unmerged outputs are equal bit for bit. In training, dropout acts only on the input of the
    low-rank branch, as in peft, and the branches are added. Several adapters may be active at once; their updates are
    summed.

    Args:
        base_layer: the layer to adapt.
        adapter_name: peft's name of the adapter.
        config: peft's configuration; `lora_dropout`, `use_rslora`, `lora_bias` and `init_lora_weights` (bool) are
            honored.
        r: rank, at least 1.
        lora_alpha: numerator of the scale, `alpha / r` (or `alpha / sqrt(r)` with rsLoRA).

    Raises:
        ValueError: for a rank below 1, for `lora_bias` on a layer without a bias, or for options that it does not
            support (DoRA, special initializations).

    Source:
        Hu et al., LoRA, arXiv 2106.09685; *Erase to Retain*, arXiv 2511.16574, eq. 1, which omits the scale alpha / r
        that its released code applies through peft.
    """

    def __init__(
        self,
        base_layer: nn.Module,
        adapter_name: str,
        config: LoraConfig,
        r: int = 8,
        lora_alpha: float = 8,
        **_: Any,
    ) -> None:
        super().__init__()
        LoraLayer.__init__(self, base_layer)
        self._active_adapter = adapter_name
        self._unmerged: tuple[torch.Tensor, torch.Tensor | None] | None = None
        self.update_layer(adapter_name, r, lora_alpha=lora_alpha, config=config)

    @property
    def _base(self) -> Any:
        return self.get_base_layer()

    def _factors(self, adapter: str) -> tuple[_Factor, _Factor]:
        return cast(_Factor, self.lora_A[adapter]), cast(_Factor, self.lora_B[adapter])

    def update_layer(self, adapter_name: str, r: int, lora_alpha: float, config: LoraConfig, **_: Any) -> None:
        """Create the factors of one adapter; peft calls this for every adapter of the layer."""
        self._check(r, config)
        shape = list(self._base.weight.shape)
        shape[1 if isinstance(self._base, _ConvTransposeNd) else 0] = r
        self.r[adapter_name] = r
        self.lora_alpha[adapter_name] = lora_alpha
        self.scaling[adapter_name] = lora_alpha / (math.sqrt(r) if config.use_rslora else r)
        self.use_rslora[adapter_name] = config.use_rslora
        self.use_dora[adapter_name] = False
        self.lora_bias[adapter_name] = config.lora_bias
        dropout = nn.Dropout(config.lora_dropout) if config.lora_dropout > 0 else nn.Identity()
        self.lora_dropout[adapter_name] = dropout
        self.lora_A[adapter_name] = _Factor(shape)
        self.lora_B[adapter_name] = _Factor(
            [cast(int, self.out_features), r, *(1,) * (len(shape) - 2)], bias=config.lora_bias
        )
        if config.init_lora_weights:
            self.reset_lora_parameters(adapter_name, True)
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def _check(self, r: int, config: LoraConfig) -> None:
        if r < 1:
            raise ValueError(f"LoRA rank r={r} is not allowed; use an integer of at least 1")
        if config.use_dora or isinstance(config.init_lora_weights, str):
            raise ValueError(
                f"{type(self).__name__} supports plain LoRA only, not use_dora={config.use_dora}, "
                f"init_lora_weights={config.init_lora_weights!r}; use use_dora=False, and true or false for the other"
            )
        if config.lora_bias and self._base.bias is None:
            raise ValueError(
                f"lora_bias=True needs a layer with a bias, and {self._base} has none; use lora_bias=False for it"
            )

    def get_delta_weight(self, adapter: str) -> torch.Tensor:
        """The update `(alpha/r) B A` in the shape of the base weight."""
        a, b = self._factors(adapter)
        return (b.weight.flatten(1) @ a.weight.flatten(1)).view_as(self._base.weight) * self.scaling[adapter]

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Add the update to weight and bias; the originals are kept, so that `unmerge` restores them bit for bit."""
        names = [name for name in check_adapters_to_merge(self, adapter_names) if name in self.lora_A]
        if not names:
            return
        base = self._base
        weight, bias = self._adapted([*self.merged_adapters, *names])
        if safe_merge and not all(torch.isfinite(value).all() for value in (weight, bias) if value is not None):
            raise ValueError(f"the merged weight holds NaN or infinity; adapter(s) {names} are broken")
        if self._unmerged is None:
            self._unmerged = (base.weight.data, None if base.bias is None else base.bias.data)
        base.weight.data = weight.detach()
        if bias is not None:
            base.bias.data = bias.detach().clone()
        self.merged_adapters.extend(names)

    def unmerge(self) -> None:
        """Restore weight and bias as they were before `merge`, bit for bit."""
        if self._unmerged is not None:
            weight, bias = self._unmerged
            base = self._base
            base.weight.data = weight.to(base.weight)  # the layer may have moved to another device or type
            if bias is not None:
                base.bias.data = bias.to(base.bias)
            self._unmerged = None
            self.merged_adapters.clear()

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Run the layer on `x` with the adapted weight, or with the base weight if adapters are off."""
        base = self._base
        active = [name for name in self.active_adapters if name in self.lora_A]
        if self.disable_adapters:
            self.unmerge()
        elif active and not self.merged:
            if not self.training:
                return self._run(x, *self._adapted(active), *args, **kwargs)
            result = base(x, *args, **kwargs)
            for name in active:
                result = result + self._low_rank(name, self.lora_dropout[name](x), *args, **kwargs)
            return result
        return cast(torch.Tensor, base(x, *args, **kwargs))

    def _adapted(self, adapters: list[str]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Weight and bias with the updates of these adapters: what `merge` stores and evaluation runs with."""
        base = self._base
        weight, bias = self._unmerged or (base.weight, base.bias)
        weight, bias = weight.to(base.weight), bias if bias is None else bias.to(base.weight)
        with torch.autocast(weight.device.type, enabled=False):  # which would round the update, and merge does not
            delta = torch.stack([self.get_delta_weight(name) for name in adapters]).sum(0)
            biases = [self._factors(name)[1].bias * self.scaling[name] for name in adapters if self.lora_bias[name]]
            if bias is not None and biases:
                bias = bias + torch.stack(biases).sum(0).to(bias.dtype)
            return weight + delta.to(weight.dtype), bias

    def _run(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Run the base layer with another weight and bias."""
        raise NotImplementedError

    def _low_rank(self, adapter: str, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The low-rank branch `(alpha/r) (B A x + b_B)`."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return "lora." + super().__repr__()


class LoraConv(LoraWeight):
    """The low-rank update of one convolution.

    `A` has the shape of the convolution's weight with the rank instead of the output channels, `B` is
    `(out, r, 1, ...)`. For plain convolutions these are the factors of peft's own layer, so stock peft reads them. A
    transposed convolution keeps `A` as `(in, r, k, ...)`, its own layout.

    peft 0.21 has no layer for transposed convolutions, fails to merge 1x1x1 `Conv3d`, fails in the forward pass with
    dilation, merges `padding_mode="reflect"` incorrectly and cannot merge groups; this layer supports all of them.

    Args:
        base_layer: the convolution to adapt, any of `CONVOLUTIONS`, with shapes `(B, C, H[, W[, D]])`. The other
            arguments and what is raised are those of `LoraWeight`.

    Example:
        >>> layer = LoraConv(nn.ConvTranspose2d(4, 2, 3, stride=2), "default", config=LoraConfig(), r=2, lora_alpha=4)
        >>> layer.lora_A["default"].weight.shape, layer.lora_B["default"].weight.shape
        (torch.Size([4, 2, 3, 3]), torch.Size([2, 2, 1, 1]))
    """

    def _get_in_out_features(self, module: nn.Module) -> tuple[int, int]:
        base = cast(_ConvNd, module)
        return base.in_channels, base.out_channels

    def get_delta_weight(self, adapter: str) -> torch.Tensor:
        """The update `(alpha/r) B A` in the shape of the base weight."""
        base = self._base
        if not isinstance(base, _ConvTransposeNd):
            return super().get_delta_weight(adapter)
        # weight (in, out/g, k...): group j maps its own in/g inputs to its own out/g outputs
        a, b = self._factors(adapter)
        inputs = a.weight.flatten(2).unflatten(0, (base.groups, -1))
        outputs = b.weight.flatten(1).unflatten(0, (base.groups, -1))
        return torch.einsum("gor,girk->giok", outputs, inputs).reshape(base.weight.shape) * self.scaling[adapter]

    def _run(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        base = self._base
        if isinstance(base, _ConvTransposeNd):  # its own forward knows the output size
            replaced = cast(dict[str, torch.Tensor], {"weight": weight, "bias": bias})  # None stands for no bias
            return torch.func.functional_call(base, replaced, (x, *args), kwargs)
        return base._conv_forward(x, weight, bias)

    def _low_rank(self, adapter: str, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        base, (a, b) = self._base, self._factors(adapter)
        reads: torch.Tensor = a.weight
        if base.groups > 1 and not isinstance(base, _ConvTransposeNd):
            reads = reads.repeat(base.groups, *(1,) * (reads.dim() - 1))  # the same A reads every group's inputs
        hidden = self._run(x, reads, None, *args, **kwargs)
        pointwise = (nn.functional.conv1d, nn.functional.conv2d, nn.functional.conv3d)[reads.dim() - 3]
        return pointwise(hidden, b.weight, b.bias, groups=base.groups) * self.scaling[adapter]


class LoraLinear(LoraWeight):
    """The low-rank update of one linear layer, with the factors of peft's own layer, `A` `(r, in)` and `B` `(out, r)`.

    peft's layer adds the low-rank branch in evaluation as well, so that merging changes its answers by rounding; this
    one does not.

    Args:
        base_layer: the `nn.Linear` to adapt, with inputs `(..., in)`. The other arguments and what is raised are those
            of `LoraWeight`.

    Example:
        >>> layer = LoraLinear(nn.Linear(6, 4), "default", config=LoraConfig(), r=2)
        >>> layer.lora_A["default"].weight.shape, layer.lora_B["default"].weight.shape
        (torch.Size([2, 6]), torch.Size([4, 2]))
    """

    def _run(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        return nn.functional.linear(x, weight, bias)

    def _low_rank(self, adapter: str, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        a, b = self._factors(adapter)
        hidden = nn.functional.linear(x, a.weight)
        return nn.functional.linear(hidden, b.weight, b.bias) * self.scaling[adapter]


ADAPTABLE: dict[type[nn.Module], type[LoraWeight]] = {**dict.fromkeys(CONVOLUTIONS, LoraConv), nn.Linear: LoraLinear}


class _Factor(nn.Module):
    """A bare weight, with or without a bias; peft finds the factors of a layer under `<name>.weight`."""

    def __init__(self, shape: list[int], bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))
        self.bias = nn.Parameter(torch.zeros(shape[0])) if bias else None
