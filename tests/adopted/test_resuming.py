"""A bundle of anybody's under commands that are killed and go on."""

from __future__ import annotations

import json

import torch

from adopted.shapes import make_bundle
from mu_monai import workflow
from mu_monai.bundle.trust import Trust


def test_a_composition_without_scores_is_scored_with_the_files_of_the_bundle(tmp_path):
    """The network is built from one of them, which is only found from the user's own folder."""
    bundle, split = make_bundle("rgb_with_focal_loss", tmp_path), tmp_path / "split.json"
    file = bundle / "configs" / "train.json"
    content = json.loads(file.read_text())
    content["net"]["num_res_units"] = "$int(torch.load(@bundle_root + '/models/searched.pt')['units'])"
    file.write_text(json.dumps(content | {"imports": [*content.get("imports", []), "$import torch"]}))
    torch.save({"units": torch.tensor(1)}, bundle / "models" / "searched.pt")
    workflow.split(tmp_path / "data", out=split, from_bundle=bundle, forget=workflow.ForgetChoice(fraction=0.3))
    trust, quick = Trust(bundle=bundle), ["max_epochs=1", "epoch_length=1"]
    runs = [
        workflow.unlearn(
            bundle, split=split, teacher=None, out=tmp_path / method, method=method, settings=quick, quiet=True
        )
        for method in ("retain-fine-tuning", "gradient-ascent")
    ]
    out = workflow.compose(*runs, out=tmp_path / "composed", settings=quick, quiet=True, trust=trust)
    before = (out / "scores.csv").read_bytes()
    (out / "scores.csv").unlink()
    workflow.compose(*runs, out=out, resume=True, quiet=True, trust=trust)
    assert (out / "scores.csv").read_bytes() == before
