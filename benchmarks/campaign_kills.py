"""Kill every verb at random moments, go on as a user would, and compare with what was never interrupted."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from campaign_runs import QUICK, SMALL, digest, image_of, measured, split_of
from campaign_trying import TRACEBACK, Tried, call, here, started, tried

from mu_monai.adapters import read_weights, weights_sha256

SAME, LOST = "as if never killed", "LOST"
TINY = ["--set", "max_epochs=3", "--set", "batch_size=8", "--quiet"]


@dataclass(frozen=True)
class Verb:
    """A command that is killed.

    Args:
        arguments: of the command.
        result: what it made, to be compared.
        resumes: whether it goes on with `--resume`; others are called again.
        makes: what it makes; if this is there after the kill, it must be complete.
    """

    arguments: list[object]
    result: Callable[[], str]
    makes: Path
    resumes: bool = False


def verbs(made: Path, place: Path, fast: bool) -> dict[str, Verb]:
    """Every verb that writes, on copies of runs in a folder.

    Args:
        made: the runs.
        place: where the copies are, and what is made.
        fast: only what takes a second.
    """
    split, out, run, other = split_of(made), place / "out", place / "student", place / "other"
    settings = [text for setting in SMALL for text in ("--set", setting)]
    common: list[object] = ["--split", split, "--out", out, *TINY]
    manifest = split.parent / "manifest.csv"

    def weights() -> str:
        return weights_sha256(read_weights(out)) + digest(out / "scores.csv")

    found = {
        "split": Verb(["split", manifest, "--forget", "0.3", "--out", place / "s.json"], lambda: "", place / "s.json"),
        "train": Verb(["train", "isic", *common, *settings], weights, out, True),
        "unlearn": Verb(["unlearn", "isic", *common, "--teacher", made / "teacher"], weights, out, True),
        "compose": Verb(["compose", run, other, "--out", out, *TINY], weights, out, True),
        "evaluate": Verb(["evaluate", run], lambda: digest(run / "scores.csv"), run),
        "audit": Verb(["audit", run, "--attacks", "int8", "--quiet"], lambda: measured(run / "audit.json"), run),
        "predict": Verb(["predict", run, image_of(made), "--out", out], lambda: digest(out), out),
        "merge": Verb(["merge", run, "--out", out / "w.pt"], lambda: weights_sha256(read_weights(out / "w.pt")), out),
        "revert": Verb(["revert", run, "--out", out / "w.pt"], lambda: weights_sha256(read_weights(out / "w.pt")), out),
        "release": Verb(["release", run, "--out", out], lambda: digest(out / "bundle"), out),
        "report": Verb(["report", run, "--out", out], lambda: digest(out / "tables"), out),
        "compare": Verb(_compared(made, out, split), lambda: _models(out), out),
    }
    found["split"] = Verb(found["split"].arguments, lambda: _text(place / "s.json"), place / "s.json")
    quick = ("split", "train", "unlearn", "evaluate", "merge", "predict", "report")
    return {name: verb for name, verb in found.items() if not fast or name in quick}


def _compared(made: Path, out: Path, split: Path) -> list[object]:
    choice = ["--methods", "random-labels", "--trials", "1", "--reference", made / "retrained", *QUICK, "--quiet"]
    return ["compare", "isic", "--split", split, "--teacher", made / "teacher", "--out", out, *choice]


def _models(folder: Path) -> str:
    """The weights of all runs of a comparison, whose tables also have times."""
    return "".join(weights_sha256(read_weights(file)) for file in sorted(folder.rglob("model.pt")))


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")


class Kills:
    """One verb, killed again and again.

    Args:
        name: of the verb.
        made: the runs.
        place: a folder to work in.
        patience: the seconds after which a command hangs.
        fast: as in `verbs`.
    """

    def __init__(self, name: str, made: Path, place: Path, patience: float, fast: bool) -> None:
        self.made, self.place, self.patience = made, place, patience
        self.report = place.with_suffix(".json")
        self.verb = verbs(made, place, fast)[name]
        self._fresh()
        self.sound = here(partial(self._work, self.verb.arguments))
        self._fresh()
        begun = time.monotonic()
        self._attempt(self.verb.arguments)
        self.seconds = time.monotonic() - begun
        if self.sound.code != 0:
            raise SystemExit(f"{name} fails without being killed: {self.sound.said}")

    def once(self, rng: random.Random) -> tuple[str, str]:
        """Kill it once and go on: the outcome, and what was done and said."""
        self._fresh()
        after = rng.uniform(0, self.seconds)
        child = started(lambda: (*call(*self.verb.arguments), ""), self.report)
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found, how = self._gone_on()
        what = f"killed after {after:.2f} s of {self.seconds:.2f}, {how}"
        if found.code in (None, -1) or "Traceback" in found.said:
            return TRACEBACK, f"{what}: {found.said[-300:]}"
        same = found.code == 0 and found.result == self.sound.result
        return (SAME if same else LOST), f"{what}: {found.said.strip()[-300:]}"

    def _gone_on(self) -> tuple[Tried, str]:
        """What a user does next: go on, or take what is complete, or, if nothing is there to go on with, begin anew."""
        again = [*self.verb.arguments, *["--resume"] * (self.verb.resumes and self.verb.makes.exists())]
        found = self._attempt(again)
        if found.code == 2 and "exists" in found.said:
            return self._attempt([]), "complete"
        if found.code == 2 and "holds no checkpoint to resume from" in found.said:
            shutil.rmtree(self.verb.makes)
            return self._attempt(self.verb.arguments), "begun anew"
        return found, "gone on"

    def _attempt(self, arguments: list[object]) -> Tried:
        """Run a command, or none, and look at what is there."""
        return tried(partial(self._work, arguments), self.report, self.patience)

    def _work(self, arguments: list[object]) -> tuple[int, str, str]:
        code, said = call(*arguments) if arguments else (0, "")
        return code, said, self.verb.result() if code == 0 else ""

    def _fresh(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True)
        for name in ("student", "other"):
            shutil.copytree(self.made / "student", self.place / name)
