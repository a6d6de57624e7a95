"""What is measured on networks and their answers: scores, signals, distances, features, gradients and examples."""

from mu_monai.measure.connectivity import linear_barrier
from mu_monai.measure.decision import penultimate_features
from mu_monai.measure.distances import answer_distance, answer_distances, layer_features, randomized, weight_distances
from mu_monai.measure.gradients import case_gradients
from mu_monai.measure.perturbed import perturbed_scores
from mu_monai.measure.probes import (
    Apply,
    Margins,
    WholeCases,
    case_losses,
    each_loss,
    margins,
    mean_case_loss,
    patient_losses,
)

__all__ = [
    "Apply",
    "Margins",
    "WholeCases",
    "answer_distance",
    "answer_distances",
    "case_gradients",
    "case_losses",
    "each_loss",
    "layer_features",
    "linear_barrier",
    "margins",
    "mean_case_loss",
    "patient_losses",
    "penultimate_features",
    "perturbed_scores",
    "randomized",
    "weight_distances",
]
