"""A pool of tiny shadow models: who is in which, what is made again and what is not, and what is refused."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from mu_monai import workflow
from mu_monai.audit import shadow_notes, shadow_records
from mu_monai.bundle.trust import STRANGER
from mu_monai.data import load_split, phantom_split, read_split
from mu_monai.errors import InputError
from mu_monai.files import read_json
from mu_monai.runs import RunRecord, read_record, write_record
from mu_monai.workflow import AuditOptions
from mu_monai.workflow.auditing import shadows
from mu_monai.workflow.auditing.shadows import _unlearning, shadow_scores
from mu_monai.workflow.trained_alike import complete

TINY = ["network_def#channels=[4, 8]", "network_def#strides=[2]", "image_size=[16, 16]", "max_epochs=1"]


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return phantom_split("lesions", tmp_path_factory.mktemp("people"), patients=12, images_per_patient=1, size=32)


@pytest.fixture(scope="module")
def teacher(split, tmp_path_factory):
    out = tmp_path_factory.mktemp("teacher") / "run"
    return workflow.train("isic", split=split, out=out, settings=[*TINY, "learning_rate=0.01"], quiet=True)


@pytest.fixture(scope="module")
def student(split, teacher, tmp_path_factory):
    settings = ["max_epochs=1", "batch_size=2", "method#forget_weight=2"]
    out = tmp_path_factory.mktemp("student") / "run"
    return workflow.unlearn("isic", split=split, teacher=teacher, out=out, settings=settings, quiet=True)


@pytest.fixture(scope="module")
def pool(student, workers_here, tmp_path_factory):
    """Made as workers make it; other tests make parts of it again, one after the other."""
    folder, workers = tmp_path_factory.mktemp("pool"), workers_here(lost=["shadow model 2"])
    shadow_scores(student, options=AuditOptions(shadows=4, pool=folder, quiet=True), workers=workers)
    assert workers.started == [f"shadow model {number}" for number in (1, 2, 2, 3, 4)]
    return folder


def test_each_patient_is_in_half_of_the_models_and_the_retained_in_all(pool, split):
    people = {name: {case["patient_id"] for case in part} for name, part in load_split(split).items()}
    attacked = people["forget"] | people["test"]
    counts = dict.fromkeys(attacked, 0)
    for number in range(4):
        own = load_split(pool / f"shadow-{number:03}" / "split.json", verify=True)
        found = {name: {case["patient_id"] for case in part} for name, part in own.items()}
        assert found["retain"] == people["retain"]
        assert found["validation"] == people["validation"]
        assert found["forget"] | found["test"] == attacked
        assert not found["forget"] & found["test"]
        for patient in found["forget"]:
            counts[patient] += 1
    assert set(counts.values()) == {2}


def test_shadow_models_are_trained_and_unlearned_as_the_audited_run_was_with_seeds_of_their_own(pool, teacher, student):
    runs = {run: read_json(run / "run.json") for run in (teacher, student)}
    seeds = set()
    for number in range(4):
        folder = pool / f"shadow-{number:03}"
        trained, (unlearned,) = read_json(folder / "teacher" / "run.json"), folder.glob("unlearned-*/run.json")
        seeds.add(trained["seed"])
        assert trained["role"] == "teacher"
        assert trained["max_epochs"] == 1
        assert trained["parameters"] == runs[teacher]["parameters"]
        assert read_json(folder / "teacher" / "config.json")["learning_rate"] == 0.01
        assert read_json(unlearned)["method"] == runs[student]["method"]
        assert read_json(unlearned.parent / "config.json")["batch_size"] == 2
    assert len(seeds) == 4
    assert runs[teacher]["seed"] not in seeds


def test_the_records_are_of_lira_and_u_lira(pool, student):
    shadows = shadow_scores(student, options=AuditOptions(shadows=4, pool=pool, quiet=True))
    scores = pd.read_csv(student / "scores.csv")
    found = {(record.model, record.metric): record for record in shadow_records(scores, shadows, n_resamples=50)}
    assert set(found) == {("teacher", "auc[lira]"), ("student", "auc[lira]"), ("student", "auc[u-lira]")}
    assert all(0 <= record.value <= 1 for record in found.values())
    notes = shadow_notes(scores, shadows)
    assert "4 shadow models" in notes[0]
    assert "at least 2 were trained on it and 2 were not" in notes[0]
    assert "unlearned" in notes[1]


def test_what_is_finished_is_not_made_again_and_what_is_missing_is(pool, student, tmp_path):
    copy = tmp_path / "pool"
    shutil.copytree(pool, copy)
    before = shadow_scores(student, options=AuditOptions(shadows=4, pool=copy, quiet=True))
    kept = (copy / "shadow-000" / "teacher" / "model.pt").stat().st_mtime_ns
    shutil.rmtree(copy / "shadow-001" / "teacher")
    (unlearned,) = (copy / "shadow-001").glob("unlearned-*/")
    (unlearned / "scores.csv").unlink()
    record = json.loads((copy / "shadow-002" / "teacher" / "run.json").read_text())
    write_record(copy / "shadow-002" / "teacher", RunRecord.from_json(record | {"status": "interrupted"}))
    after = shadow_scores(student, options=AuditOptions(shadows=4, pool=copy, quiet=True))
    pd.testing.assert_frame_equal(before, after)
    assert (copy / "shadow-000" / "teacher" / "model.pt").stat().st_mtime_ns == kept


@pytest.mark.parametrize("method", ["erase-to-retain", "calibrated-erase-to-retain"])
def test_every_method_is_repeated_with_the_settings_of_the_run(method, split, teacher, tmp_path):
    settings = ["max_epochs=1", "batch_size=2", "method#kd_weight=3", "network#r=2"]
    run = workflow.unlearn(
        "isic", split=split, teacher=teacher, out=tmp_path / "run", method=method, settings=settings, quiet=True
    )
    again = workflow.unlearn(
        "isic", split=split, teacher=teacher, out=tmp_path / "again", overlays=[overlay_of(run, tmp_path)], quiet=True
    )
    first, second = (read_json(folder / "run.json") for folder in (run, again))
    for key in ("method", "seed", "max_epochs", "parameters"):
        assert first[key] == second[key]
    assert first["sha256"]["weights"] == second["sha256"]["weights"]


def overlay_of(run, folder):
    (folder / "overlay.json").write_text(json.dumps(_unlearning(run, read_record(run), STRANGER)[0]))
    return str(folder / "overlay.json")


@pytest.mark.parametrize(
    ("status", "checkpoint", "resumed"),
    [("interrupted", True, True), ("interrupted", False, False), ("finished", False, True)],
    ids=["checkpoint", "no checkpoint", "no scores"],
)
def test_what_has_a_checkpoint_or_lacks_scores_is_resumed_and_what_has_none_starts_anew(
    status, checkpoint, resumed, tmp_path
):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    write_record(tmp_path / "run", RunRecord.from_json({"status": status, "role": "teacher"}))
    if checkpoint:
        (tmp_path / "run" / "checkpoints" / "last.pt").touch()
    made = []
    complete(tmp_path / "run", lambda out, resume: made.append((out.exists(), resume)))
    assert made == [(resumed, resumed)]


def test_one_pool_serves_the_teacher_as_well_and_grows(pool, teacher, tmp_path):
    copy = tmp_path / "pool"
    shutil.copytree(pool, copy)
    shadows = shadow_scores(teacher, options=AuditOptions(shadows=5, pool=copy, quiet=True))
    assert set(shadows["model"]) == {"teacher"}
    assert sorted(shadows["shadow"].unique()) == [0, 1, 2, 3, 4]
    assert not list((copy / "shadow-004").glob("unlearned-*/"))


def test_a_shadow_model_that_a_worker_cannot_make_stops_no_other(student, pool, workers_here, tmp_path, monkeypatch):
    copy = shutil.copytree(pool, tmp_path / "pool")
    make, made = shadows._Shadow.make, []

    def failing(self, *arguments):
        if self.number in (1, 2):
            raise FloatingPointError(f"the loss of {self.number} is not finite")
        made.append(self.number)
        return make(self, *arguments)

    monkeypatch.setattr(shadows._Shadow, "make", failing)
    with pytest.raises(FloatingPointError, match="the loss of 1 is not finite"):
        shadow_scores(student, options=AuditOptions(shadows=4, pool=copy, quiet=True), workers=workers_here())
    assert made == [0, 3]


def test_too_few_shadow_models_are_refused_before_anything_is_trained(student, tmp_path):
    with pytest.raises(InputError, match=r"--shadows 3 is not allowed: .* use at least 4"):
        shadow_scores(student, options=AuditOptions(shadows=3, pool=tmp_path / "pool"))
    assert not (tmp_path / "pool").exists()


def test_shadow_models_are_kept_in_a_folder(student):
    with pytest.raises(InputError, match="name it with --pool"):
        shadow_scores(student, options=AuditOptions())


def test_a_pool_for_something_else_is_refused(pool, split, tmp_path):
    other = workflow.train("isic", split=split, out=tmp_path / "other", settings=[*TINY, "batch_size=3"], quiet=True)
    with pytest.raises(InputError, match=r"are for another config .* give another --pool"):
        shadow_scores(other, options=AuditOptions(shadows=4, pool=pool))
    elsewhere = phantom_split("lesions", tmp_path / "others", patients=11, images_per_patient=1, size=32)
    with pytest.raises(InputError, match="are for another split"):
        shadow_scores(other, options=AuditOptions(shadows=4, pool=pool), split=read_split(elsewhere))
    with pytest.raises(InputError, match=r"holds files and is not a pool.* --pool"):
        shadow_scores(other, options=AuditOptions(shadows=4, pool=other))


def test_a_pool_with_links_is_not_written_to(pool, student, tmp_path):
    copy, victim = shutil.copytree(pool, tmp_path / "pool"), tmp_path / "victim"
    shutil.move(copy / "shadow-000", victim)
    (copy / "shadow-000").symlink_to(victim)
    before = sorted(path.name for path in victim.rglob("*"))
    with pytest.raises(InputError, match="is a link"):
        shadow_scores(student, options=AuditOptions(shadows=4, pool=copy, quiet=True))
    assert sorted(path.name for path in victim.rglob("*")) == before


def test_a_model_whose_training_is_not_known_has_no_shadows(student, teacher, tmp_path):
    shutil.copytree(student, tmp_path / "student")
    record = read_json(student / "run.json")
    write_record(tmp_path / "student", RunRecord.from_json(record | {"teacher": str(tmp_path / "model.pt")}))
    with pytest.raises(InputError, match=r"is not known.* --teacher"):
        shadow_scores(tmp_path / "student", options=AuditOptions(shadows=4, pool=tmp_path / "pool"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"forget_classes": ["lesion"]}, "forgets the class lesion of all patients"),
        ({"method": {"name": "EraseToRetain", "settings": {"forget_weight": "$print(1)"}}}, "holds code"),
    ],
)
def test_runs_that_cannot_be_repeated_are_refused(change, message, student, pool, tmp_path):
    shutil.copytree(student, tmp_path / "student")
    record = read_json(student / "run.json")
    write_record(tmp_path / "student", RunRecord.from_json(record | change))
    with pytest.raises(InputError, match=message):
        shadow_scores(tmp_path / "student", options=AuditOptions(shadows=4, pool=pool))


def test_milestones_from_elsewhere_saw_all_patients_and_are_refused(student, pool, tmp_path):
    shutil.copytree(student, tmp_path / "student")
    record = read_json(student / "run.json")
    teacher = Path(record["teacher"]).parent
    bare = shutil.copytree(teacher, tmp_path / "teacher", ignore=shutil.ignore_patterns("milestones"))
    for folder in (teacher, bare):
        changed = {"teacher": str(folder / "model.pt")}
        changed["method"] = {"name": "Rewind", "settings": {"milestones": str(tmp_path)}}
        write_record(tmp_path / "student", RunRecord.from_json(record | changed))
        kept = (folder / "milestones").is_dir()
        if not kept:
            with pytest.raises(InputError, match=r"taken back to milestones from elsewhere.*omit --shadows"):
                shadow_scores(tmp_path / "student", options=AuditOptions(shadows=4, pool=pool))
        else:
            laid, _ = _unlearning(tmp_path / "student", read_record(tmp_path / "student"), STRANGER)
            assert "milestones" not in laid["method"]


def test_what_was_unlearned_is_kept_by_all_settings_and_not_only_by_those_that_the_run_changed(student):
    laid, before = _unlearning(student, read_record(student), STRANGER)
    assert before["config"]["max_epochs"] == read_json(student / "config.json")["max_epochs"]
    assert set(before["config"]) > set(laid)


def test_there_must_be_somebody_to_tell_apart(student, split, tmp_path):
    folder = tmp_path / "people"
    shutil.copytree(Path(split).parent, folder)
    (folder / "split.json").write_text(json.dumps(read_json(split) | {"forget": []}))
    with pytest.raises(InputError, match=r"has 0 patients to forget and . for test; shadow models need"):
        shadow_scores(
            student, options=AuditOptions(shadows=4, pool=tmp_path / "pool"), split=read_split(folder / "split.json")
        )
