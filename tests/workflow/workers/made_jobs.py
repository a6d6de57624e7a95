"""What workers are asked to do in tests: functions of a module, which they import."""

import logging
import os
import sys
import time
import warnings
from pathlib import Path

from mu_monai.errors import InputError


def write(place):
    """Write the process and the command."""
    Path(place).write_text(f"{os.getpid()} {' '.join(sys.argv)}")


def fail(error):
    raise error


def refuse(*problems):
    raise InputError(problems)


def warn(text):
    logging.getLogger("mu_monai.made").warning(text)
    warnings.warn("of a library", stacklevel=1)


def end(place, times):
    """End the process that it runs in, the first times that it is called."""
    ended = len(list(Path(place).parent.glob(f"{Path(place).name}.*")))
    if ended < times:
        Path(f"{place}.{ended}").touch()
        os._exit(1)
    Path(place).touch()


def wait_for_the_end(place):
    """Work until the worker is told to end, and write that down, as a run does."""
    Path(f"{place}.begun").touch()
    try:
        for _ in range(1000):  # Ray interrupts Python code, and not a single long sleep
            time.sleep(0.1)
    except KeyboardInterrupt:
        Path(place).touch()
        raise
