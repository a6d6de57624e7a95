"""Attacks: what somebody who holds the unlearned model can do to bring the forgotten back."""

from mu_monai.attacks.adapter_removal import AdapterRemoval, has_adapter
from mu_monai.attacks.attack import Attack, AttackData
from mu_monai.attacks.compression import Pruning, Quantization
from mu_monai.attacks.finetuning import Relearning, RetainFinetuning
from mu_monai.attacks.linear_probe import LINEAR_PROBE, PROBE, probe_scores
from mu_monai.attacks.other_side import OtherSide
from mu_monai.attacks.search import Finding, search_folder

ATTACKS: dict[str, Attack] = {
    "relearning": Relearning(),
    "retain-finetuning": RetainFinetuning(),
    "int8": Quantization(bits=8),
    "int4": Quantization(bits=4),
    "pruning-10": Pruning(share=0.1),
    "pruning-30": Pruning(share=0.3),
    "pruning-50": Pruning(share=0.5),
    "mirrored": OtherSide(side="mirrored"),
    "upside-down": OtherSide(side="upside down"),
    "turned": OtherSide(side="turned"),
    "axes-swapped": OtherSide(side="axes swapped"),
    "adapter-removal": AdapterRemoval(),
}
ATTACK_NAMES = (*ATTACKS, LINEAR_PROBE)

__all__ = [
    "ATTACKS",
    "ATTACK_NAMES",
    "LINEAR_PROBE",
    "PROBE",
    "AdapterRemoval",
    "Attack",
    "AttackData",
    "Finding",
    "OtherSide",
    "Pruning",
    "Quantization",
    "Relearning",
    "RetainFinetuning",
    "has_adapter",
    "probe_scores",
    "search_folder",
]
