"""A config that several processes of this machine run together, started by torchrun."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mu_monai.errors import InputError, RunError
from mu_monai.lock import HELD
from mu_monai.reasons import KILLED
from mu_monai.runs.error_log import forget_error
from mu_monai.runs.stamp import COMMAND, command_line

REASON = "MU_MONAI_REASON"  # names the file for the reason of the process that failed first
_INPUT, _TEXT = "problems", "text"


def launch(processes: int, files: Sequence[str], overrides: Mapping[str, Any], folder: str | Path) -> None:
    """Run a config in several processes, as `torchrun ... -m monai.bundle run` does.

    Each process uses its share of the cores, unless `OMP_NUM_THREADS` says how many.

    Args:
        processes: how many.
        files: the config and what is laid over it, one of the `multi_gpu` overlays included.
        overrides: values by id.
        folder: the folder that is written, whose lock this command holds.

    Raises:
        InputError: if a process found its input wrong.
        RunError: if a process failed otherwise, or was killed.
        KeyboardInterrupt: if this process is interrupted; the run can be resumed.
    """
    with tempfile.TemporaryDirectory() as temporary:
        values, reason = Path(temporary, "overrides.json"), Path(temporary, "reason.json")
        values.write_text(json.dumps(overrides), encoding="utf-8")
        environment = os.environ | {REASON: str(reason), HELD: str(Path(folder).resolve()), COMMAND: command_line()}
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"),
            *("-m", "monai.bundle", "run", "--config_file", str([*files, str(values)])),
            *("--meta_file", str(Path(files[0]).parent / "metadata.json"), "--logging_file", "False"),
        ]
        code = _wait(subprocess.Popen(command, env=environment))
        if code:
            ended = f"one of the {processes} processes ended without a reason (exit code {code} of torchrun): {KILLED}"
            raise failure_of(reason, ended)
        forget_error(folder)


def _wait(started: subprocess.Popen[bytes]) -> int:
    """The exit code; if this process is interrupted, so are those that it started."""
    try:
        return started.wait()
    except BaseException:
        started.send_signal(signal.SIGINT)
        started.wait()
        raise


def failure_of(file: Path, otherwise: str) -> Exception:
    """The error behind the end of a process that was started.

    Args:
        file: where it may have left a reason.
        otherwise: what to say if it left none, since it was killed.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return RunError(otherwise)
    return InputError(found[_INPUT]) if found[_INPUT] else RunError(found[_TEXT])


def keep_reason(reason: Exception) -> None:
    """Leave the reason why a process ends to the command that started it, if none of the others has done so."""
    file = os.environ.get(REASON)
    if file is not None:
        problems = reason.problems if isinstance(reason, InputError) else []
        with suppress(OSError), open(file, "x", encoding="utf-8") as stream:
            json.dump({_INPUT: problems, _TEXT: str(reason)}, stream)
