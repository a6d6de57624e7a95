"""The terms of the unlearning objectives, one module each, named after the term."""

from mu_monai.losses.background import Background
from mu_monai.losses.distillation import Distillation
from mu_monai.losses.guard import Guard

__all__ = ["Background", "Distillation", "Guard"]
