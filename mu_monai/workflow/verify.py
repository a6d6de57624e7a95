"""Is a released folder what its record says? Every check is one line."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mu_monai.adapters import misfits, read_weights, weights_sha256
from mu_monai.attacks import search_folder
from mu_monai.errors import InputError
from mu_monai.files import file_sha256, read_json
from mu_monai.keys import MODEL_PT, STUDENT
from mu_monai.record import (
    EVIDENCE,
    RECORD_JSON,
    file_problems,
    open_envelope,
    public_key,
    read_evidence,
    signature_problem,
    type_problem,
    without_nan,
)
from mu_monai.workflow.received_network import ForeignNetworkError, received_network
from mu_monai.workflow.release import BUNDLE
from mu_monai.workflow.seal import computed_records

OK, FAILED, NOT_CHECKED = "ok", "FAILED", "not checked"
_TOLERANCE = 1e-9
_COMPUTED = ("utility", "membership")
_NAMES = ("files", "weights", "search", "split", *_COMPUTED)
_KEY = ("model", "metric", "subset", "attack")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Args:
        name: `signature`, `files`, `weights`, `search`, `split`, `utility` or `membership`.
        status: `ok`, `FAILED` or `not checked`.
        detail: one sentence: what was found, or why it was not looked at.

    Example:
        >>> str(Check("split", NOT_CHECKED, "no --split was given"))
        'not checked  split: no --split was given'
    """

    name: str
    status: str
    detail: str

    @property
    def failed(self) -> bool:
        """Whether it is not as the record says."""
        return self.status == FAILED

    def __str__(self) -> str:
        line = f"{self.status:<{len(NOT_CHECKED)}}  {self.name}: {self.detail}"
        return line.replace("\n", "\\n")  # the name of a file cannot begin a line of its own


def verify(
    folder: str | Path, *, key: str | Path, split: str | Path | None = None, without_evidence: bool = False
) -> list[Check]:
    """Check the signature of a released folder's record, and all in it that can be checked.

    Where the signature or the type of the record is wrong, nothing else is looked at: its content is then anybody's.

    Args:
        folder: what was handed over.
        key: the public key that it must be signed with, a PEM file.
        split: the split that it is said to be of.
        without_evidence: the score table was not handed over.

    Raises:
        InputError: where there is no record, or the key or the split cannot be read.
    """
    folder, signer = Path(folder), public_key(key)
    if split is not None and not Path(split).is_file():
        raise InputError(f"split file '{split}' does not exist; give the split.json that the record is of")
    if not (folder / RECORD_JSON).is_file():
        raise InputError(f"'{folder}' holds no {RECORD_JSON}; give a folder that 'mu-monai report --record' signed")
    try:
        envelope = open_envelope(read_json(folder / RECORD_JSON))
        problem = signature_problem(envelope, signer) or type_problem(json.loads(envelope.payload))
    except (ValueError, RecursionError) as error:
        problem = f"{RECORD_JSON} cannot be read: {error}"
    if problem:
        rest = [Check(name, NOT_CHECKED, "the record itself cannot be trusted") for name in _NAMES]
        return [Check("signature", FAILED, problem), *rest]
    content = json.loads(envelope.payload)
    said = content["predicate"]
    files = _looked_at("files", lambda: _files(folder, content, without_evidence))
    return [
        Check("signature", OK, f"by the key {signer.keyid[:12]}, made {said.get('created')}"),
        files,
        _looked_at("weights", lambda: _weights(folder, said), files),
        _looked_at("search", lambda: _search(folder), files),
        _looked_at("split", lambda: _split(said, split)),
        *_recomputed(folder / EVIDENCE, said, without_evidence),
    ]


def _looked_at(name: str, look: Callable[[], Check], files: Check | None = None) -> Check:
    """What a look finds; what cannot be looked at fails, and what opens files is left where they are not as signed."""
    if files is not None and files.failed:
        return Check(name, NOT_CHECKED, "the files are not those that were signed")
    try:
        return look()
    except InputError as error:
        return Check(name, FAILED, "; ".join(error.problems))
    except Exception as error:  # a record may lack anything, and a config is code, which raises whatever it likes
        return Check(name, FAILED, f"it cannot be checked ({_one_line(error)})")


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: " + str(error).strip().partition("\n")[0]


def _files(folder: Path, content: Mapping[str, Any], without_evidence: bool) -> Check:
    problems = file_problems(folder, content["subject"], absent=[EVIDENCE] if without_evidence else [])
    return _result("files", problems, f"{len(content['subject'])} files are as they were signed")


def _search(folder: Path) -> Check:
    return _result(
        "search", [found.what for found in search_folder(folder)], "no adapter, checkpoint or optimizer state"
    )


def _result(name: str, problems: Sequence[str], fine: str) -> Check:
    return Check(name, FAILED, "; ".join(problems)) if problems else Check(name, OK, fine)


def _weights(folder: Path, said: Mapping[str, Any]) -> Check:
    """Whether they are the weights of the record and fit the network; the config is data here, and is not run."""
    bundle, wanted = folder / BUNDLE, said["weights"][STUDENT]
    state = read_weights(bundle / "models" / MODEL_PT)
    found = weights_sha256(state)
    problems = [f"they have the SHA-256 {found}, and the record says {wanted}"] if found != wanted else []
    try:
        network = received_network(read_json(bundle / "configs" / "inference.json"))
    except ForeignNetworkError as error:
        return _result("weights", problems, f"SHA-256 {found[:12]}; whether they fit is not checked: {error}")
    return _result(
        "weights",
        problems + [f"they do not fit {type(network).__name__}: {t}" for t in misfits(network, state)],
        f"they fit the network, SHA-256 {found[:12]}",
    )


def _split(said: Mapping[str, Any], split: str | Path | None) -> Check:
    if split is None:
        return Check("split", NOT_CHECKED, "no --split was given")
    found, wanted = file_sha256(split), said["split"]["sha256"]
    other = [f"a record of other data: '{split}' has the SHA-256 {found}, and the record says {wanted}"]
    return _result("split", other if found != wanted else [], f"SHA-256 {found[:12]}")


def _recomputed(evidence: Path, said: Mapping[str, Any], without: bool) -> Iterator[Check]:
    if not evidence.is_file():
        why = "--without-evidence was given" if without else f"{EVIDENCE} is missing"
        yield from (Check(kind, NOT_CHECKED, why) for kind in _COMPUTED)
        return
    try:
        found = without_nan(computed_records(read_evidence(evidence), said["forget_classes"], said["draws"]))
    except Exception as error:  # whatever a table that is none makes pandas stumble over
        why = f"{EVIDENCE} cannot be audited: {_one_line(error)}"
        yield from (Check(kind, FAILED, why) for kind in _COMPUTED)
        return
    for kind in _COMPUTED:
        yield _looked_at(kind, partial(_compared, kind, said, found[kind]))


def _compared(kind: str, said: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> Check:
    records = said["records"][kind]
    problems = list(_differences(records, found))
    if not records and not problems:
        return Check(kind, NOT_CHECKED, "the record holds no such number")
    return _result(kind, problems[:1], f"{len(records)} numbers follow from {EVIDENCE}")


def _differences(said: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What differs between the record's numbers and those that its evidence gives."""
    ours, theirs = ({tuple(entry[key] for key in _KEY): entry for entry in part} for part in (found, said))
    for key in sorted(ours.keys() | theirs.keys()):
        name = f"{key[1]} of the {key[0]} on {key[2]}"
        if key not in theirs or key not in ours:
            yield f"{name} is only in the {'evidence' if key in ours else 'record'}"
            continue
        for field, value in theirs[key].items():
            if not _equal(value, ours[key].get(field)):
                yield f"{name} ({field}) is {value} in the record, and the evidence gives {ours[key].get(field)}"


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    return bool(one == other)
