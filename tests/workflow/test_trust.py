"""A run folder may come from anybody: whatever stands in it, no command executes it."""

import json
import shutil
import sys
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigWorkflow

from mu_monai import workflow
from mu_monai.bundle import open_bundle, shipped_bundles
from mu_monai.bundle.trust import STRANGER, Trust, inherited, is_plain, literal_problems
from mu_monai.errors import InputError
from mu_monai.files import file_sha256, read_json
from mu_monai.runs import RunRecord, file_digests, write_record
from mu_monai.runs.record import MadeWith

pytestmark = pytest.mark.no_cover  # every line that runs here is measured where it has tests of its own

ISIC = open_bundle("isic")
CODE = "$__import__('tripwire')"
COMPONENT = {"_target_": "tripwire.Component"}


@pytest.fixture
def tripwire(tmp_path, monkeypatch):
    """A module that leaves a file behind when anybody imports it; gives the path of that file."""
    place, trace = tmp_path / "modules", tmp_path / "executed"
    place.mkdir()
    (place / "tripwire.py").write_text(f"open({str(trace)!r}, 'w').close()\nclass Component: pass\n")
    monkeypatch.syspath_prepend(str(place))
    yield trace
    sys.modules.pop("tripwire", None)


def changed(**ids):
    """A payload that sets ids of `config.json`; nested ones by `::`."""

    def plant(run: Path) -> None:
        config = read_json(run / "config.json")
        for key, value in ids.items():
            *parents, last = key.split("::")
            level = config
            for parent in parents:
                level = level[int(parent) if isinstance(level, list) else parent]
            level[int(last) if isinstance(level, list) else last] = value
        (run / "config.json").write_text(json.dumps(config))

    return plant


def recorded(change):
    """A payload that changes the content of `run.json`."""

    def plant(run: Path) -> None:
        record = read_json(run / "run.json")
        change(record, run)
        (run / "run.json").write_text(json.dumps(record))

    return plant


def setting(**values):
    return recorded(lambda record, run: record["method"]["settings"].update(values))


def macro(target):
    def plant(run: Path) -> None:
        (run / "other.json").write_text(json.dumps({"evil": CODE, "part": COMPONENT}))
        changed(**{target: f"%{run / 'other.json'}::evil"})(run)

    return plant


def evil_bundle(record, run, *, name="evil"):
    """A bundle that came along with the run, and holds the code."""
    folder = run / "bundle"
    shutil.copytree(shipped_bundles()["isic"], folder, ignore=shutil.ignore_patterns("models"))
    for file in (folder / "configs").glob("*.json"):
        content = read_json(file)
        if "network_def" in content:
            content |= {
                "network_def": CODE,
                "loss": CODE,
                "transforms": CODE,
                "preprocessing": CODE,
                "bundle_name": name,
            }
        file.write_text(json.dumps(content))
    record["bundle"] |= {"root": str(folder), "name": name}
    changed(loss=CODE)(run)


READER = "transforms::transforms::0::reader"
PAYLOADS = {
    "loss is code": changed(loss=CODE),
    "reader by a dotted name": changed(**{READER: "tripwire.Component"}),
    "reader by the name of a module": changed(**{READER: "tripwire"}),
    "reader in a list": changed(**{READER: ["PILReader", "tripwire.Component"]}),
    "reader is a component": changed(**{READER: COMPONENT}),
    "converter of the reader": changed(**{f"{READER}::converter": CODE}),
    "another transform": changed(**{"transforms::transforms::2": COMPONENT}),
    "macro in the transforms": macro("transforms::transforms::2"),
    "macro for the network": macro("network_def"),
    "macro for a size": macro("image_size"),
    "macro for a part of a size": macro("image_size::0"),
    "size is code": changed(image_size=CODE),
    "size holds code": changed(image_size=[32, CODE]),
    "size is a component": changed(image_size=COMPONENT),
    "size holds a component": changed(image_size=[COMPONENT, 32]),
    "size with a space before the code": changed(image_size=" " + CODE),
    "size refers to a foreign id": changed(image_size="@evil", evil=CODE),
    "size refers to a relative id": changed(image_size="@::evil", evil=CODE),
    "network's target": changed(**{"network_def::_target_": "tripwire.Component"}),
    "network is code": changed(network_def=CODE),
    "network is a list": changed(network_def=[CODE]),
    "network's argument is code": changed(**{"network_def::norm": CODE}),
    "network's argument is a component": changed(**{"network_def::norm": COMPONENT}),
    "network's argument holds a component": changed(**{"network_def::norm": ["group", COMPONENT]}),
    "network's argument is a dotted name": changed(**{"network_def::act": "tripwire.Component"}),
    "network's new argument is code": changed(**{"network_def::act": CODE}),
    "network's new argument refers": changed(**{"network_def::act": "@evil", "evil": CODE}),
    "network requires": changed(**{"network_def::_requires_": CODE}),
    "network requires a list": changed(**{"network_def::_requires_": ["@evil"], "evil": CODE}),
    "network disabled by code": changed(**{"network_def::_disabled_": CODE}),
    "network described": changed(**{"network_def::_desc_": CODE}),
    "network in another mode": changed(**{"network_def::_mode_": "debug"}),
    "network that loads": changed(**{"network_def::pretrained_url": "https://example.org/a.pt"}),
    "inferer": changed(inferer=COMPONENT),
    "network's argument is a path": changed(**{"network_def::path_or_repo_id": "stranger"}),
    "network's argument names a file": changed(**{"network_def::filename": "weights"}),
    "layers by an expression without end": changed(**{"network::scope": "(([a-z]|[.a-z]+)+)+!"}),
    "a network that fills the memory": changed(**{"network_def::num_res_units": 10**7}),
    "more layers than memory": changed(**{"network_def::channels": [1] * 10**4}),
    "a size beyond all bounds": changed(image_size=[10**5, 10**5]),
    "a size of another number of axes": changed(image_size=[32, 32, 32]),
    "a size that is nothing": changed(image_size=None),
    "a size that is not whole": changed(image_size=[32.5, 32]),
    "a size that is true": changed(image_size=True),
    "names with an end of text": changed(classes=["a\0b", "c"]),
    "classes are code": changed(classes=[CODE, "lesion"]),
    "keys that are places": changed(network_def={"_target_": "UNet", "spatial_dims": {CODE: CODE}}),
    "places of the run": changed(bundle_root=CODE, dataset_dir=CODE, device=CODE, split=CODE, run_dir=CODE),
    "imports and what runs": changed(imports=["$import tripwire"], initialize=[CODE], run=[CODE], scorer=COMPONENT),
    "a bundle that came along": recorded(evil_bundle),
    "a bundle that came along under a shipped name": recorded(partial(evil_bundle, name="isic")),
    "a bundle by a path": recorded(lambda record, run: record["bundle"].update(name=str(run / "bundle"))),
    "a teacher that is code": recorded(lambda record, run: record.update(teacher=CODE)),
    "a split that is code": recorded(lambda record, run: record["split"].update(file=CODE)),
    "a method's setting": setting(forget_weight=CODE),
    "a method's setting is a macro": setting(kd_weight="%run.json::x"),
    "a method's setting is a component": setting(forget_terms=COMPONENT),
    "a method's name": recorded(lambda record, run: record["method"].update(name="tripwire.Component")),
    "forgotten classes": recorded(lambda record, run: record.update(forget_classes=[CODE])),
}  # fmt: skip


@pytest.fixture(scope="module")
def strangers_run(tmp_path_factory, unlearned):
    """Gives a copy of an unlearning run with a payload in it, signed by whoever made it: all digests fit."""

    def make(payload, folder):
        shutil.copytree(unlearned("isic"), folder)
        payload(folder)
        record = read_json(folder / "run.json")
        record["files"] = file_digests(folder)
        record["sha256"]["config"] = file_sha256(folder / "config.json")
        write_record(folder, RunRecord.from_json(record))
        return folder

    return make


def commands(run, split, teacher, image, out):
    """Every command that takes a run folder."""
    sound = ["--split", split, "--out"]
    yield ["evaluate", run]
    yield ["milestones", run, "--milestones", teacher / "milestones"]
    yield ["predict", run, image, "--out", out / "predicted"]
    yield ["merge", run, "--out", out / "merged.pt"]
    yield ["revert", run, "--out", out / "reverted.pt"]
    yield ["release", run, "--out", out / "released"]
    yield ["audit", run, "--quiet", "--attacks", "int8"]
    yield ["audit", run, "--quiet", "--shadows", "4", "--pool", out / "pool", "--teacher", teacher]
    yield ["audit", "isic", "--weights", run, *sound, out / "adopted", "--quiet"]
    yield ["audit", "isic", "--weights", teacher, "--teacher", run, *sound, out / "adopted-2", "--quiet"]
    yield ["unlearn", "isic", "--teacher", run, *sound, out / "unlearned", "--set", "max_epochs=1", "--quiet"]
    yield ["train", "isic", "--base", run, "--shards", "2", *sound, out / "sharded", "--quiet"]
    yield ["compose", run, teacher, "--out", out / "composed", "--quiet"]
    yield ["compare", "isic", "--teacher", run, *sound, out / "compared", "--methods", "gradient-ascent", "--quiet"]
    yield ["report", run, "--out", out / "report"]


@pytest.mark.parametrize("name", PAYLOADS)
def test_no_command_executes_what_a_run_folder_holds(
    name, mu_monai, tripwire, strangers_run, phantom_splits, teachers, tmp_path, monkeypatch
):
    run = strangers_run(PAYLOADS[name], tmp_path / "run")
    split = Path(phantom_splits["isic"])
    image = split.parent / read_json(split)["test"][0]["image"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ConfigWorkflow, "run", stopped)  # all is built by then, and training would take minutes
    # the module, whose name in the package is that of the function
    monkeypatch.setattr(import_module("mu_monai.workflow.reporting"), "write_report", stopped)  # all is read by then
    for command in commands(run, split, teachers["isic"], image, tmp_path / "out"):
        code, _, err = mu_monai(*command)
        assert not tripwire.exists(), command
        assert code in (0, 1, 2), command
        assert "Traceback" not in err
        assert code == 0 or "error: " in err, command


@pytest.mark.parametrize("name", ["loss is code", "network is code", "a bundle that came along", "places of the run"])
def test_a_ledger_of_a_strangers_run_executes_nothing(
    name, mu_monai, tripwire, strangers_run, phantom_splits, tmp_path, monkeypatch
):
    """Its routes are `unlearn`, `rollback` and `train`, on which every payload is tried."""
    run, ledger = strangers_run(PAYLOADS[name], tmp_path / "run"), tmp_path / "ledger"
    monkeypatch.setattr(ConfigWorkflow, "run", stopped)
    victim = read_json(phantom_splits["isic"])["retain"][0]["patient_id"]
    for command in (["add", ledger, "--run", run, "--forget-id", victim], ["run", ledger, "--quiet"]):
        code, _, err = mu_monai("request", *command)
        assert not tripwire.exists(), command
        assert "Traceback" not in err
    assert code == 2


def stopped(*arguments, **options):
    raise InputError("stopped before it ran")


@pytest.mark.parametrize(
    "name",
    ["loss is code", "another transform", "network's target", "reader by a dotted name", "macro in the transforms"],
)
def test_the_payloads_work_where_the_config_is_trusted(name, mu_monai, tripwire, strangers_run, tmp_path):
    with suppress(RuntimeError):  # what the code made is of no use to the rest of the config
        mu_monai("evaluate", strangers_run(PAYLOADS[name], tmp_path / "run"), "--trust-config")
    assert tripwire.exists()


@pytest.mark.parametrize("name", ["run", "out"])
def test_a_folder_whose_name_is_code_is_refused(
    name, mu_monai, tripwire, strangers_run, phantom_splits, teachers, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    run = strangers_run(lambda run: None, tmp_path / (CODE if name == "run" else "run"))
    out = Path(CODE if name == "out" else "out")
    split = Path(phantom_splits["isic"])
    image = split.parent / read_json(split)["test"][0]["image"]
    for command in commands(run.name, split, teachers["isic"], image, out):
        code, _, err = mu_monai(*command)
        assert not tripwire.exists(), command
        assert code in (0, 2), command
        assert "Traceback" not in err


def test_a_config_that_was_changed_or_removed_is_refused_by_every_command_that_uses_it(
    mu_monai, unlearned, phantom_splits, teachers, tmp_path
):
    """Another size is data, and would be used for a model that was not trained with it."""
    split = Path(phantom_splits["isic"])
    image = split.parent / read_json(split)["test"][0]["image"]
    for name, change in (("changed", changed(image_size=[48, 48])), ("removed", remove)):
        run = shutil.copytree(unlearned("isic"), tmp_path / name)
        change(run)
        for command in commands(run, split, teachers["isic"], image, tmp_path / "out"):
            if command[0] != "report" and command[2:4] != ["--weights", teachers["isic"]]:  # which use no config of it
                code, _, err = mu_monai(*command)
                assert code == 2, command
                assert "config.json" in err or command[0] in ("audit", "compare", "compose"), command


def remove(run):
    (run / "config.json").unlink()


def test_a_config_of_many_levels_is_refused(strangers_run, tmp_path):
    deep: list = []
    for _ in range(300):
        deep = [deep]
    with pytest.raises(InputError, match="nested deeper"):
        inherited(strangers_run(changed(image_size=deep), tmp_path / "run"), ISIC)


@pytest.mark.parametrize(
    "payload",
    [
        changed(image_size=[48, 48]),
        changed(**{"network_def::norm": "instance"}),
        changed(**{"network_def::norm": ["group", {"num_groups": 2}]}),
        changed(**{"network_def::act": "leakyrelu"}),
        changed(**{"network_def::dropout": 0.1, "network_def::channels": [8, 16]}),
    ],
)
def test_numbers_and_names_are_taken(payload, strangers_run, tmp_path):
    run = strangers_run(payload, tmp_path / "run")
    config = read_json(run / "config.json")
    taken = inherited(run, ISIC)
    assert {key: taken[key] for key in ("image_size", "network_def")} == {
        key: config[key] for key in ("image_size", "network_def")
    }


def test_what_is_refused_is_named_with_what_the_bundle_has_and_the_way_to_go_on(strangers_run, tmp_path):
    run = strangers_run(changed(image_size=CODE, **{"network_def::_target_": "tripwire.Net"}), tmp_path / "run")
    with pytest.raises(InputError) as caught:
        inherited(run, ISIC)
    assert len(caught.value.problems) == 2
    for part in ("image_size", "tripwire", "[256, 256]", "--trust-config"):
        assert part in str(caught.value)


def test_a_config_that_the_user_trusts_is_used_as_it_is(strangers_run, tmp_path):
    run = strangers_run(changed(loss={"_target_": "DiceLoss", "sigmoid": True}), tmp_path / "run")
    with pytest.raises(InputError, match="DiceLoss"):
        inherited(run, ISIC)
    assert inherited(run, ISIC, trust=Trust(config=True))["loss"]["_target_"] == "DiceLoss"
    assert workflow.evaluate(run, trust=Trust(config=True)).is_file()


def test_what_an_overlay_of_the_user_says_is_not_taken_from_the_run(strangers_run, tmp_path):
    run = strangers_run(changed(loss=CODE), tmp_path / "run")
    (tmp_path / "mine.json").write_text(json.dumps({"loss": {"_target_": "DiceLoss", "sigmoid": True}}))
    assert "loss" not in inherited(run, ISIC, overlays=[str(tmp_path / "mine.json")])


def made_with(name, root):
    return RunRecord(status="finished", role="teacher", bundle=MadeWith(name=name, root=str(root)))


def test_the_shipped_bundle_of_a_name_is_meant_whatever_the_run_says_of_its_place(tmp_path):
    assert STRANGER.bundle_of(made_with("isic", tmp_path)).folder == shipped_bundles()["isic"]


def test_another_bundle_must_be_named_by_the_user(tmp_path):
    own = tmp_path / "own"
    shutil.copytree(shipped_bundles()["isic"], own)
    for file in (own / "configs").glob("*.json"):
        file.write_text(file.read_text().replace('"bundle_name": "isic"', '"bundle_name": "own"'))
    record = made_with("own", own)
    with pytest.raises(InputError, match="--bundle"):
        STRANGER.bundle_of(record)
    assert Trust(bundle=own).bundle_of(record).folder == own
    with pytest.raises(InputError, match=r"'own'.*'isic'"):
        Trust(bundle="isic").bundle_of(record)


@pytest.mark.parametrize("text", ["$a", "@a", "%a", " $a", "a#b", "a::b", "\t%a"])
def test_what_monai_acts_on_is_not_plain(text):
    assert not is_plain(text)
    assert literal_problems({"a": [text]}, "method")
    assert literal_problems({text: 1}, "method")


def test_true_is_not_taken_for_one_when_a_config_is_compared(strangers_run, tmp_path):
    run = strangers_run(changed(**{"loss::sigmoid": 1}), tmp_path / "run")
    with pytest.raises(InputError, match="loss"):
        inherited(run, ISIC)


def test_weights_of_a_stranger_are_never_unpickled(strangers_run, mu_monai, tripwire, tmp_path):
    class Evil:
        def __reduce__(self):
            return (__import__, ("tripwire",))

    run = strangers_run(lambda run: torch.save({"a": Evil()}, run / "model.pt"), tmp_path / "run")
    assert mu_monai("evaluate", run)[0] == 2
    assert not tripwire.exists()


@pytest.mark.parametrize("name", ["model.pt", "config.json", "attacks", "scores.csv", "adapter/extra"])
def test_a_run_folder_with_links_in_it_is_not_opened(name, mu_monai, strangers_run, phantom_splits, teachers, tmp_path):
    """They lead to files that their maker chose: to be read into an output, written over or removed."""
    run, victim = strangers_run(lambda run: None, tmp_path / "run"), tmp_path / "victim"
    victim.mkdir()
    (victim / "kept").write_text("kept")
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(victim)
    split = Path(phantom_splits["isic"])
    image = split.parent / read_json(split)["test"][0]["image"]
    for command in commands(run, split, teachers["isic"], image, tmp_path / "out"):
        assert mu_monai(*command)[0] == 2, command
    assert [path.name for path in victim.iterdir()] == ["kept"]


def test_a_comparison_with_links_is_not_written_to(mu_monai, phantom_splits, teachers, tmp_path):
    victim, out = tmp_path / "victim", tmp_path / "compared"
    (victim / "trial-1").mkdir(parents=True)
    out.mkdir()
    (out / "gradient-ascent").symlink_to(victim)
    sound = ["--split", phantom_splits["isic"], "--teacher", teachers["isic"], "--out", out]
    code, _, err = mu_monai("compare", "isic", *sound, "--quiet")
    assert (code, "is a link" in err) == (2, True), err
    assert [path.name for path in victim.rglob("*")] == ["trial-1"]


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": [CODE]},
        {"seeds": [True]},
        {"rows": [{"label": "evil\n\\input{/etc/passwd}"}]},
        {"rows": [{"label": "javascript:alert(1)"}]},
        {"trials": [{"label": "scrub:<b>"}]},
        {"attacks": [CODE]},
    ],
)
def test_a_comparison_that_came_along_is_data(change, mu_monai, tripwire, phantom_splits, teachers, tmp_path):
    row = {"seed": 0, "model": "student", "paper": "", "status": "failed", "run": "a", "reason": "", "label": "scrub"}
    content = {"format": 1, "identity": {}, "seeds": [0], "trials": [], "rows": [], "attacks": []} | change
    content["rows"] = [row | each for each in content["rows"]]
    content["trials"] = [{"number": 1, "settings": [], "run": "a"} | each for each in content["trials"]]
    (tmp_path / "compared").mkdir()
    (tmp_path / "compared" / "comparison.json").write_text(json.dumps(content))
    sound = ["--split", phantom_splits["isic"], "--teacher", teachers["isic"], "--out", tmp_path / "compared"]
    code, _, err = mu_monai("compare", "isic", *sound, "--methods", "gradient-ascent", "--quiet")
    assert code == 2
    assert "error: " in err
    assert not tripwire.exists()


def test_columns_of_another_split_than_the_runs_are_not_read(strangers_run, phantom_splits, tmp_path):
    run = strangers_run(lambda run: None, tmp_path / "run")
    other = read_json(phantom_splits["isic"])
    for case in [case for name in ("retain", "forget", "validation", "test") for case in other[name]]:
        case["secret"] = "yes" if case["patient_id"][-1] in "02468" else "no"
    (tmp_path / "split.json").write_text(json.dumps(other))
    record = read_json(run / "run.json")
    record["split"]["file"] = str(tmp_path / "split.json")
    write_record(run, RunRecord.from_json(record))
    options = workflow.AuditOptions(quiet=True, n_resamples=10)
    assert "secret" not in workflow.audit(run, options=options).read_text()
