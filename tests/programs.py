"""Programs in processes of their own that need not import torch and MONAI anew: a server that has imported them forks.

A program that starts as the shell starts it takes some seconds of processor time for its imports. These do not, and so
what depends on how Python starts (`PYTHONIOENCODING`, the imports themselves) is tested with `subprocess`.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["monai.bundle", "peft", "pandas", "skimage.measure", "nibabel", "matplotlib"])


class Program:
    """`python -m MODULE ARGUMENTS`, started; as `subprocess.Popen` with both outputs as text.

    Args:
        module: the module.
        arguments: its arguments.
        cwd: the folder that it works in.
    """

    def __init__(self, module: str, *arguments: object, cwd: str | Path | None = None) -> None:
        self._outputs = tempfile.TemporaryDirectory()
        words = [str(argument) for argument in arguments]
        place = str(cwd or Path.cwd())
        self._process = _SERVER.Process(target=_run, args=(module, words, place, dict(os.environ), self._outputs.name))
        self._process.start()
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """The exit code, if it has ended."""
        return self._process.exitcode

    @property
    def returncode(self) -> int | None:
        """The exit code, if it has ended."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        """Wait for its end; what it wrote and its error output."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            self._process.kill()
            raise subprocess.TimeoutExpired(str(self._process), timeout)
        written, errors = (Path(self._outputs.name, name).read_text() for name in ("out", "err"))
        return written, errors

    def wait(self, timeout: float = 300) -> int:
        """Wait for its end; its exit code."""
        self.communicate(timeout)
        return self.returncode


def run(
    module: str, *arguments: object, cwd: str | Path | None = None, check: bool = False
) -> subprocess.CompletedProcess:
    """Run `python -m MODULE ARGUMENTS` to its end; as `subprocess.run` with both outputs as text."""
    program = Program(module, *arguments, cwd=cwd)
    out, err = program.communicate()
    assert not check or program.returncode == 0, err
    return subprocess.CompletedProcess([module, *map(str, arguments)], program.returncode, out, err)


def _run(module: str, arguments: list[str], place: str, environment: Mapping[str, str], outputs: str) -> None:
    for number, name in enumerate(("out", "err"), start=1):
        file = os.open(Path(outputs, name), os.O_WRONLY | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(place)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit:
        raise
    except BaseException:
        sys.excepthook(*sys.exc_info())
        sys.exit(1)
