"""A limit on what an unlearning run may cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ignite.engine import Events
from monai.engines import SupervisedTrainer

from mu_monai.engine import count_of, warn
from mu_monai.engine.cost import FORWARD, TRAINED
from mu_monai.errors import InputError
from mu_monai.processes import total

MOST = TRAINED + FORWARD  # a training pass of a sample, and the teacher's answer to it


class Budget:
    """Ends a run before it takes more sample passes than it may.

    An iteration begins only if what is left is enough for the most expensive one so far and for what follows the last
    one (`reserve`).

    Args:
        passes: the most sample passes of the run; 0 for a run that trains nothing, and only measures.

    Attributes:
        reserve: sample passes that are kept for the end of the run, such as its last measurement.
        expected: sample passes that a step may take, as far as is known before the first.
        varies: whether steps differ, so that what is expected counts even after cheaper ones.
    """

    def __init__(self, passes: int) -> None:
        self.passes, self.reserve = passes, 0
        self.expected, self.varies = 1, False
        self._before = self._largest = 0
        self._first: int | None = None  # the passes before the first step
        self._spent = False

    def attach(self, engine: SupervisedTrainer) -> None:
        """Hook to the iterations and to the end of the epoch; attach it after the method's own start."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.GET_BATCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._end)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._end_run)
        engine.add_event_handler(Events.COMPLETED, self._check)

    def left(self, engine: SupervisedTrainer) -> int:
        """The sample passes that are left for training."""
        return self.passes - self.reserve - taken(engine)

    def allows(self, engine: SupervisedTrainer, passes: int) -> bool:
        """Whether so many sample passes are within what is left."""
        return self.left(engine) >= passes

    def allows_step(self, engine: SupervisedTrainer) -> bool:
        """Whether a step of the trainer is within what is left."""
        known = self._largest and not self.varies
        return self.left(engine) >= (self._largest if known else max(self._largest, self.expected))

    def require(self, engine: SupervisedTrainer, passes: int, what: str, instead: str) -> None:
        """Refuse a run before anything is changed, if what it cannot do in part is more than what is left.

        Args:
            engine: the trainer.
            passes: the sample passes that are needed.
            what: who needs them, and for what.
            instead: what else can be done than to raise the budget.

        Raises:
            InputError: if they are more than what is left.
        """
        left = self.left(engine)
        if left < passes:
            raise InputError(
                f"{what} needs about {passes} sample passes, and of its budget of {self.passes}, {max(0, left)} are "
                f"left for it; raise the budget, or {instead}"
            )

    @contextmanager
    def keeping(self, passes: int) -> Iterator[None]:
        """In here, so many passes are kept, instead of what is kept for the end of the run."""
        kept, self.reserve = self.reserve, passes
        try:
            yield
        finally:
            self.reserve = kept

    def progress(self, engine: SupervisedTrainer) -> float:
        """The share of what the steps may take that is spent, in [0, 1]."""
        first = self._first or 0
        return min(1.0, (taken(engine) - first) / max(1, self.passes - self.reserve - first))

    def is_spent(self, engine: SupervisedTrainer) -> bool:
        """Whether the epoch that just ended is the last one that is within what is left."""
        return self._spent or not self.allows_step(engine)

    def state_dict(self) -> dict[str, Any]:
        """What an interrupted run needs to go on with the same limit."""
        return {"first": self._first, "largest": self._largest, "spent": self._spent}

    def load_state_dict(self, state: Mapping[str, Any], engine: SupervisedTrainer) -> None:
        """Go on from what `state_dict` returned; a run that had spent its budget ends."""
        self._first, self._largest, self._spent = state["first"], state["largest"], state["spent"]
        if self._spent:
            engine.terminate()

    def _start(self, engine: SupervisedTrainer) -> None:
        if not self.allows_step(engine):
            if self.passes:
                warn(
                    engine,
                    f"the budget of {self.passes} sample passes does not allow a single step: "
                    f"{taken(engine)} were taken before the first, and {self.reserve} are kept for the last "
                    "measurement",
                )
            engine.terminate()

    def _begin(self, engine: SupervisedTrainer) -> None:
        self._before = taken(engine)
        if self._first is None:
            self._first = self._before
        if not self.allows_step(engine):  # what an epoch began with was expensive
            self._end_epoch(engine)

    def _end(self, engine: SupervisedTrainer) -> None:
        self._largest = max(self._largest, taken(engine) - self._before)
        if not self.allows_step(engine):
            self._end_epoch(engine)

    def _end_epoch(self, engine: SupervisedTrainer) -> None:
        self._spent = True
        engine.terminate_epoch()

    def _end_run(self, engine: SupervisedTrainer) -> None:
        state = engine.state
        state.iteration = state.epoch * state.epoch_length  # an epoch that was cut is one; a resumed run counts so too
        self._spent = self.is_spent(engine)  # a measurement after the last step may have taken the rest
        if self._spent:
            engine.terminate()

    def _check(self, engine: SupervisedTrainer) -> None:
        passes = taken(engine)
        if passes > self.passes:
            warn(
                engine,
                f"the run took {passes} sample passes, more than its budget of {self.passes}: the method needs them "
                "before its first step, or in one piece",
            )


def taken(engine: SupervisedTrainer) -> int:
    """The sample passes so far, of all processes of the run; all of them must call it."""
    return total(count_of(engine).passes)
