"""Federations in NVFlare's simulator; skipped where NVFlare is not installed."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from mu_monai.adapters import read_weights, weights_sha256
from mu_monai.runs.federation import Round, read_federation

nvflare = pytest.importorskip("nvflare", reason="NVFlare is not installed: pip install 'mu-monai[federated]'")
from nvflare.app_common.abstract.fl_model import FLModel  # noqa: E402 - where it is installed

from mu_monai.workflow.federation.flare.server import answer_error, average  # noqa: E402


@pytest.mark.end_to_end
def test_three_sites_train_one_leaves_and_going_back_is_exact(tmp_path):
    command = [sys.executable, "-m", "mu_monai", "federation", "demo", "--out", str(tmp_path / "a demo")]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    routes = ["training", "rewind", "distil", "unlearn", "retraining"]
    made = {name: read_federation(tmp_path / "a demo" / name) for name in routes}
    assert all(federation.finished for federation in made.values())
    assert made["rewind"].weights == made["retraining"].weights  # bit for bit
    assert len({federation.weights for federation in made.values()}) == 4
    assert {len(federation.numbers) for federation in made.values()} == {3}  # the site that left measures, too
    assert sum(each.bytes for each in made["rewind"].training) < sum(each.bytes for each in made["retraining"].training)
    left = {name: sorted(path.name for path in (tmp_path / "a demo" / name).rglob("*.safetensors")) for name in routes}
    assert "round-0004.safetensors" in left["retraining"]
    assert "round-0004.safetensors" not in left["distil"] + left["unlearn"]  # those that knew the site
    assert "teacher.safetensors" not in left["distil"]
    for name in routes:
        assert name in done.stdout
        for file in (tmp_path / "a demo" / name / "rounds").iterdir():
            number = int(file.stem.removeprefix("round-"))
            assert made[name].models[str(number)] == weights_sha256(read_weights(file))
        assert made[name].weights == made[name].models[str(made[name].training[-1].number)]
    assert [*made["training"].models] == [*made["rewind"].models] == ["0", "1", "2", "3", "4"]
    assert "revoke its certificate" in done.stderr


def answered(weights, cases, stamp=("isic", "0.1.0", "code", "configs")):
    return FLModel(params=weights, meta={"cases": cases, "stamp": list(stamp)})


def test_the_average_is_weighted_by_cases_and_keeps_types():
    sent = {"weight": np.zeros(2, np.float32), "count": np.array(5)}
    answers = {
        "north": answered({"weight": np.ones(2, np.float32), "count": np.array(8)}, cases=3),
        "south": answered({"weight": np.full(2, 5, np.float32), "count": np.array(9)}, cases=1),
    }
    found = average(sent, answers, 1)
    assert found["weight"].tolist() == [2, 2]
    assert (found["weight"].dtype, found["count"].dtype, found["count"].shape) == (np.float32, np.int64, ())
    assert found["count"] == 8


def test_a_site_that_answers_with_another_bundle_ends_the_job(trained):
    federation = replace(read_federation(trained), version="0.1.0", code="code", configs="configs")
    work = Round(number=1, task="train", sites=("north", "south"))
    right, wrong = answered({}, 1), answered({}, 1, ("isic", "0.0.9", "code", "configs"))
    assert answer_error(federation, work, {"north": right, "south": right}) is None
    assert "site 'south' answered with the bundle isic 0.0.9" in str(
        answer_error(federation, work, {"north": right, "south": wrong})
    )
    other = answered({}, 1, ("isic", "0.1.0", "code", "other"))
    assert "or with other code or configs in it" in str(
        answer_error(federation, work, {"north": right, "south": other})
    )
    assert str(answer_error(federation, work, {"north": right})) == "no answer in round 1 from south"
