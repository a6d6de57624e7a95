"""Which layers of a network take an adapter: decoder, head or all, per network; and where its features are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from monai.networks import nets
from monai.networks.blocks.activation_checkpointing import ActivationCheckpointWrapper
from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.utils.parametrize import is_parametrized

from mu_monai.adapters.lora import ADAPTABLE
from mu_monai.errors import InputError

SCOPES = ("decoder", "head", "all")


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The layers that adapters go into.

    Args:
        targets: full names of the layers to adapt, in the order of `named_modules()`.
        scope: `decoder` (the head belongs to it), `head`, `all` or the regular expression that chose them.
        scope_weights: number of weights in the scope.
        covered_weights: number of weights in `targets`.
        skipped: what in the scope takes no adapter, as `(kind of layer, number of weights)`.
    """

    targets: tuple[str, ...]
    scope: str
    scope_weights: int
    covered_weights: int
    skipped: tuple[tuple[str, int], ...]

    @property
    def coverage(self) -> str:
        """One line: which share of the scope's weights lies in adapted layers, and what was skipped."""
        share = self.covered_weights / max(self.scope_weights, 1)
        skipped = ", ".join(f"{kind} ({count:,} weights)" for kind, count in self.skipped) or "nothing"
        layers = "layer" if len(self.targets) == 1 else "layers"
        return (
            f"adapters in {len(self.targets)} {layers} hold {share:.1%} of the {self.scope_weights:,} weights of "
            f"'{self.scope}'; skipped: {skipped}"
        )


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """Where the parts of a network are.

    Args:
        decoder: name prefixes of the decoder's layers, including the head. For a classifier: the last stage and the
            head.
        head: name of the layer that computes the logits.
        features: name of the module that gives the features: the last encoder stage, or what a classifier pools.
        idle: name prefixes of layers that do not affect the logits of a frozen network, such as deep supervision heads.
            They take no adapter, since it would never learn.
    """

    decoder: tuple[str, ...]
    head: str
    features: str
    idle: tuple[str, ...] = ()


def place(network: nn.Module, scope: str = "decoder") -> Placement:
    """Find the convolutions and linear layers of `network` that take an adapter.

    Args:
        network: a network without adapters.
        scope: `decoder` (upsampling path and head; in a classifier the last stage and head), `head` (the layer that
            computes the logits), `all` (every convolution and linear layer), or a regular expression that is matched
            against full layer names.

    Raises:
        InputError: if the network's decoder is not known, or nothing matches; the candidates are listed.

    Source:
        *Erase to Retain* (arXiv 2511.16574, section 5.2): "decoder convolutions and segmentation head". Its released
        code adapts every Conv2d instead, which is `all` here. Transposed convolutions are ours: a MONAI `UNet` decoder
        holds most of its weights in them. So are linear layers: transformers and classifiers have little else.

    Example:
        >>> net = nets.UNet(spatial_dims=2, in_channels=1, out_channels=1, channels=(4, 8), strides=(2,))
        >>> place(net).targets
        ('model.2.conv',)
    """
    in_scope = _scope(network, scope)
    targets = tuple(name for name in _adaptable(network) if in_scope(name))
    if not targets:
        raise InputError(
            f"scope={scope!r} matches no convolution or linear layer of {type(network).__name__}; use one of "
            f"{', '.join(SCOPES)} or a regular expression (--lora-targets REGEX) over these layers: {_listed(network)}"
        )
    skipped: dict[str, int] = {}
    scope_weights = 0
    for name, kind, count in _weights_by_layer(network):
        if in_scope(name):
            scope_weights += count
            if name not in targets:
                skipped[kind] = skipped.get(kind, 0) + count
    covered = scope_weights - sum(skipped.values())
    return Placement(
        targets=targets,
        scope=scope,
        scope_weights=scope_weights,
        covered_weights=covered,
        skipped=tuple(skipped.items()),
    )


def capacity(layer: nn.Module) -> int:
    r"""The largest rank that the update of a layer's weight can have; a LoRA rank above it is wasted.

    .. math:: \min(C_{out}, \; C_{in} / g \cdot \prod k)

    The groups `g` of a transposed convolution divide its output channels as well, as its factors are split by group.

    Args:
        layer: a convolution or linear layer that takes adapters.

    Example:
        >>> capacity(nn.Conv2d(16, 1, 3)), capacity(nn.Conv2d(2, 64, 1)), capacity(nn.Linear(512, 9))
        (1, 2, 9)
    """
    weight: Any = layer.weight
    if isinstance(layer, _ConvTransposeNd):
        return min(weight.shape[1], weight[:, 0].numel() // layer.groups)
    return min(weight.shape[0], weight[0].numel())


def head(network: nn.Module) -> str:
    """Name of the layer that computes the logits.

    Raises:
        InputError: if the network is not known, or was built without a head.
    """
    return _existing(network, anatomy(network).head, "head")


def feature_layer(network: nn.Module) -> str:
    """Name of the module whose output is the last encoder stage or, in a classifier, what is pooled.

    The output is `(B, C, H, W[, D])`, or `(B, tokens, C)` if it comes from a transformer.

    Raises:
        InputError: if the network is not known.
    """
    return _existing(network, anatomy(network).features, "feature layer")


def anatomy(network: nn.Module) -> Anatomy:
    """Where the parts of `network` are, by the first entry of `NETWORKS` that it is an instance of.

    Raises:
        InputError: if there is no such entry; the layers to choose from are listed.
    """
    known = _find(network)
    if known is None:
        raise InputError(
            f"the decoder of {type(network).__name__} is not known (known: {', '.join(k.__name__ for k in NETWORKS)}); "
            f"give scope 'all' or a regular expression (--lora-targets REGEX) over these layers: {_listed(network)}"
        )
    return known


def _find(network: nn.Module) -> Anatomy | None:
    return next((find(network) for kind, find in NETWORKS.items() if isinstance(network, kind)), None)


def _existing(network: nn.Module, name: str, part: str) -> str:
    if name not in dict(network.named_modules()):
        raise InputError(
            f"this {type(network).__name__} was built without its {part}, '{name}'; build it with one, or give scope "
            f"'all' or a regular expression (--lora-targets REGEX) over these layers: {_listed(network)}"
        )
    return name


def _scope(network: nn.Module, scope: str) -> Callable[[str], bool]:
    if scope == "all":
        return lambda name: True
    if scope == "head":
        last = head(network)
        return lambda name: name == last
    if scope == "decoder":
        prefixes = anatomy(network).decoder
        return lambda name: name.startswith(prefixes)
    try:
        pattern = re.compile(scope)
    except re.error as error:
        raise InputError(
            f"scope={scope!r} is neither one of {', '.join(SCOPES)} nor a valid regular expression: {error}"
        ) from error
    return lambda name: pattern.fullmatch(name) is not None


def _adaptable(network: nn.Module) -> list[str]:
    """Layers that can take an adapter; not torch's attention, which reads its linear layer's weights directly."""
    known = _find(network)
    idle, tied = known.idle if known else (), tied_weights(network)
    return [
        name
        for name, module in network.named_modules()
        if is_plain(module)
        and not isinstance(module, NonDynamicallyQuantizableLinear)
        and name  # a bare layer has no parent to put the adapter into
        and not name.startswith(idle)
        and not any(f"{name}.{weight}" in tied for weight, _ in module.named_parameters(recurse=False))
    ]


def is_plain(module: nn.Module) -> bool:
    """Whether a layer is a convolution or linear layer that does with its own weight what torch's does.

    An adapter runs the layer with another weight. A layer with a `forward` of its own, which pads the image or
    standardizes the weight, would become another layer by that, and a weight that is computed from others, as with
    `weight_norm`, has no place for the adapted one.

    Example:
        >>> is_plain(nn.Conv2d(1, 1, 3)), is_plain(nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 1, 3)))
        (True, False)
    """
    kind: Any = next((kind for kind in ADAPTABLE if isinstance(module, kind)), None)
    if kind is None or computes_weights(module):
        return False
    return all(getattr(type(module), name, None) is getattr(kind, name, None) for name in ("forward", "_conv_forward"))


def computes_weights(module: nn.Module) -> bool:
    """Whether a layer's weight is not a parameter, but computed from others.

    Example:
        >>> computes_weights(nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2))), computes_weights(nn.ReLU())
        (True, False)
    """
    return is_parametrized(module) or (isinstance(module, tuple(ADAPTABLE)) and "weight" not in module._parameters)


def tied_weights(network: nn.Module) -> set[str]:
    """The names of weights and statistics that several layers share, or that one layer uses at several places.

    A layer within a part that has several names, as in MONAI's DynUNet, is at one place: within that part.

    Example:
        >>> layer = nn.Linear(2, 2, bias=False)
        >>> sorted(tied_weights(nn.Sequential(layer, nn.ReLU(), layer)))
        ['0.weight', '2.weight']
    """
    places: dict[int, list[str]] = {}
    held: dict[int, list[str]] = {}  # of each module, what its own tensors are called
    for name, module in network.named_modules():
        tensors: dict[str, Any] = {**module._parameters, **module._buffers}
        held[id(module)] = [f".{key}" for key, value in tensors.items() if value is not None]
        for key, value in {**module._modules, **tensors}.items():
            if value is not None:
                places.setdefault(id(value), []).append(f"{name}.{key}".lstrip("."))
    several = [(each, names) for each, names in places.items() if len(names) > 1]
    return {f"{name}{key}" for each, names in several for name in names for key in held.get(each, [""])}


def _listed(network: nn.Module) -> str:
    return ", ".join(_adaptable(network)) or "(no layer can take an adapter)"


def _unet(network: Any) -> Anatomy:
    """Nests `Sequential(down, SkipConnection(inner), up)`; every `up` belongs to the decoder."""
    name, ups = "model", []
    while (
        isinstance(level := network.get_submodule(name), nn.Sequential)
        and len(level) == 3
        and hasattr(level[1], "submodule")
    ):
        ups.append(f"{name}.2.")
        name += ".1.submodule"
        if isinstance(level[1].submodule, ActivationCheckpointWrapper):
            name += ".module"
    last = [n for n, m in network.get_submodule("model.2").named_modules() if isinstance(m, tuple(ADAPTABLE))][-1]
    return Anatomy(decoder=tuple(ups), head=f"model.2.{last}", features=name)


def _attention_unet(network: Any) -> Anatomy:
    """Nests `AttentionLayer(attention, upconv, merge, submodule)`; all but `submodule` belongs to the decoder."""
    name, ups = "model.1", ["model.2."]
    while hasattr(level := network.get_submodule(name), "upconv"):
        ups += [f"{name}.{part}." for part in ("attention", "upconv", "merge")]
        name += ".submodule.1" if isinstance(level.submodule, nn.Sequential) else ".submodule"
    return Anatomy(decoder=tuple(ups), head="model.2.conv", features=name)


def _flexible_unet(network: Any) -> Anatomy:
    """Its EfficientNet encoders keep a classifier that they do not use."""
    efficient = isinstance(network.encoder, nets.EfficientNetBNFeatures)
    return Anatomy(
        decoder=("decoder.", "segmentation_head."),
        head="segmentation_head.0",
        features=f"encoder._blocks.{len(network.encoder._blocks) - 1}" if efficient else "encoder.layer4",
        idle=("encoder._conv_head", "encoder._fc"),
    )


def _seg_res_net(network: Any) -> Anatomy:
    idle = ("vae_",) if network.use_conv_final else ("vae_", "conv_final.")  # the auto-encoder acts in training only
    decoder = ("up_layers.", "up_samples.", "conv_final.")
    features = f"down_layers.{len(network.down_layers) - 1}"
    return Anatomy(decoder=decoder, head="conv_final.2.conv", features=features, idle=idle)


def _dense_net(network: Any) -> Anatomy:
    blocks = sum(name.startswith("denseblock") for name in dict(network.features.named_children()))
    decoder = (f"features.denseblock{blocks}.", "features.norm5", "class_layers.")
    return Anatomy(decoder=decoder, head="class_layers.out", features="features")


def _efficient_net(network: Any) -> Anatomy:
    last = f"_blocks.{len(network._blocks) - 1}."
    return Anatomy(decoder=(last, "_conv_head", "_bn1", "_fc"), head="_fc", features="_bn1")


def _vit(network: Any) -> Anatomy:
    activated = isinstance(getattr(network, "classification_head", None), nn.Sequential)
    return Anatomy(
        decoder=(f"blocks.{len(network.blocks) - 1}.", "norm", "classification_head"),
        head="classification_head.0" if activated else "classification_head",
        features="norm",
    )


def _fixed(decoder: tuple[str, ...], head: str, features: str, idle: tuple[str, ...] = ()) -> Callable[[Any], Anatomy]:
    """For a network that always uses the same names."""
    known = Anatomy(decoder=decoder, head=head, features=features, idle=idle)
    return lambda network: known


NETWORKS: dict[type[nn.Module], Callable[[Any], Anatomy]] = {
    nets.UNet: _unet,
    nets.BasicUNet: _fixed(("upcat_", "final_conv"), "final_conv", "down_4"),
    nets.DynUNet: _fixed(
        ("upsamples.", "output_block."), "output_block.conv.conv", "bottleneck", ("deep_supervision_heads.",)
    ),
    nets.AttentionUnet: _attention_unet,
    nets.SegResNet: _seg_res_net,
    nets.UNETR: _fixed(("decoder", "out."), "out.conv.conv", "vit.norm"),
    nets.SwinUNETR: _fixed(("decoder", "out."), "out.conv.conv", "encoder10"),
    nets.VNet: _fixed(("up_tr", "out_tr."), "out_tr.conv2", "down_tr256"),
    nets.FlexibleUNet: _flexible_unet,
    nets.DenseNet: _dense_net,
    nets.ResNet: _fixed(("layer4.", "fc"), "fc", "layer4"),
    nets.EfficientNet: _efficient_net,
    nets.ViT: _vit,
}


def _weights_by_layer(network: nn.Module) -> Iterator[tuple[str, str, int]]:
    for name, module in network.named_modules():
        count = sum(parameter.numel() for parameter in module.parameters(recurse=False))
        if count:
            yield name, type(module).__name__, count
