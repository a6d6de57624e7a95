"""A bundle of anybody's in shards: forgetting gives the bits of a training without the forgotten, and is released."""

import json

from adopted.shapes import make_bundle
from mu_monai import workflow
from mu_monai.bundle.trust import Trust
from mu_monai.data import open_split, write_split
from mu_monai.data.shards import only
from mu_monai.keys import FORGET, RETAIN, TEST, VALIDATION
from mu_monai.runs import read_record


def test_shards_of_an_adopted_bundle_forget_exactly(tmp_path):
    bundle = make_bundle("rgb_with_focal_loss", tmp_path)
    third = workflow.ForgetChoice(fraction=0.3)
    file = tmp_path / "split.json"
    workflow.split(tmp_path / "data", out=file, from_bundle=bundle, forget=third)
    split = open_split(file)
    cases = split.located
    unseen = {name: cases[name] for name in (VALIDATION, TEST)}
    everybody = write_split(tmp_path / "all.json", only(split, {RETAIN: [*cases[RETAIN], *cases[FORGET]], **unseen}))
    others = write_split(tmp_path / "others.json", only(split, {RETAIN: cases[RETAIN], **unseen}))
    base = bundle / "models" / "model.pt"
    runs = {
        name: workflow.train_shards(
            bundle,
            split=part,
            base=base,
            out=tmp_path / name,
            shards=2,
            settings=["max_epochs=1"],
            quiet=True,
        )
        for name, part in (("with", everybody), ("without", others))
    }
    trust = Trust(bundle=bundle)
    made = workflow.unlearn_exactly(
        bundle, split=file, teacher=runs["with"], out=tmp_path / "exact", quiet=True, trust=trust
    )
    digests = {name: read_record(run).sha256.weights for name, run in {**runs, "exact": made}.items()}
    assert digests["exact"] == digests["without"] != digests["with"]
    released = workflow.release(made, out=tmp_path / "released", trust=trust)
    assert json.loads((released / "release.json").read_text())["weights"]["student"] == digests["exact"]
