"""The verbs: each command of `mu-monai` is one function here."""

from mu_monai.workflow.auditing.adopting import adopt
from mu_monai.workflow.auditing.judging import audit
from mu_monai.workflow.auditing.summarizing import audit_summary
from mu_monai.workflow.bundling.checking import check_bundle
from mu_monai.workflow.bundling.creating import new_bundle
from mu_monai.workflow.comparing.comparing import compare, comparison_summary
from mu_monai.workflow.composing import compose
from mu_monai.workflow.demonstrating import demo
from mu_monai.workflow.evaluating import evaluate
from mu_monai.workflow.handover.releasing import merge, release, revert
from mu_monai.workflow.handover.signing import signed
from mu_monai.workflow.handover.verifying import verify
from mu_monai.workflow.listing_methods import methods
from mu_monai.workflow.listing_milestones import milestones
from mu_monai.workflow.listing_networks import networks
from mu_monai.workflow.options import AuditOptions, CompareOptions, ForgetChoice
from mu_monai.workflow.predicting import predict
from mu_monai.workflow.reporting import report
from mu_monai.workflow.splitting import split
from mu_monai.workflow.summarizing import cost_in_words, summary
from mu_monai.workflow.training import train
from mu_monai.workflow.unlearning import unlearn

__all__ = [
    "AuditOptions",
    "CompareOptions",
    "ForgetChoice",
    "adopt",
    "audit",
    "audit_summary",
    "check_bundle",
    "compare",
    "comparison_summary",
    "compose",
    "cost_in_words",
    "demo",
    "evaluate",
    "merge",
    "methods",
    "milestones",
    "networks",
    "new_bundle",
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
