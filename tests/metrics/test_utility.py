"""Means of per-case scores."""

import pandas as pd
import pytest

from mu_monai.metrics import subset_means


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
