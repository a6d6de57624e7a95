"""What runs around MONAI's trainer: seeds, scores, probes, curve, checkpoints and the run folder."""

from mu_monai.engine.curve import record_term
from mu_monai.engine.handlers import Progress, Reseed, StopOnNonFinite
from mu_monai.engine.predict import ScoreSubsets, predict_scores
from mu_monai.engine.probes import Margins, WholeCases, margins, mean_case_loss
from mu_monai.engine.run import RunFolder
from mu_monai.engine.watchdog import RestorationWatch

__all__ = [
    "Margins",
    "Progress",
    "Reseed",
    "RestorationWatch",
    "RunFolder",
    "ScoreSubsets",
    "StopOnNonFinite",
    "WholeCases",
    "margins",
    "mean_case_loss",
    "predict_scores",
    "record_term",
]
