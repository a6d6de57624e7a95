"""The shared vocabulary: tasks, subset names, model roles, batch keys and the file names of a run folder."""

from __future__ import annotations

SEGMENTATION, CLASSIFICATION = "segmentation", "classification"
TASKS = (SEGMENTATION, CLASSIFICATION)

RETAIN, FORGET, VALIDATION, TEST = "retain", "forget", "validation", "test"
SUBSETS = (RETAIN, FORGET, VALIDATION, TEST)
TRAINING_SUBSETS = (RETAIN, FORGET)

TEACHER, RETRAINED, STUDENT = "teacher", "retrained", "student"
ROLES = (TEACHER, RETRAINED, STUDENT)

IMAGE, LABEL, PRED, LOSS = "image", "label", "pred", "loss"
CASE_ID, PATIENT_ID, SUBSET, MODEL = "case_id", "patient_id", "subset", "model"
PROVENANCE = "provenance"

RUN_JSON, CONFIG_JSON, MODEL_PT, ADAPTER_DIR = "run.json", "config.json", "model.pt", "adapter"
WARNINGS = "warnings"  # the handlers' warnings about a finished run, kept in the engine's state

CURVE_CSV, SCORES_CSV, EXAMPLES_NPZ, CHECKPOINTS_DIR = "curve.csv", "scores.csv", "examples.npz", "checkpoints"
MILESTONES_DIR = "milestones"  # weights after a few epochs of a training
SHARDS_JSON, SHARDS_DIR, BASE_PT = "shards.json", "shards", "base.pt"  # of a model that is an average of adapters
FEDERATION_JSON, ROUNDS_DIR, SITES_DIR = "federation.json", "rounds", "sites"  # of a model of several sites
AUDIT_JSON, DECISION_CSV = "audit.json", "decision.csv"
