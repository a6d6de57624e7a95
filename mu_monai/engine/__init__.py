"""What happens around a MONAI trainer: seeding, the curve, checkpoints, per-case scores and the run folder."""

from mu_monai.engine.curve import record_term
from mu_monai.engine.handlers import Progress, Reseed, StopOnNonFinite
from mu_monai.engine.predict import ScoreSubsets, predict_scores
from mu_monai.engine.run import RunFolder

__all__ = ["Progress", "Reseed", "RunFolder", "ScoreSubsets", "StopOnNonFinite", "predict_scores", "record_term"]
