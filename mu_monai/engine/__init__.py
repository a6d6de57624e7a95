"""What runs around MONAI's trainer: seeds, scores, probes, curve, checkpoints and the run folder."""

from mu_monai.engine.curve import record_term
from mu_monai.engine.decision import penultimate_features
from mu_monai.engine.distances import answer_distance, answer_distances, layer_features, randomized, weight_distances
from mu_monai.engine.gradients import case_gradients
from mu_monai.engine.handlers import Progress, Reseed, StopOnNonFinite, seeded
from mu_monai.engine.places import own_folder
from mu_monai.engine.predict import ScoreSubsets, predict_scores
from mu_monai.engine.probes import (
    Apply,
    Margins,
    WholeCases,
    case_losses,
    each_loss,
    margins,
    mean_case_loss,
    patient_losses,
)
from mu_monai.engine.run import RunFolder
from mu_monai.engine.steering import ReferenceWatch
from mu_monai.engine.warnings import warn
from mu_monai.engine.watchdog import RestorationWatch

__all__ = [
    "Apply",
    "Margins",
    "Progress",
    "ReferenceWatch",
    "Reseed",
    "RestorationWatch",
    "RunFolder",
    "ScoreSubsets",
    "StopOnNonFinite",
    "WholeCases",
    "answer_distance",
    "answer_distances",
    "case_gradients",
    "case_losses",
    "each_loss",
    "layer_features",
    "margins",
    "mean_case_loss",
    "own_folder",
    "patient_losses",
    "penultimate_features",
    "predict_scores",
    "randomized",
    "record_term",
    "seeded",
    "warn",
    "weight_distances",
]
