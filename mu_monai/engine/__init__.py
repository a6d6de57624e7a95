"""What runs around MONAI's trainer: seeds, scores, curve, checkpoints and the run folder."""

from mu_monai.engine.cost import PassCount, count_of, uncounted
from mu_monai.engine.curve import record_term
from mu_monai.engine.divided import DividedLoader
from mu_monai.engine.handlers import Progress, Reseed, StopOnNonFinite, seeded
from mu_monai.engine.milestones import Milestones
from mu_monai.engine.mixed_precision import MixedPrecision
from mu_monai.engine.places import own_folder
from mu_monai.engine.predict import ScoreSubsets, predict_scores
from mu_monai.engine.replicas import Replicas
from mu_monai.engine.run import RunFolder
from mu_monai.engine.schedule import OneCycle
from mu_monai.engine.shards import TakeShards
from mu_monai.engine.start_from import StartFrom
from mu_monai.engine.stop_at_reference import ReferenceWatch, StopAtReference
from mu_monai.engine.warnings import warn

__all__ = [
    "DividedLoader",
    "Milestones",
    "MixedPrecision",
    "OneCycle",
    "PassCount",
    "Progress",
    "ReferenceWatch",
    "Replicas",
    "Reseed",
    "RunFolder",
    "ScoreSubsets",
    "StartFrom",
    "StopAtReference",
    "StopOnNonFinite",
    "TakeShards",
    "count_of",
    "own_folder",
    "predict_scores",
    "record_term",
    "seeded",
    "uncounted",
    "warn",
]
