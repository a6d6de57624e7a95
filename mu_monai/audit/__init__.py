"""The audit: from score tables to records with bootstrap intervals over patients."""

from __future__ import annotations

from mu_monai.audit.attacks import attack_records, attack_sentences, broken
from mu_monai.audit.bootstrap import Interval, Sample, independent_gap, mean_interval, paired_gap
from mu_monai.audit.classwise import ResampledF1
from mu_monai.audit.closeness import closeness_records, klom_note, klom_records
from mu_monai.audit.comebacks import Comeback, came_back, loss_membership
from mu_monai.audit.decision import plane, shown_cases
from mu_monai.audit.depth import depth_records
from mu_monai.audit.distance import cka_interval, distance_records
from mu_monai.audit.membership import membership_notes, membership_records
from mu_monai.audit.patients import patient_table
from mu_monai.audit.records import Record, records_table, utility_records
from mu_monai.audit.residual import residual_records
from mu_monai.audit.shadow import LEAST_SHADOWS, SHADOW, shadow_notes, shadow_records
from mu_monai.audit.subgroups import case_groups, subgroup_table
from mu_monai.audit.verdicts import Verdict, verdict

__all__ = [
    "LEAST_SHADOWS",
    "SHADOW",
    "Comeback",
    "Interval",
    "Record",
    "ResampledF1",
    "Sample",
    "Verdict",
    "attack_records",
    "attack_sentences",
    "broken",
    "came_back",
    "case_groups",
    "cka_interval",
    "closeness_records",
    "depth_records",
    "distance_records",
    "independent_gap",
    "klom_note",
    "klom_records",
    "loss_membership",
    "mean_interval",
    "membership_notes",
    "membership_records",
    "paired_gap",
    "patient_table",
    "plane",
    "records_table",
    "residual_records",
    "shadow_notes",
    "shadow_records",
    "shown_cases",
    "subgroup_table",
    "utility_records",
    "verdict",
]
