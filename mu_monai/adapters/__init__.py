"""LoRA adapters for the convolutions of MONAI networks: where they go, how they act, how they are saved."""

from mu_monai.adapters.arithmetic import summed
from mu_monai.adapters.drift import LayerDrift, clip_drift, layer_drifts, mean_square_drift, total_drift
from mu_monai.adapters.features import captured, pooled
from mu_monai.adapters.first_answer import first_answer
from mu_monai.adapters.lora import LoraConv
from mu_monai.adapters.placement import Placement, place
from mu_monai.adapters.student import RESTORATION, Student, load_student
from mu_monai.adapters.weights import (
    load_models,
    load_weights,
    misfits,
    read_torch,
    read_weights,
    weights_sha256,
    write_tensors,
)

__all__ = [
    "RESTORATION",
    "LayerDrift",
    "LoraConv",
    "Placement",
    "Student",
    "captured",
    "clip_drift",
    "first_answer",
    "layer_drifts",
    "load_models",
    "load_student",
    "load_weights",
    "mean_square_drift",
    "misfits",
    "place",
    "pooled",
    "read_torch",
    "read_weights",
    "summed",
    "total_drift",
    "weights_sha256",
    "write_tensors",
]
