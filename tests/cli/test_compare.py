"""The command `compare`, from its words to what it prints."""

from pathlib import Path

from mu_monai import workflow
from mu_monai.files import write_json


def test_all_options_reach_the_comparison(mu_monai, monkeypatch, tmp_path):
    given, file = {}, tmp_path / "comparison.json"
    write_json(file, {"rows": [{"status": "finished"}]})
    monkeypatch.setattr(workflow, "compare", lambda bundle, **rest: given.update(rest, bundle=bundle) or file)
    monkeypatch.setattr(workflow, "comparison_summary", lambda file: "said")
    words = "--methods scrub,npo --seeds 0,2 --trials 4 --reference r1 --reference r2 --cache c --attacks int8,int4"
    more = "--set max_epochs=1 --overlay paper_size --device cpu --workers ray:a:1 --gpus-per-job 0.25 --quiet"
    places = ["--split", "s.json", "--teacher", "t", "--out", "o"]
    code, said, error = mu_monai("compare", "isic", *places, *words.split(), *more.split())
    assert (code, error) == (0, "")
    assert said == f"said\ncomparison: {tmp_path / 'index.html'}\n"
    assert given["options"] == workflow.CompareOptions(
        methods=["scrub", "npo"],
        seeds=[0, 2],
        trials=4,
        references=[Path("r1"), Path("r2")],
        cache=Path("c"),
        attacks=["int8", "int4"],
        settings=["max_epochs=1"],
        overlays=["paper_size"],
        device="cpu",
        workers="ray:a:1",
        gpus_per_job=0.25,
    )
    assert given["bundle"] == "isic"
    assert [given[name].name for name in ("split", "teacher", "out")] == ["s.json", "t", "o"]


def test_a_method_that_failed_makes_the_exit_code_1_and_is_named(mu_monai, monkeypatch, tmp_path):
    failed = {"label": "npo", "seed": 1, "status": "failed", "reason": "the loss is not finite"}
    write_json(tmp_path / "comparison.json", {"rows": [{"status": "finished"}, failed]})
    monkeypatch.setattr(workflow, "compare", lambda bundle, **options: tmp_path / "comparison.json")
    monkeypatch.setattr(workflow, "comparison_summary", lambda file: "said")
    code, _, error = mu_monai("compare", "isic", "--split", "s.json", "--teacher", "t", "--out", "o")
    assert (code, error) == (1, "failed: npo, seed 1: the loss is not finite\n")


def test_who_interrupts_is_told_how_it_goes_on(mu_monai, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(workflow, "compare", interrupt)
    monkeypatch.setattr(workflow, "train", interrupt)
    code, _, error = mu_monai("compare", "isic", "--split", "s.json", "--teacher", "t", "--out", "o")
    assert (code, error.count("the same command"), error.count("--resume")) == (130, 1, 0)
    assert "--resume" in mu_monai("train", "isic", "--out", "compare")[2]


def test_seeds_are_numbers(mu_monai):
    code, _, error = mu_monai("compare", "isic", "--split", "s", "--teacher", "t", "--out", "o", "--seeds", "0,one")
    assert code == 2
    assert "--seeds 0,one is not a list of whole numbers" in error


def test_a_comparison_from_words_to_page(mu_monai, phantom_splits, teachers, tmp_path):
    places = ["--split", phantom_splits["isic"], "--teacher", teachers["isic"], "--out", tmp_path / "out"]
    quick = ["--methods", "gradient-ascent", "--trials", "1", "--set", "max_epochs=1", "--set", "epoch_length=1"]
    code, said, _ = mu_monai("compare", "isic", *places, *quick, "--device", "cpu", "--quiet")
    assert code == 0
    assert [line.split()[0] for line in said.splitlines()] == [
        "label",
        "teacher",
        "retrained",
        "gradient-ascent",
        "comparison:",
    ]
    assert (tmp_path / "out" / "index.html").is_file()
