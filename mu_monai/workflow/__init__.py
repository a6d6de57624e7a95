"""The verbs: each command of `mu-monai` is one function here."""

from mu_monai.workflow.evaluate import evaluate
from mu_monai.workflow.methods import methods
from mu_monai.workflow.release import merge, revert
from mu_monai.workflow.split import split
from mu_monai.workflow.train import train
from mu_monai.workflow.unlearn import unlearn

__all__ = ["evaluate", "merge", "methods", "revert", "split", "train", "unlearn"]
