"""All verbs on real photographs, for a few iterations: CHASE_DB1, where the folder is present."""

import json

import pandas as pd
import pytest
import torch

from mu_monai import workflow
from mu_monai.adapters import weights_sha256

SMALL = ["network_def#channels=[8, 16, 32]", "network_def#strides=[2, 2]", "image_size=[64, 64]"]


@pytest.mark.parametrize("observer", ["1stHO", "2ndHO"])
def test_every_verb_on_chase(real_data, tmp_path, observer):
    split = tmp_path / "split.json"
    workflow.split(real_data / "chase_db1", out=split, label_set=observer, forget={"fraction": 0.1})
    counts = json.loads(split.read_text())["provenance"]["counts"]
    assert {name: count["cases"] for name, count in counts.items()} == {
        "retain": 14,
        "forget": 2,
        "validation": 6,
        "test": 6,
    }
    training = {"split": split, "settings": [*SMALL, "max_epochs=3"], "quiet": True}
    teacher = workflow.train("chase", out=tmp_path / "teacher", **training)
    retrained = workflow.train("chase", out=tmp_path / "retrained", subsets=["retain"], **training)
    student = workflow.unlearn(
        "chase", split=split, teacher=teacher, out=tmp_path / "student", settings=["max_epochs=2"], quiet=True
    )
    scores = workflow.evaluate(student)
    assert pd.read_csv(scores).groupby("model").size().to_dict() == {"student": 28, "teacher": 28}
    page = workflow.report([teacher, retrained, student], out=tmp_path / "report").read_text()
    assert "phantom" not in page.lower().replace("built-in phantoms", "")
    workflow.revert(student, out=tmp_path / "teacher.pt")
    workflow.merge(student, out=tmp_path / "student.pt")
    for name, run in (("teacher.pt", teacher), ("student.pt", student)):
        written, kept = (torch.load(path, weights_only=True) for path in (tmp_path / name, run / "model.pt"))
        assert weights_sha256(written) == weights_sha256(kept)
