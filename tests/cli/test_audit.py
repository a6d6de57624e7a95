"""The command `audit`, from its words to what it prints."""

from pathlib import Path

from mu_monai import workflow


def test_a_model_that_was_not_unlearned_here_is_audited_without_code(mu_monai, phantom_splits, teachers, tmp_path):
    """A teacher that is taken for the unlearned model: it has forgotten nothing, and few phantoms cannot show it."""
    teacher, out = teachers["isic"], tmp_path / "audited"
    words = ["--weights", teacher, "--teacher", teacher, "--split", phantom_splits["isic"], "--out", out]
    code, said, _ = mu_monai("audit", "isic", *words, "--device", "cpu", "--quiet")
    assert code == 0
    assert said.startswith("CANNOT TELL: ")
    assert f"audit: {out / 'audit.json'}" in said
    assert (out / "run.json").is_file()
    code, said, _ = mu_monai("audit", out, "--seed", "1", "--out", tmp_path / "again.json")
    assert code == 0
    assert f"audit: {tmp_path / 'again.json'}" in said


def test_weights_need_a_split_and_a_folder(mu_monai):
    code, _, error = mu_monai("audit", "isic", "--weights", "model.pt")
    assert code == 2
    assert "needs all of --weights, --split and --out" in error


def test_workers_are_for_shadow_models(mu_monai, phantom_splits, teachers, tmp_path):
    words = ["--weights", teachers["isic"], "--split", phantom_splits["isic"], "--out", tmp_path / "out"]
    code, _, error = mu_monai("audit", "isic", *words, "--workers", "2", "--device", "cpu")
    assert code == 2
    assert "--workers 2 is for shadow models; give --shadows as well, or omit it" in error


def test_all_options_reach_the_audit(mu_monai, monkeypatch):
    given = {}
    monkeypatch.setattr(workflow, "audit", lambda run, **rest: given.update(rest, run=run) or "a.json")
    monkeypatch.setattr(workflow, "audit_summary", lambda file: "said")
    words = "--reference r1 --reference r2 --sibling s --attacks int8,int4 --shadows 4 --pool p --by sex --seed 3"
    more = "--teacher t --device cpu --workers ray:a:1 --gpus-per-job 0.25 --quiet"
    code, said, _ = mu_monai("audit", "run", *words.split(), *more.split())
    assert (code, said) == (0, "said\naudit: a.json\n")
    assert given["options"] == workflow.AuditOptions(
        references=[Path("r1"), Path("r2")],
        siblings=[Path("s")],
        attacks=["int8", "int4"],
        shadows=4,
        pool=Path("p"),
        by=["sex"],
        seed=3,
        device="cpu",
        workers="ray:a:1",
        gpus_per_job=0.25,
        quiet=True,
    )
    assert (given["run"], given["teacher"], given["out"]) == ("run", Path("t"), None)
