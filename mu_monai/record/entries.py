"""The entries of a ledger: versions of a model, requests, what was begun, and answers. They name nobody."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Version:
    """A model, as a run folder.

    Args:
        number: its number, from 1.
        run: its run folder, relative to that of the ledger, or absolute if it is outside.
        role: `teacher`, `retrained` or `student`.
        weights: SHA-256 of its weights.
        split: SHA-256 of the file of its split.
        split_file: that file, as `run`.
        evidence: SHA-256 of its score table with pseudonyms, `evidence/version-N.csv`; None if it has no scores.
        salt: of the first version, what the ledger's salt must give, so that another salt is noticed.
    """

    number: int
    run: str
    role: str
    weights: str
    split: str
    split_file: str
    evidence: str | None = None
    salt: str | None = None


@dataclass(frozen=True, kw_only=True)
class Request:
    """Whom to forget, until when.

    Args:
        number: its number, from 1.
        received: the day on which it was received, in ISO 8601.
        deadline: the last day on which it may be answered.
        requester: a commitment to whoever asked; None if that was not said.
        patients: pseudonyms of the patients.
        cases: pseudonyms of their cases.
    """

    number: int
    received: str
    deadline: str
    requester: str | None = None
    patients: tuple[str, ...]
    cases: tuple[str, ...]

    @property
    def counts(self) -> str:
        """How many are to be forgotten."""
        return f"patients: {len(self.patients)}, cases: {len(self.cases)}"


@dataclass(frozen=True, kw_only=True)
class Start:
    """A version that was begun, with all that it takes to go on with it.

    Args:
        version: the number of the version to make.
        requests: the requests that it answers.
        route: the name of the route.
        why: why that route and no better one, in sentences.
        split: SHA-256 of the file of its split.
        folds: the folder of the folds, for the route that needs it.
        budget: the most that it may cost, as a share of the first version's training; None for no limit.
        settings: `KEY=VALUE` overrides of config ids.
        forget_images_gone: whether the images of the forgotten no longer exist.
    """

    version: int
    requests: tuple[int, ...]
    route: str
    why: tuple[str, ...]
    split: str
    folds: str | None = None
    budget: float | None = None
    settings: tuple[str, ...] = ()
    forget_images_gone: bool = False


@dataclass(frozen=True, kw_only=True)
class Membership:
    """How well a version's losses tell the patients of a request from unseen ones; None if that was not measured.

    Args:
        request: the number of the request.
        patients: how many patients were measured.
        auc: the probability that one of them has a lower loss than an unseen one, in [0, 1].
        low: the lower end of its 95 % interval; None for a single patient.
        high: the upper end.
        before: the same AUC of the first version.
    """

    request: int
    patients: int
    auc: float | None = None
    low: float | None = None
    high: float | None = None
    before: float | None = None


@dataclass(frozen=True, kw_only=True)
class Recheck:
    """Whether the patients of an earlier request came back; None for what was not measured.

    Args:
        request: the number of the request.
        then: the AUC when it was answered.
        now: the AUC in the new version.
        fall: by how much the loss of its patients fell since.
        limit: how far it can fall by chance, from the losses of unseen patients.
        came_back: whether they came back, see `mu_monai.audit.came_back`.
    """

    request: int
    then: float | None = None
    now: float | None = None
    fall: float | None = None
    limit: float | None = None
    came_back: bool = False


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a version answers, and what the audit of all earlier requests found in it.

    Args:
        version: the version.
        requests: the numbers of the requests that it answers.
        route: the name of the route.
        share: its cost, as a share of the sample passes of the training that it started from; None if not known.
        membership: the evidence for each of these requests.
        audit: the evidence for every earlier one.
    """

    version: Version
    requests: tuple[int, ...]
    route: str
    share: float | None = None
    membership: tuple[Membership, ...]
    audit: tuple[Recheck, ...]

    @property
    def came_back(self) -> list[int]:
        """The numbers of the requests that came back: with any, the version is refused."""
        return [check.request for check in self.audit if check.came_back]


Entry = Version | Request | Start | Answer
KINDS: dict[str, type[Entry]] = {"version": Version, "request": Request, "start": Start, "answer": Answer}


def kind_of(entry: Entry) -> str:
    """The name of an entry's kind.

    Example:
        >>> kind_of(Start(version=2, requests=(1,), route="shards", why=(), split="a1"))
        'start'
    """
    return next(name for name, kind in KINDS.items() if isinstance(entry, kind))
