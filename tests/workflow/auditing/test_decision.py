"""The audit of a classifier writes the decision picture's table, and that of masks does not."""

from __future__ import annotations

import pandas as pd
import pytest

from mu_monai import workflow
from mu_monai.files import read_json
from mu_monai.runs import open_runs


@pytest.fixture(scope="module")
def retrained(tmp_path_factory, phantom_splits, teachers):
    def train(bundle):
        config = read_json(teachers[bundle] / "config.json")
        settings = [f"network_def#{key}={config['network_def'][key]}" for key in ("layers", "block_inplanes")]
        return workflow.train(
            bundle,
            split=phantom_splits[bundle],
            out=tmp_path_factory.mktemp("retrained") / "run",
            subsets=["retain"],
            settings=[*settings, "image_size=[32, 32]", "max_epochs=1"],
            quiet=True,
        )

    return train


def test_every_model_has_a_plane_with_all_forget_cases(unlearned, retrained, tmp_path):
    run = unlearned("isic_classification")
    reference = retrained("isic_classification")
    options = workflow.AuditOptions(references=[reference], n_resamples=20)
    content = read_json(workflow.audit(run, out=tmp_path / "a.json", options=options))
    assert content["decision"] == {"file": "decision.csv"}
    table = pd.read_csv(tmp_path / "decision.csv")
    scores = open_runs([run, reference]).scores
    assert list(table.columns) == ["model", "subset", "case_id", "x", "y", "label", "predicted"]
    assert set(table["model"]) == {"teacher", "retrained", "student"}
    assert len(table) == len(scores)  # few enough to be shown all
    both = table.merge(scores, on=["model", "case_id"], suffixes=("", "_scored"))
    for name in ("subset", "label", "predicted"):
        assert (both[name] == both[f"{name}_scored"]).all()
    assert table.groupby("model")[["x", "y"]].std().gt(0).all(axis=None)
    workflow.audit(run, out=tmp_path / "b" / "audit.json", options=options)
    again = pd.read_csv(tmp_path / "b" / "decision.csv")
    pd.testing.assert_frame_equal(again, table)
