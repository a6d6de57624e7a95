"""What can be handed over from an unlearning run: plain weights of the student or teacher, and a sealed bundle."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mu_monai import __version__
from mu_monai.adapters import Student, load_student, load_weights, read_weights, weights_sha256, write_tensors
from mu_monai.attacks import search_folder
from mu_monai.bundle import Bundle
from mu_monai.bundle.config import built_network, run_config
from mu_monai.bundle.layers import LayeredConfig
from mu_monai.bundle.parser import config_parser
from mu_monai.bundle.trust import STRANGER, Trust, inherited
from mu_monai.data import Split, read_split
from mu_monai.data.case_files import files_of, image_entry
from mu_monai.errors import InputError, collect, raise_if_any
from mu_monai.files import file_sha256, read_json, whole_folder, write_json
from mu_monai.keys import (
    ADAPTER_DIR,
    CONFIG_JSON,
    MODEL_PT,
    RETAIN,
    STUDENT,
    TEACHER,
    TEST,
    VALIDATION,
)
from mu_monai.lock import writes
from mu_monai.runs import RunRecord, open_run, read_record
from mu_monai.runs.record import AUDIT
from mu_monai.workflow.checks import place_problems
from mu_monai.workflow.earlier_epochs import milestones_of
from mu_monai.workflow.handover.given_back import answers_alike, write_given_back
from mu_monai.workflow.handover.names import Names, name_problems, names_of, not_searched
from mu_monai.workflow.handover.sealed import own_file, plain_inference, readme, released_weights, sealed_metadata
from mu_monai.workflow.moved import SPLIT, gone_problems, moved, other_split, own_split
from mu_monai.workflow.requests.refusing import ledger_problems

BUNDLE, RELEASE_JSON = "bundle", "release.json"
State = Mapping[str, torch.Tensor]


def merge(run: str | Path, *, out: str | Path, teacher: str | Path | None = None, trust: Trust = STRANGER) -> Path:
    """Write the student as plain weights: the teacher's with the run's adapters merged into them.

    Args:
        run: the folder of a finished unlearning run.
        out: the weights file to write; it must not exist.
        teacher: the teacher's weights, if they are no longer where the run found them.
        trust: how far the run is trusted.

    Returns:
        the path of the weights.

    Raises:
        InputError: if the run is not an unlearning run, the teacher is missing or not the run's, `out` exists, or the
            resulting weights are not those of the run.
    """
    return _write(_student(run, out, teacher, trust).merged(), run, STUDENT, out)


def revert(run: str | Path, *, out: str | Path, teacher: str | Path | None = None, trust: Trust = STRANGER) -> Path:
    """Write the teacher as plain weights: the run's network without adapters, bit for bit its starting weights.

    Args and errors are those of `merge`.
    """
    return _write(_student(run, out, teacher, trust).reverted(), run, TEACHER, out)


@writes("out")
def release(
    run: str | Path,
    *,
    out: str | Path,
    split: str | Path | None = None,
    teacher: str | Path | None = None,
    ledger: str | Path | None = None,
    trust: Trust = STRANGER,
) -> Path:
    """Write a sealed MONAI bundle of the student, and check that nothing in it rebuilds the teacher.

    The bundle holds the merged weights under the network's own names, an inference config that uses only MONAI's
    classes, metadata with a raised version, a README and the license. It holds no adapter, no optimizer state, no
    teacher and no ids.

    Args:
        run: the folder of a finished unlearning run.
        out: the folder to make, with `bundle/` and `release.json` in it.
        split: the split file of the run, if it is no longer where the run found it.
        teacher: the teacher's weights, if they are no longer where the run found them.
        ledger: the ledger of requests that the weights may be a version of; one in the folder around the run is looked
            at without it.
        trust: how far the run is trusted.

    Returns:
        the folder.

    Raises:
        InputError: if the run is not an unlearning run or failed its self-check, its split is missing, weights are
            missing, replaced, or the teacher's, `out` exists, the ledger holds somebody who was forgotten since, the
            weights do not fit the released config, the bundle does not predict, the search finds something that the
            teacher can be rebuilt from, or a file names a case or patient of the split. Nothing is written then.
    """
    run, out = Path(run), Path(out)
    record = moved(open_run(run, CONFIG_JSON, MODEL_PT).record, split=split, teacher=teacher)
    source, own = record.teacher, own_split(run, record)
    raise_if_any(
        [
            *_release_problems(run, out, record, source),
            *ledger_problems(run, record.sha256.weights, ledger),
            *gone_problems(run, record, (TEACHER,) if own else (SPLIT, TEACHER)),
            *(() if own else other_split(run, record)),
        ]
    )
    assert source is not None
    bundle = trust.bundle_of(record)
    config = {} if bundle.parts else plain_inference(run, bundle, trust)
    states = {STUDENT: read_weights(run / MODEL_PT), TEACHER: read_weights(source)}
    raise_if_any(collect(lambda: _other_weights(record, states, run, source), lambda: _unmoved(states)))
    cases = own or read_split(record.split.file)
    names = names_of(cases)
    with whole_folder(out) as folder:
        told = _write_released(folder, bundle, config, run, record, states[STUDENT], _file(source), cases, names)
        for compiled in sorted(folder.rglob("__pycache__")):  # left by the bundle's own modules when it was tried
            shutil.rmtree(compiled)
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        files = {path.relative_to(folder).as_posix(): file_sha256(path) for path in paths}
        released = read_weights(released_weights(folder))
        findings = search_folder(folder, states[TEACHER], released, milestones_of(record))
        raise_if_any(f"nothing is released: {finding.what}" for finding in findings)
        told += not_searched(names)
        raise_if_any(f"nothing is released: {problem}" for problem in name_problems(folder, names, told))
        write_json(folder / RELEASE_JSON, _proof(states[TEACHER], released, files, told))
    return out


def _write_released(
    folder: Path,
    bundle: Bundle,
    config: Mapping[str, Any],
    run: Path,
    record: RunRecord,
    state: State,
    teacher: Path,
    split: Split,
    names: Names,
) -> list[str]:
    """Write the bundle, and let it answer a case; returns sentences about both."""
    if bundle.parts is None:
        _write_bundle(folder / BUNDLE, bundle, config, record, state)
        return [_answers(folder / BUNDLE, split)]
    place = folder / bundle.place.name
    told = write_given_back(place, bundle, record, state, teacher.resolve(), names)
    return [*told, answers_alike(place, bundle, split, _known_case(split), run / MODEL_PT)]


def _file(teacher: str | Path) -> Path:
    return Path(teacher) / MODEL_PT if Path(teacher).is_dir() else Path(teacher)


def _release_problems(run: Path, out: Path, record: RunRecord, source: str | Path | None) -> Iterator[str]:
    if out.exists():
        yield f"'{out}' exists; give another folder or remove it"
    yield from place_problems({"--out": out})
    if source is None:
        yield f"'{run}' does not name its teacher; give the weights that it started from as --teacher"
    if record.verb != "unlearn":
        yield f"{_no_unlearning(run, record)}; only the student of an unlearning run is released"
    for check in record.checks:
        if not check.passed:
            yield f"'{run}' failed its self-check '{check.name}' ({check.detail}); unlearn again, then release"


def _other_weights(record: RunRecord, states: Mapping[str, State], run: Path, teacher: str | Path) -> Iterator[str]:
    places = {STUDENT: ("weights", run / MODEL_PT), TEACHER: ("starting_weights", teacher)}
    for role, (key, path) in places.items():
        digest, recorded = weights_sha256(states[role]), getattr(record.sha256, key)
        if digest != recorded:
            yield (
                f"the weights '{path}' are not those of the {role} that '{run}' was made with (SHA-256 {digest}; "
                f"its run.json has {recorded}); put the original file back"
            )


def _unmoved(states: Mapping[str, State]) -> list[str]:
    moved = _changed(states[TEACHER], states[STUDENT])
    return [] if moved else ["the student's weights are the teacher's, so nothing was unlearned or released"]


def _changed(teacher: State, student: State) -> list[str]:
    return [name for name, value in student.items() if not torch.equal(value, teacher[name])]


def _write_bundle(folder: Path, bundle: Bundle, config: Mapping[str, Any], record: RunRecord, state: State) -> None:
    metadata = sealed_metadata(bundle, config, record)
    write_json(folder / "configs" / "inference.json", config)
    write_json(folder / "configs" / "metadata.json", metadata)
    for name in ("configs/logging.conf", "LICENSE"):
        if (file := own_file(bundle, name)).is_file():
            shutil.copyfile(file, folder / name)
    (folder / "docs").mkdir()
    (folder / "docs" / "README.md").write_text(readme(metadata, record), encoding="utf-8")
    write_tensors(folder / "models" / MODEL_PT, {name: value.clone().contiguous() for name, value in state.items()})


def _answers(folder: Path, split: Split) -> str:
    """Load the bundle as its recipient will, and predict a case that was not forgotten; returns what was done.

    Raises:
        InputError: if the weights do not fit the network of the config, or the bundle does not predict.
    """
    config = folder / "configs" / "inference.json"
    load_weights(built_network(config_parser(read_json(config))), folder / "models" / MODEL_PT)
    case = _known_case(split)
    if case is None:
        return "it was loaded, but predicted no case: the images of the split were moved (--split FILE)"
    image = image_entry(case, split.inputs)
    with tempfile.TemporaryDirectory() as place:
        try:
            run_config([str(config)], {"bundle_root": str(folder), "images": [image], "output_dir": place})
        except RuntimeError as error:
            raise InputError(f"nothing is released: the bundle cannot predict a case of its split ({error})") from error
        if not any(path.is_file() for path in Path(place).rglob("*")):
            raise InputError("nothing is released: the bundle writes no prediction for a case of its split")
    return "it was loaded, and predicted a case of its split"


def _known_case(split: Split) -> Mapping[str, Any] | None:
    """A case that was not forgotten, and whose files are there under names that a config can hold."""
    cases = [case for subset in (TEST, VALIDATION, RETAIN) for case in split.cases[subset]]
    return next((case for case in cases if _can_be_named(files_of(image_entry(case, split.inputs)))), None)


def _can_be_named(files: Sequence[str]) -> bool:
    """Whether files are there, and a config can name them."""
    return all(Path(file).exists() and not place_problems({"image": file}) for file in files)


def _proof(teacher: State, released: State, files: Mapping[str, str], told: Sequence[str]) -> dict[str, Any]:
    changed = _changed(teacher, released)
    before = [name for name in released if name not in changed]
    return {
        "format": 1,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "mu_monai": __version__,
        "weights": {STUDENT: weights_sha256(released), TEACHER: weights_sha256(teacher)},
        "tensors": {"changed": changed, "as_before": before},
        "search": {"files": dict(files), "findings": []},
        "told": [
            f"{len(changed)} of {len(released)} tensors differ from the teacher's; {len(before)} are unchanged",
            f"nothing that the teacher can be rebuilt from was found in the {len(files)} files",
            *told,
        ],
    }


def _student(run: str | Path, out: str | Path, teacher: str | Path | None, trust: Trust) -> Student:
    if Path(out).exists():
        raise InputError(f"'{out}' exists; give another file or remove it")
    record = open_run(run).record
    if record.verb != "unlearn":
        raise InputError(f"{_no_unlearning(run, record)}; only an unlearning run has adapters to merge or remove")
    record = moved(record, teacher=teacher)
    if record.teacher is None:
        raise InputError(f"'{run}' does not name its teacher; give the weights that it started from as --teacher")
    raise_if_any(gone_problems(run, record, [TEACHER]))
    config = LayeredConfig(trust.bundle_of(record), "unlearn")
    config.lay("run", inherited(run, config.bundle, ["classes", "image_size", "network_def"], trust=trust))
    return load_student(load_weights(built_network(config.read()), record.teacher), Path(run) / ADAPTER_DIR)


def _no_unlearning(run: str | Path, record: RunRecord) -> str:
    """Why a run is not an unlearning run; an adopted model was made elsewhere."""
    if record.verb == AUDIT:
        return f"'{run}' holds the audit of a model that was not unlearned by mu-monai, so its adapters are unknown"
    return f"'{run}' is not an unlearning run (its verb is {record.verb})"


def _write(network: nn.Module, run: str | Path, role: str, out: str | Path) -> Path:
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    raise_if_any(_unlike(state, Path(run), role))
    write_tensors(out, state)
    return Path(out)


def _unlike(state: State, run: Path, role: str) -> Iterator[str]:
    """Why weights are not those that a run produced or started from.

    If the adapters are merged on another device than the run's, the last digits may differ from `model.pt`.
    """
    digests = read_record(run).sha256
    recorded = digests.weights if role == STUDENT else digests.starting_weights
    digest = weights_sha256(state)
    if digest == recorded:
        return
    if role == STUDENT and (run / MODEL_PT).is_file():
        student = read_weights(run)
        if student.keys() == state.keys() and all(
            torch.allclose(student[name], state[name], rtol=1e-4, atol=1e-6) for name in student
        ):
            return
    yield (
        f"the {role} weights computed from '{run}' have the SHA-256 {digest}, and its record has {recorded}; a file of "
        "the run was changed, so nothing is written"
    )
