"""Means of per-case scores."""

import pandas as pd
import pytest

from mu_monai.metrics import subset_means
from mu_monai.runs.scores import utility_metrics


def test_every_case_counts_once_whatever_its_patient():
    scores = pd.DataFrame(
        {
            "model": ["student"] * 4 + ["teacher"],
            "subset": ["test", "test", "test", "retain", "test"],
            "patient_id": ["a", "a", "b", "c", "a"],
            "case_id": list("12345"),
            "dice": [0.0, 0.3, 0.9, 1.0, 0.5],
            "iou": 0.5,
            "loss": 1.0,
        }
    )
    means = subset_means(scores)
    assert list(zip(means["model"], means["subset"], strict=True)) == [
        ("teacher", "test"),
        ("student", "retain"),
        ("student", "test"),
    ]
    assert means["dice"].tolist() == pytest.approx([0.5, 1.0, 0.4])
    assert means["patients"].tolist() == [1, 1, 2]
    assert means["cases"].tolist() == [1, 1, 3]


def test_a_table_with_accuracy_is_a_classifiers():
    scores = pd.DataFrame(
        {
            "model": "student",
            "subset": ["test", "test", "forget"],
            "patient_id": ["a", "b", "c"],
            "case_id": list("123"),
            "accuracy": [1.0, 0.0, 1.0],
            "loss": [0.5, 1.5, 0.1],
        }
    )
    assert utility_metrics(scores) == ("accuracy", "loss")
    assert utility_metrics(scores.rename(columns={"accuracy": "dice"})) == ("dice", "iou", "loss")
    means = subset_means(scores)
    assert list(means.columns) == ["model", "subset", "patients", "cases", "accuracy", "loss"]
    assert means["subset"].tolist() == ["forget", "test"]
    assert means["accuracy"].tolist() == [1.0, 0.5]
    assert means["loss"].tolist() == [0.1, 1.0]
