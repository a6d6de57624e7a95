"""Unlearning methods: ignite handlers that turn a MONAI `SupervisedTrainer` into an unlearning run."""

from mu_monai.methods.calibrated_erase_to_retain import CalibratedEraseToRetain
from mu_monai.methods.erase_to_retain import EraseToRetain
from mu_monai.methods.method import UnlearningMethod

METHODS: dict[str, type[UnlearningMethod]] = {
    "erase-to-retain": EraseToRetain,
    "calibrated-erase-to-retain": CalibratedEraseToRetain,
}

__all__ = ["METHODS", "CalibratedEraseToRetain", "EraseToRetain", "UnlearningMethod"]
