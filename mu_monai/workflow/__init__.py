"""The verbs: each command of `mu-monai` is one function here."""

from mu_monai.workflow.adopt import adopt
from mu_monai.workflow.audit import audit
from mu_monai.workflow.audit_summary import audit_summary
from mu_monai.workflow.compare import compare, comparison_summary
from mu_monai.workflow.compose import compose
from mu_monai.workflow.demo import demo
from mu_monai.workflow.evaluate import evaluate
from mu_monai.workflow.methods import methods
from mu_monai.workflow.networks import networks
from mu_monai.workflow.predict import predict
from mu_monai.workflow.release import merge, release, revert
from mu_monai.workflow.report import report
from mu_monai.workflow.seal import signed
from mu_monai.workflow.split import split
from mu_monai.workflow.summary import summary
from mu_monai.workflow.train import train
from mu_monai.workflow.unlearn import unlearn
from mu_monai.workflow.verify import verify

__all__ = [
    "adopt",
    "audit",
    "audit_summary",
    "compare",
    "comparison_summary",
    "compose",
    "demo",
    "evaluate",
    "merge",
    "methods",
    "networks",
    "predict",
    "release",
    "report",
    "revert",
    "signed",
    "split",
    "summary",
    "train",
    "unlearn",
    "verify",
]
