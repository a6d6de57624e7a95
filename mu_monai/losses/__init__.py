"""The terms of the unlearning objectives, one module each, named after the term."""

from mu_monai.losses.background import Background
from mu_monai.losses.distillation import DIRECTIONS, Distillation
from mu_monai.losses.entropy import Entropy
from mu_monai.losses.forgetting import FORGET_TERMS, ForgetTerm, contradictions, unrestrictable
from mu_monai.losses.guard import Guard
from mu_monai.losses.hinge import Hinge
from mu_monai.losses.label_flip import LabelFlip
from mu_monai.losses.mean_probability import MeanProbability
from mu_monai.losses.one_hot import OneHotTargets
from mu_monai.losses.outcomes import log_probabilities
from mu_monai.losses.places import answered, at_places, labeled, over_places
from mu_monai.losses.random_label import RandomLabel
from mu_monai.losses.repulsion import Repulsion
from mu_monai.losses.teacher_contradiction import TeacherContradiction
from mu_monai.losses.total_variation import TotalVariation
from mu_monai.losses.uniform import Uniform

__all__ = [
    "DIRECTIONS",
    "FORGET_TERMS",
    "Background",
    "Distillation",
    "Entropy",
    "ForgetTerm",
    "Guard",
    "Hinge",
    "LabelFlip",
    "MeanProbability",
    "OneHotTargets",
    "RandomLabel",
    "Repulsion",
    "TeacherContradiction",
    "TotalVariation",
    "Uniform",
    "answered",
    "at_places",
    "contradictions",
    "labeled",
    "log_probabilities",
    "over_places",
    "unrestrictable",
]
