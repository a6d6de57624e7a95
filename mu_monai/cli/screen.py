"""The one way to print: foreign text cannot control the terminal, and a closed pipe is not an error."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress

import typer

from mu_monai.printable import one_line, printable


def show(text: object, *, lines: bool = False, err: bool = False) -> None:
    """Print a text and a new line.

    Args:
        text: what to print.
        lines: whether the text has several lines; otherwise a new line in it is part of a name, and is escaped.
        err: print to standard error.
    """
    stream = sys.stderr if err else sys.stdout
    whole = str(text) if lines else one_line(str(text))
    try:
        typer.echo(printable(whole, stream.encoding), file=stream)
    except BrokenPipeError:  # the reader has stopped: further output is dropped, and the command continues
        silence(stream.fileno())


def silence(descriptor: int) -> None:
    """Send output that nobody reads any more to the null device, including the final flush."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


class LogFormatter(logging.Formatter):
    """Formats log messages as `show` prints them, one line each."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The message on one line."""
        return one_line(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        """The message, and the traceback if there is one."""
        return printable(super().format(record), getattr(sys.stderr, "encoding", None))
