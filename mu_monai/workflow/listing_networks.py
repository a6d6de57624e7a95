"""The networks whose decoder, head and features are known, with the cost of adapters in them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from monai.networks import nets
from monai.utils import OptionalImportError
from peft import LoraConfig
from torch import nn

from mu_monai.adapters.lora import ADAPTABLE
from mu_monai.adapters.placement import anatomy, capacity, place

RANK, IMAGE, CLASSES = 8, 96, 2


def _swin_unetr(dims: int) -> nn.Module:
    with torch.device("cpu"):  # it reads numbers while it is built, so it cannot be built without its weights
        return nets.SwinUNETR(1, CLASSES, feature_size=24, spatial_dims=dims)


_EXAMPLES: dict[type[nn.Module], Callable[[int], nn.Module]] = {
    nets.UNet: lambda dims: nets.UNet(
        dims, 1, CLASSES, (16, 32, 64, 128, 256), (2, 2, 2, 2), num_res_units=2, norm="batch"
    ),
    nets.BasicUNet: lambda dims: nets.BasicUNet(dims, 1, CLASSES),
    nets.DynUNet: lambda dims: nets.DynUNet(dims, 1, CLASSES, [3] * 5, [1, 2, 2, 2, 2], [2] * 4),
    nets.AttentionUnet: lambda dims: nets.AttentionUnet(dims, 1, CLASSES, (16, 32, 64, 128, 256), (2, 2, 2, 2)),
    nets.SegResNet: lambda dims: nets.SegResNet(dims, 16, 1, CLASSES),
    nets.UNETR: lambda dims: nets.UNETR(1, CLASSES, (IMAGE,) * dims, spatial_dims=dims),
    nets.SwinUNETR: _swin_unetr,
    nets.VNet: lambda dims: nets.VNet(dims, 1, CLASSES),
    nets.FlexibleUNet: lambda dims: nets.FlexibleUNet(1, CLASSES, "resnet34", spatial_dims=dims),
    nets.DenseNet: lambda dims: nets.DenseNet121(dims, 1, CLASSES),
    nets.ResNet: lambda dims: nets.ResNet(
        "basic", [3, 4, 6, 3], [64, 128, 256, 512], spatial_dims=dims, n_input_channels=1, num_classes=CLASSES
    ),
    nets.EfficientNet: lambda dims: nets.EfficientNetBN(
        "efficientnet-b0", pretrained=False, spatial_dims=dims, in_channels=1, num_classes=CLASSES
    ),
    nets.ViT: lambda dims: nets.ViT(
        1, (IMAGE,) * dims, (16,) * dims, classification=True, num_classes=CLASSES, spatial_dims=dims
    ),
}


def networks() -> pd.DataFrame:
    """One row per known network and number of dimensions, measured on an example that is built without its weights.

    Returns:
        The columns `network`, `dims`, `weights` (number of weights of the example), `head`, `features`, and for the
        scopes `decoder` and `all` the number of adapted layers and the share of weights that adapters of rank 8 train,
        in percent of the weights of the example and its adapters. A rank is clamped to what its layer can hold. A
        network whose optional packages are not installed has empty cells.

    Example:
        >>> table = networks()
        >>> row = table[(table["network"] == "UNet") & (table["dims"] == 3)].iloc[0]
        >>> int(row["decoder_layers"]), float(row["decoder_share"])
        (8, 3.07)
    """
    return pd.DataFrame([_row(kind, dims) for kind in _EXAMPLES for dims in (2, 3)]).convert_dtypes()


def _row(kind: type[nn.Module], dims: int) -> dict[str, Any]:
    row: dict[str, Any] = {"network": kind.__name__, "dims": dims}
    try:
        with torch.device("meta"), warnings.catch_warnings(action="ignore"):
            network = _EXAMPLES[kind](dims)
    except OptionalImportError:
        return row
    parts = anatomy(network)
    weights = sum(parameter.numel() for parameter in network.parameters())
    row |= {"weights": weights, "head": parts.head, "features": parts.features}
    for scope in ("decoder", "all"):
        targets = place(network, scope).targets
        trained = sum(_trained(network.get_submodule(name)) for name in targets)
        row[f"{scope}_layers"] = len(targets)
        row[f"{scope}_share"] = round(100 * trained / (weights + trained), 2)
    return row


def _trained(layer: nn.Module) -> int:
    kind = next(kind for kind in ADAPTABLE if isinstance(layer, kind))
    adapted = ADAPTABLE[kind](layer, "default", config=LoraConfig(), r=min(RANK, capacity(layer)))
    return sum(value.numel() for name, value in adapted.named_parameters() if name.startswith("lora_"))
