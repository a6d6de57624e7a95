"""Score every case of a run's split again, using only the files of the run."""

from __future__ import annotations

import logging
from pathlib import Path

from mu_monai.bundle.layers import LayeredConfig
from mu_monai.bundle.trust import STRANGER, Trust, inherited
from mu_monai.errors import collect, raise_if_any
from mu_monai.keys import MODEL_PT, STUDENT, TEACHER
from mu_monai.lock import writes
from mu_monai.runs import is_complete, is_finished, open_run, scores_file
from mu_monai.runs.record import GONE
from mu_monai.workflow.checks import changed_problems, device_problems, place_problems, usable_split, weight_problems
from mu_monai.workflow.moved import gone_problems, moved
from mu_monai.workflow.recipe import common_options, gone_options, gone_unsupported
from mu_monai.workflow.several import lay_several, overlays_for, run_together, several_problems

logger = logging.getLogger(__name__)


def scored_instead(
    run: str | Path,
    device: str | None,
    trust: Trust,
    *,
    split: str | Path | None = None,
    teacher: str | Path | None = None,
) -> bool:
    """Score a resumed run if only its scores are missing, because it was killed after its training.

    Args:
        run: the run folder.
        device: such as `cpu` or `cuda:0`; by default a GPU if there is one.
        trust: how far the run is trusted.
        split: the split that it is resumed with; None for where the run found it.
        teacher: the weights or run folder that it is resumed with; None for where the run found them.

    Returns:
        whether it was scored, so that nothing is left to do.
    """
    if not is_finished(run) or is_complete(run):
        return False
    logger.info("the training of '%s' is finished and its scores are missing: scoring it", run)
    evaluate(run, split=split, teacher=teacher, device=device, trust=trust)
    return True


@writes("run")
def evaluate(
    run: str | Path,
    *,
    split: str | Path | None = None,
    teacher: str | Path | None = None,
    device: str | None = None,
    processes: int = 1,
    trust: Trust = STRANGER,
) -> Path:
    """Write `scores.csv` and `examples.npz` of a finished run.

    Args:
        run: the folder of a finished run.
        split: a `split.json` to use instead of the run's, such as one whose files have moved.
        teacher: the teacher's weights or run folder, if they are no longer where the run found them.
        device: such as `cpu` or `cuda:0`; by default a GPU if there is one.
        processes: how many processes of this machine score it together, each with a GPU of its own if there are any.
        trust: how far the run is trusted.

    Returns:
        the path of `scores.csv`.

    Raises:
        InputError: if the run is not finished, or its split, weights or teacher are missing or not those that the run
            was made with: the scores would be recorded under the wrong digests.
    """
    run = Path(run)
    record = moved(open_run(run).record, split=split, teacher=teacher)
    raise_if_any(gone_problems(run, record))
    gone = record.forget_images == GONE
    bundle, split = trust.bundle_of(record), record.split.file
    weights = {record.role: str((run / MODEL_PT).resolve())}
    if record.role == STUDENT and record.teacher:
        weights = {TEACHER: record.teacher, **weights}
    places: dict[str, str | Path | None] = {"RUN": run, "--split": split, "the bundle": bundle.place}
    raise_if_any(place_problems(places | {"the teacher": record.teacher}))
    config = LayeredConfig(bundle, "evaluate", overlays=overlays_for(processes, bundle, "evaluate"))
    config.lay("run", inherited(run, bundle, trust=trust))
    config.lay(
        "options",
        common_options(bundle, split, device) | gone_options(gone) | {"weights": weights, "run_dir": str(run)},
    )
    lay_several(processes, config, "evaluate")
    parser = config.read()
    opened, broken = usable_split(split, [], forget_images_gone=gone)
    raise_if_any(
        collect(
            lambda: broken,
            lambda: gone_unsupported(config.read("recipe")) if gone else [],
            lambda: device_problems(device),
            lambda: several_problems(processes, device),
            lambda: changed_problems(run, record, opened, weights),
            *(lambda path=path: weight_problems(parser, path) for path in weights.values()),
        )
    )
    run_together(processes, config, config.overrides, run)
    return scores_file(run)
