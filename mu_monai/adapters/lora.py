"""A LoRA layer for every convolution, transposed ones included, whose merge is exact."""

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


class LoraConv(nn.Module, LoraLayer):
    r"""A low-rank update of one convolution's weight, as a peft layer.

    .. math:: \tilde W = W + \frac{\alpha}{r} B A

    `A` has the shape of the convolution's weight with the rank in place of the output channels, `B` is
    `(out, r, 1, ...)`. For plain convolutions these are the factors of peft's own layer, so stock peft reads them. A
    transposed convolution keeps `A` as `(in, r, k, ...)`, its own layout. `A` starts as Kaiming-uniform and `B`
    as zero, so that the update starts as zero.

    Outside training the layer convolves once, with `W + (alpha/r) B A`, which are the very numbers that `merge` stores:
    merged and unmerged outputs are equal bit for bit. In training, dropout acts on the input of the low-rank branch
    alone, as in peft, and the two branches are added.

    peft 0.21 has no layer for transposed convolutions, fails to merge 1x1x1 `Conv3d`, fails in the forward pass with
    dilation, merges `padding_mode="reflect"` to another function and cannot merge groups; this layer does all of them.

    Args:
        base_layer: the convolution to adapt, any of `CONVOLUTIONS`, with shapes `(B, C, H[, W[, D]])`.
        adapter_name: peft's name of the adapter.
        config: peft's configuration; `lora_dropout`, `use_rslora` and `init_lora_weights` (bool) are honored.
        r: rank, at least 1.
        lora_alpha: numerator of the scale, `alpha / r` (or `alpha / sqrt(r)` with rsLoRA).

    Raises:
        ValueError: for a rank below 1, or for options (DoRA, LoRA bias, special initializations) it does not have.

    Source:
        Hu et al., LoRA, arXiv 2106.09685; *Erase to Retain*, arXiv 2511.16574, eq. 1, which omits the scale alpha / r
        that its released code applies through peft.

    Example:
        >>> layer = LoraConv(nn.ConvTranspose2d(4, 2, 3, stride=2), "default", config=LoraConfig(), r=2, lora_alpha=4)
        >>> layer.lora_A["default"].weight.shape, layer.lora_B["default"].weight.shape
        (torch.Size([4, 2, 3, 3]), torch.Size([2, 2, 1, 1]))
    """

    def __init__(
        self,
        base_layer: nn.Module,
        adapter_name: str,
        config: LoraConfig,
        r: int = 8,
        lora_alpha: int = 8,
        **_: Any,
    ) -> None:
        super().__init__()
        LoraLayer.__init__(self, base_layer)
        self._active_adapter = adapter_name
        self._unmerged_weight: torch.Tensor | None = None
        self.update_layer(adapter_name, r, lora_alpha=lora_alpha, config=config)

    @property
    def _base(self) -> _ConvNd:
        return cast(_ConvNd, self.get_base_layer())

    def _factors(self, adapter: str) -> tuple[torch.Tensor, torch.Tensor]:
        return cast(_Factor, self.lora_A[adapter]).weight, cast(_Factor, self.lora_B[adapter]).weight

    def _get_in_out_features(self, module: nn.Module) -> tuple[int, int]:
        base = cast(_ConvNd, module)
        return base.in_channels, base.out_channels

    def update_layer(self, adapter_name: str, r: int, lora_alpha: int, config: LoraConfig, **_: Any) -> None:
        """Create the factors of one adapter; peft calls this for every adapter of the layer."""
        if r < 1:
            raise ValueError(f"LoRA rank r={r} is not allowed; use an integer of at least 1")
        if config.use_dora or config.lora_bias or isinstance(config.init_lora_weights, str):
            raise ValueError(
                "LoraConv has plain LoRA only: leave use_dora and lora_bias off and init_lora_weights true or false, "
                f"not use_dora={config.use_dora}, lora_bias={config.lora_bias}, "
                f"init_lora_weights={config.init_lora_weights!r}"
            )
        base = self._base
        shape = list(base.weight.shape)
        shape[1 if isinstance(base, _ConvTransposeNd) else 0] = r
        ones = (1,) * (base.weight.dim() - 2)
        self.r[adapter_name] = r
        self.lora_alpha[adapter_name] = lora_alpha
        self.scaling[adapter_name] = lora_alpha / (math.sqrt(r) if config.use_rslora else r)
        self.use_rslora[adapter_name] = config.use_rslora
        self.use_dora[adapter_name] = False
        self.lora_bias[adapter_name] = False
        dropout = nn.Dropout(config.lora_dropout) if config.lora_dropout > 0 else nn.Identity()
        self.lora_dropout[adapter_name] = dropout
        self.lora_A[adapter_name] = _Factor(shape)
        self.lora_B[adapter_name] = _Factor([base.out_channels, r, *ones])
        if config.init_lora_weights:
            self.reset_lora_parameters(adapter_name, True)
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def get_delta_weight(self, adapter: str) -> torch.Tensor:
        """The update `(alpha/r) B A` in the shape of the base weight."""
        base = self._base
        a, b = self._factors(adapter)
        b = b.flatten(1)
        if not isinstance(base, _ConvTransposeNd):
            return (b @ a.flatten(1)).view_as(base.weight) * self.scaling[adapter]
        # weight (in, out/g, k...): group j maps its own in/g inputs to its own out/g outputs
        groups = base.groups
        a = a.flatten(2).unflatten(0, (groups, -1))
        b = b.unflatten(0, (groups, -1))
        return torch.einsum("gor,girk->giok", b, a).reshape(base.weight.shape) * self.scaling[adapter]

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Add the update to the base weight, keeping the base weight so that `unmerge` restores its very bits."""
        names = [name for name in check_adapters_to_merge(self, adapter_names) if name in self.lora_A]
        if not names:
            return
        weight = self._base.weight
        if self._unmerged_weight is None:
            self._unmerged_weight = weight.detach().clone()
        merged = self._adapted(names).detach()
        if safe_merge and not torch.isfinite(merged).all():
            raise ValueError(f"the merged weight holds NaN or infinity; adapter(s) {names} are broken")
        weight.data = merged
        self.merged_adapters.extend(names)

    def unmerge(self) -> None:
        """Restore the base weight as it was before `merge`, bit for bit."""
        if self._unmerged_weight is not None:
            weight = self._base.weight
            weight.data = self._unmerged_weight.to(weight)  # the layer may have moved to another device or type
            self._unmerged_weight = None
            self.merged_adapters.clear()

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Convolve `x`, `(B, C, H[, W[, D]])`, with the adapted weight; with the base weight where adapters are off."""
        base = self._base
        active = [name for name in self.active_adapters if name in self.lora_A]
        if self.disable_adapters:
            self.unmerge()
            return base(x, *args, **kwargs)
        if self.merged or not active:
            return base(x, *args, **kwargs)
        if not self.training:
            return _convolve(base, x, self._adapted(active), base.bias, *args, **kwargs)
        result = base(x, *args, **kwargs)
        for name in active:
            result = result + self._low_rank(name, self.lora_dropout[name](x), *args, **kwargs)
        return result

    def _adapted(self, adapters: list[str]) -> torch.Tensor:
        """The base weight plus the updates of these adapters: what `merge` stores and evaluation convolves with."""
        weight = self._base.weight
        delta = torch.stack([self.get_delta_weight(name) for name in adapters]).sum(0)
        return weight + delta.to(weight.dtype)

    def _low_rank(self, adapter: str, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        base = self._base
        a, b = self._factors(adapter)
        if base.groups > 1 and not isinstance(base, _ConvTransposeNd):
            a = a.repeat(base.groups, *(1,) * (a.dim() - 1))  # the same A reads every group's inputs
        hidden = _convolve(base, x, a, None, *args, **kwargs)
        pointwise = (nn.functional.conv1d, nn.functional.conv2d, nn.functional.conv3d)[b.dim() - 3]
        return pointwise(hidden, b, groups=base.groups) * self.scaling[adapter]

    def __repr__(self) -> str:
        return "lora." + super().__repr__()


class _Factor(nn.Module):
    """A bare weight; peft finds the factors of a layer under `<name>.weight`."""

    def __init__(self, shape: list[int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))


def _convolve(
    base: _ConvNd, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, *args: Any, **kwargs: Any
) -> torch.Tensor:
    """Run `base`'s own forward (stride, padding mode, output size ...) with another weight and bias."""
    if isinstance(base, _ConvTransposeNd):
        replaced = cast(dict[str, torch.Tensor], {"weight": weight, "bias": bias})  # None stands for no bias
        return torch.func.functional_call(base, replaced, (x, *args), kwargs)
    return base._conv_forward(x, weight, bias)
