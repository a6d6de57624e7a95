from dataclasses import replace

import pytest
from typer.testing import CliRunner

from mu_monai.cli import app
from mu_monai.errors import InputError
from mu_monai.files import read_json
from mu_monai.workflow import demo
from mu_monai.workflow.demonstrating import _JOBS

TINY = {
    "lesions": ("network_def#channels=[4, 8]", "network_def#strides=[2]", "image_size=[16, 16]"),
    "volumes": (
        *("network_def#channels=[4, 8]", "network_def#strides=[2]"),
        *("spacing=[6.0, 6.0, 8.0]", "patch_size=[16, 16, 16]"),
    ),
}


@pytest.mark.parametrize(("options", "kind"), [([], "lesions"), (["--volume"], "volumes")])
def test_the_demo_goes_from_phantoms_to_a_report(options, kind, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", logger="mu_monai")
    job = _JOBS[kind]
    short = replace(job, patients=7, training=(*job.training, *TINY[kind], "max_epochs=2"))
    monkeypatch.setitem(_JOBS, kind, short)
    out = tmp_path / "demo"
    result = CliRunner().invoke(app, ["demo", *options, "--quiet", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert f"report: {out / 'report' / 'index.html'}" in result.output.replace("\n", "")
    records = {run: read_json(out / "runs" / run / "run.json") for run in ("teacher", "retrained", "unlearned")}
    assert [record["role"] for record in records.values()] == ["teacher", "retrained", "student"]
    assert {record["bundle"]["name"] for record in records.values()} == {job.bundle}
    passes = [records[run]["cost"]["passes"] for run in ("unlearned", "retrained")]
    assert passes[0] <= job.budget * records["teacher"]["cost"]["passes"]
    assert f"{passes[0] / passes[1]:.1%} of retraining" in caplog.text
    assert "after attacks, each at its worst: AUC of the loss, student (retrained)" in caplog.text
    share = f"{100 * records['unlearned']['cost']['share']:.1f} %"
    assert share in (out / "report" / "index.html").read_text(encoding="utf-8")


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InputError, match="exists and is not empty; give another --out or remove it"):
        demo(out=tmp_path, volume=True)
