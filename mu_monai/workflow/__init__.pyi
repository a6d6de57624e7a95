"""The verbs: each command of `mu-monai` is one function here."""

from .auditing.adopting import adopt
from .auditing.judging import audit
from .auditing.summarizing import audit_summary
from .bundling.checking import check_bundle
from .bundling.creating import new_bundle
from .bundling.executing import code_of
from .bundling.inspecting import adopt_bundle, inspect_bundle
from .comparing.comparing import compare, comparison_summary
from .composing import compose
from .demonstrating import demo
from .evaluating import evaluate
from .federation.comparing import compare_federations
from .federation.demonstrating import demo_federation
from .federation.forgetting import forget_site
from .federation.training import train_federation
from .handover.releasing import merge, release, revert
from .handover.sealed import released_bundle
from .handover.signing import signed
from .handover.verifying import verify
from .listing_methods import methods
from .listing_milestones import milestones
from .listing_networks import networks
from .options import AuditOptions, CompareOptions, ForgetChoice, RequestOptions
from .predicting import predict
from .reporting import report
from .requests.adding import add_request
from .requests.answering import answer_requests, plan_requests
from .requests.checking import verify_requests
from .requests.listing import answer_summary, request_status
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
    "RequestOptions",
    "add_request",
    "adopt",
    "adopt_bundle",
    "answer_requests",
    "answer_summary",
    "audit",
    "audit_summary",
    "check_bundle",
    "code_of",
    "compare",
    "compare_federations",
    "comparison_summary",
    "compose",
    "cost_in_words",
    "demo",
    "demo_federation",
    "evaluate",
    "forget_site",
    "inspect_bundle",
    "merge",
    "methods",
    "milestones",
    "networks",
    "new_bundle",
    "plan_requests",
    "predict",
    "release",
    "released_bundle",
    "report",
    "request_status",
    "revert",
    "rollback",
    "shards",
    "signed",
    "split",
    "summary",
    "train",
    "train_federation",
    "train_folds",
    "train_shards",
    "unlearn",
    "unlearn_exactly",
    "verify",
    "verify_requests",
]
