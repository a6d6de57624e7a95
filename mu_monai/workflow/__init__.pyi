"""The verbs: each command of `mu-monai` is one function here."""

from .auditing.adopting import adopt
from .auditing.judging import audit
from .auditing.summarizing import audit_summary
from .bundling.checking import check_bundle
from .bundling.creating import new_bundle
from .bundling.inspecting import adopt_bundle, code_of, inspect_bundle
from .comparing.comparing import compare, comparison_summary
from .composing import compose
from .demonstrating import demo
from .evaluating import evaluate
from .handover.releasing import merge, release, revert
from .handover.sealed import released_bundle
from .handover.signing import signed
from .handover.verifying import verify
from .listing_methods import methods
from .listing_milestones import milestones
from .listing_networks import networks
from .options import AuditOptions, CompareOptions, ForgetChoice
from .predicting import predict
from .reporting import report
from .sharding.folds import rollback, train_folds
from .sharding.inspecting import shards
from .sharding.refitting import unlearn_exactly
from .sharding.training import train_shards
from .splitting import split
from .summarizing import cost_in_words, summary
from .training import train
from .unlearning import unlearn

__all__ = [
    "AuditOptions",
    "CompareOptions",
    "ForgetChoice",
    "adopt",
    "adopt_bundle",
    "audit",
    "audit_summary",
    "check_bundle",
    "code_of",
    "compare",
    "comparison_summary",
    "compose",
    "cost_in_words",
    "demo",
    "evaluate",
    "inspect_bundle",
    "merge",
    "methods",
    "milestones",
    "networks",
    "new_bundle",
    "predict",
    "release",
    "released_bundle",
    "report",
    "revert",
    "rollback",
    "shards",
    "signed",
    "split",
    "summary",
    "train",
    "train_folds",
    "train_shards",
    "unlearn",
    "unlearn_exactly",
    "verify",
]
