"""Check a released folder against its record, with one line for each check."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import beta

from mu_monai.adapters import misfits, read_weights, weights_sha256
from mu_monai.attacks import search_folder
from mu_monai.audit.bootstrap import TAIL, other_tail
from mu_monai.audit.verdicts import RULES, WIDENED_SINCE
from mu_monai.data import read_split
from mu_monai.errors import InputError
from mu_monai.files import absence, file_sha256, read_json
from mu_monai.keys import STUDENT
from mu_monai.record import (
    EVIDENCE,
    KEY,
    NOT_AUDITED,
    RECORD_JSON,
    commitment,
    file_problems,
    open_envelope,
    public_key,
    read_evidence,
    read_salt,
    record_problems,
    signature_problem,
    type_problem,
    without_cases,
    without_nan,
)
from mu_monai.workflow.handover.agreement import evidence_problems, member_problems, release_problems
from mu_monai.workflow.handover.derived import (
    ByKind,
    gap_problems,
    named,
    rules_of,
    same,
    scored_problems,
    verdict_problems,
)
from mu_monai.workflow.handover.received_network import ForeignNetworkError, received_network
from mu_monai.workflow.handover.sealed import released_bundle, released_weights
from mu_monai.workflow.handover.signing import DRAWS, computed_records

OK, FAILED, NOT_CHECKED = "ok", "FAILED", "not checked"
_COMPUTED = ("utility", "membership")
_LEAST_DRAWS = 1000  # of an audit whose intervals are compared with those of the evidence
_RARE = 1e-6
_NARROW = ", with the intervals of an earlier version, which are too narrow for few patients"
_NAMES = ("record", "files", "weights", "search", "split", *_COMPUTED, "verdict")
_OLD = (
    "it has format 1, with a plain digest of the split, seeds and numbers of cases: anyone who guesses the split can "
    "tell who was forgotten; sign the release again"
)


@dataclass(frozen=True)
class Check:
    """One check and its result.

    Args:
        name: `signature`, `record`, `files`, `weights`, `search`, `split`, `utility`, `membership` or `verdict`.
        status: `ok`, `FAILED` or `not checked`.
        detail: one sentence: what was found, or why it was not checked.

    Example:
        >>> str(Check("split", NOT_CHECKED, "no --split was given"))
        'not checked  split: no --split was given'
    """

    name: str
    status: str
    detail: str

    @property
    def failed(self) -> bool:
        """Whether the check contradicts the record."""
        return self.status == FAILED

    def __str__(self) -> str:
        line = f"{self.status:<{len(NOT_CHECKED)}}  {self.name}: {self.detail}"
        return line.replace("\n", "\\n")  # so that a file name cannot start a new line


def verify(
    folder: str | Path,
    *,
    key: str | Path,
    split: str | Path | None = None,
    salt: str | Path | None = None,
    without_evidence: bool = False,
) -> list[Check]:
    """Check the signature of a released folder's record, and everything in it that can be checked.

    If the signature or the type of the record is wrong, nothing else is checked, since anyone may have written it.

    Args:
        folder: the folder that was handed over.
        key: the public key that the record must be signed with, a PEM file.
        split: the `split.json` that the record must be about; needs `salt`, since the record has no plain digest of it.
        salt: the file with the salt of the record, which auditors get.
        without_evidence: the score table was not handed over and may be missing.

    Returns:
        the checks, in the order in which they were made.

    Raises:
        InputError: if a file to check with, or the record, is missing.
    """
    folder, signer = Path(folder), public_key(key)
    if split is not None and not Path(split).is_file():
        raise InputError(f"split file '{split}' {absence(split)}; give the split.json that the record is about")
    secret = None if salt is None else read_salt(salt)
    if not (folder / RECORD_JSON).is_file():
        raise InputError(f"'{folder}' has no {RECORD_JSON}; give a folder that 'mu-monai report --record' signed")
    try:
        envelope = open_envelope(read_json(folder / RECORD_JSON))
        problem = signature_problem(envelope, signer) or type_problem(json.loads(envelope.payload))
    except (ValueError, RecursionError) as error:
        problem = f"{RECORD_JSON} cannot be read: {error}"
    if problem:
        rest = [Check(name, NOT_CHECKED, "the record itself cannot be trusted") for name in _NAMES]
        return [Check("signature", FAILED, problem), *rest]
    content = json.loads(envelope.payload)
    predicate = content["predicate"]
    files = checked("files", lambda: _files(folder, content, without_evidence))
    return [
        Check("signature", OK, f"signed with the key {signer.keyid[:12]}, made {_age(predicate.get('created'))}"),
        checked("record", lambda: _record(folder, predicate, files)),
        files,
        checked("weights", lambda: _weights(folder, predicate), files),
        checked("search", lambda: _search(folder), files),
        checked("split", lambda: _split(folder / EVIDENCE, predicate, split, secret)),
        *_recomputed(folder / EVIDENCE, predicate, without_evidence),
    ]


def _age(created: Any) -> str:
    """When a record was made, and how long ago: an old record can be presented instead of a newer one."""
    days = _days_ago(created)
    if days is None:
        return "at a time that cannot be read"
    ago = {0: "today", 1: "1 day ago"}.get(days, f"{days} days ago")
    return f"{created[:10]}, {ago if days >= 0 else f'{-days} days in the future: one of the clocks is wrong'}"


def _days_ago(created: Any) -> int | None:
    try:
        signed = datetime.fromisoformat(created).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None
    return (datetime.now(UTC).date() - signed.date()).days


def _record(folder: Path, predicate: Mapping[str, Any], files: Check) -> Check:
    """Whether the record is complete, and agrees with the other files of the release."""
    problems = record_problems(predicate)
    if not problems and predicate["draws"] != DRAWS:  # otherwise the signer could choose the draws that look best
        problems = [f"'draws' is {predicate['draws']}, and must be {DRAWS} in every record"]
    if not problems:
        days = _days_ago(predicate["created"])
        problems = [f"it says that it was made {-days} days in the future"] if days is not None and days < -1 else []
    if not problems and not files.failed:
        problems = list(release_problems(folder, predicate))
    if predicate["format"] == 1:
        return _result("record", problems, _OLD)
    agrees = "" if files.failed else ", and agrees with release.json and metadata.json"
    return _result("record", problems, f"no field is missing{agrees}")


def checked(name: str, check: Callable[[], Check], files: Check | None = None) -> Check:
    """Run a check. It fails if it cannot be run; one that opens files is skipped if they are not as signed."""
    if files is not None and files.failed:
        return Check(name, NOT_CHECKED, "the files are not those that were signed")
    try:
        return check()
    except InputError as error:
        return Check(name, FAILED, "; ".join(error.problems))
    except Exception as error:  # a record may lack anything, and a network may raise anything for its arguments
        return Check(name, FAILED, f"it cannot be checked ({_one_line(error)})")


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: " + str(error).strip().partition("\n")[0]


def _files(folder: Path, content: Mapping[str, Any], without_evidence: bool) -> Check:
    problems = file_problems(folder, content["subject"], absent=[EVIDENCE] if without_evidence else [])
    return _result("files", problems, f"{len(content['subject'])} files are unchanged since they were signed")


def _search(folder: Path) -> Check:
    return _result(
        "search", [finding.what for finding in search_folder(folder)], "no adapter, checkpoint or optimizer state"
    )


def _result(name: str, problems: Sequence[str], fine: str) -> Check:
    return Check(name, FAILED, "; ".join(problems)) if problems else Check(name, OK, fine)


def _weights(folder: Path, predicate: Mapping[str, Any]) -> Check:
    """Whether the weights are those of the record and fit the network; the config is only read, not run."""
    bundle, recorded = released_bundle(folder), predicate["weights"][STUDENT]
    state = read_weights(released_weights(folder))
    digest = weights_sha256(state)
    problems = [f"they have the SHA-256 {digest}, and the record says {recorded}"] if digest != recorded else []
    try:
        network = received_network(read_json(bundle / "configs" / "inference.json"))
    except ForeignNetworkError as error:
        return _result("weights", problems, f"SHA-256 {digest[:12]}; whether they fit is not checked: {error}")
    return _result(
        "weights",
        problems + [f"they do not fit {type(network).__name__}: {t}" for t in misfits(network, state)],
        f"they fit the network, SHA-256 {digest[:12]}",
    )


def _split(evidence: Path, predicate: Mapping[str, Any], split: str | Path | None, salt: bytes | None) -> Check:
    """Whether a split is that of the record, and the evidence is of its cases in their subsets."""
    if split is None:
        return Check("split", NOT_CHECKED, "no --split was given")
    digest = file_sha256(split)
    if predicate["format"] == 1:
        recorded = predicate["split"]["sha256"]
        other = [f"the record is about other data: '{split}' has the SHA-256 {digest}, and the record says {recorded}"]
        return _result("split", other if digest != recorded else [], f"SHA-256 {digest[:12]}")
    if salt is None:
        return Check("split", NOT_CHECKED, "no --salt was given, and without it the split cannot be compared")
    if commitment("split", digest, salt) != predicate["commitments"]["split"]:
        problem = f"other data or another salt: with this salt, '{split}' is not the split that the record commits to"
        return Check("split", FAILED, problem)
    fine = "with this salt, it is the split that the record commits to"
    if not evidence.is_file():
        return Check("split", OK, f"{fine}; without {EVIDENCE}, whose scores were measured is not checked")
    problems = list(member_problems(read_evidence(evidence), read_split(split), salt))
    return _result("split", problems[:1], f"{fine}, and {EVIDENCE} is of its cases")


def _recomputed(evidence: Path, predicate: Mapping[str, Any], without: bool) -> Iterator[Check]:
    """The checks of what follows from the evidence, and from the numbers of the audit."""
    if not evidence.is_file():
        why = "--without-evidence was given" if without else f"{EVIDENCE} is missing"
        yield from (Check(kind, NOT_CHECKED, why) for kind in _COMPUTED)
        yield checked("verdict", partial(_verdict, predicate))
        return
    try:
        scores = read_evidence(evidence)
        computed, how = _computed_as_signed(scores, predicate)
        counts = list(evidence_problems(scores, predicate))
        bounds = _bounds(scores, predicate, widened=not how)
    except Exception as error:  # pandas may raise anything for a broken table
        why = f"{EVIDENCE} cannot be audited: {_one_line(error)}"
        yield from (Check(kind, FAILED, why) for kind in (*_COMPUTED, "verdict"))
        return
    for kind in _COMPUTED:
        told = counts if kind == "utility" else []
        yield checked(kind, partial(_compared, kind, predicate, computed[kind], told, how))
    yield checked("verdict", partial(_verdict, predicate, computed, bounds))


def _computed_as_signed(scores: pd.DataFrame, predicate: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The numbers that follow from the evidence, and whether they have the intervals of an earlier version."""
    now = _computed(scores, predicate)
    if not _differ(predicate, now) or not _is_earlier(predicate):
        return now, ""
    earlier = _computed(scores, predicate, widened=False)
    return (now, "") if _differ(predicate, earlier) else (earlier, _NARROW)


def _computed(scores: pd.DataFrame, predicate: Mapping[str, Any], *, widened: bool = True) -> dict[str, Any]:
    found: dict[str, Any] = without_nan(computed_records(scores, predicate["forget_classes"], DRAWS, widened=widened))
    return found if predicate["format"] == 1 else without_cases(found)


def _is_earlier(predicate: Mapping[str, Any]) -> bool:
    """Whether a record may have been signed before intervals of few patients were widened."""
    return predicate["verdict"] == NOT_AUDITED or rules_of(predicate["verdict"]) < WIDENED_SINCE


def _differ(predicate: Mapping[str, Any], computed: Mapping[str, Any]) -> bool:
    try:
        return any(any(_differences(predicate["records"][kind], computed[kind])) for kind in _COMPUTED)
    except (KeyError, TypeError, AttributeError):  # damaged, which the check of that kind tells
        return False


def _bounds(scores: pd.DataFrame, predicate: Mapping[str, Any], *, widened: bool) -> tuple[ByKind, ByKind] | None:
    """What the evidence gives, with the widest and the narrowest intervals that an audit can have found by its draws.

    Pseudonyms put the patients into another order, so that the same seed draws others than the audit drew. The end of
    an interval is the value at rank p(n - 1) + 1 of n draws. The share of all possible draws that lies below it has a
    beta distribution, whatever the scores are. Two ends, of n and of m draws, differ about as much as one of
    nm / (n + m) draws does from the true one. The limits are those that an end leaves in one of a million cases, as an
    audit has hundreds of ends.
    """
    audit = predicate["audit"]
    if audit == NOT_AUDITED:
        return None
    one, other = max(audit["n_resamples"], 1), DRAWS["n_resamples"]
    draws = one * other / (one + other)
    rank = max(TAIL * (draws - 1), 0)
    found = []
    for tail in beta.ppf([_RARE, 1 - _RARE], rank + 1, draws - rank):
        with other_tail(float(tail)):
            found.append(_computed(scores, predicate, widened=widened))
    return found[0], found[1]


def _verdict(
    predicate: Mapping[str, Any], computed: ByKind | None = None, bounds: tuple[ByKind, ByKind] | None = None
) -> Check:
    """Whether the verdict follows from the audit's numbers, and these, as far as they can, from the evidence."""
    if predicate["verdict"] == predicate["audit"] == NOT_AUDITED:
        return Check("verdict", NOT_CHECKED, f"the record says {NOT_AUDITED}")
    verdict, audit = predicate["verdict"], predicate["audit"]
    ours = audit["versions"].get("mu_monai") == version("mu-monai") and predicate["format"] > 1
    problems = [
        *verdict_problems(verdict, audit["records"], words=ours),
        *gap_problems(audit["records"]),
        *(scored_problems(audit["records"], computed, bounds) if computed else ()),
    ]
    if not problems and audit["n_resamples"] < _LEAST_DRAWS:  # the signer could choose the draws that look best
        few = f"its intervals are of {audit['n_resamples']} draws, and fewer than {_LEAST_DRAWS} show too little"
        return Check("verdict", NOT_CHECKED, few)
    fine = f"{verdict['label']} follows from the record's numbers by the public rules"
    if rules_of(verdict) < RULES:
        fine += " of an earlier version, by which less was told"
    return _result("verdict", problems[:1], fine)


def _compared(
    kind: str,
    predicate: Mapping[str, Any],
    computed: Sequence[Mapping[str, Any]],
    counts: Sequence[str],
    how: str,
) -> Check:
    records = predicate["records"][kind]
    problems = [*_differences(records, computed), *counts]
    if not records and not problems:
        return Check(kind, NOT_CHECKED, "the record has no such numbers")
    return _result(kind, problems[:1], f"{len(records)} numbers follow from {EVIDENCE}{how}")


def _differences(records: Sequence[Mapping[str, Any]], computed: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Where the record's numbers differ from those that its evidence gives."""
    ours, theirs = ({tuple(entry[key] for key in KEY): entry for entry in part} for part in (computed, records))
    if len(theirs) < len(records):
        yield "a number is listed twice in the record"
    for key in sorted(ours.keys() | theirs.keys()):
        name = named(key)
        if key not in theirs or key not in ours:
            yield f"{name} is only in the {'evidence' if key in ours else 'record'}"
            continue
        for field in sorted(ours[key].keys() | theirs[key].keys()):
            stated, derived = theirs[key].get(field), ours[key].get(field)
            if not same(stated, derived):
                yield f"{name} ({field}) is {stated} in the record, and the evidence gives {derived}"
