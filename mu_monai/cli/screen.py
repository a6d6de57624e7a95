"""The one way to print: foreign text cannot control the terminal, and a closed pipe is not an error."""

from __future__ import annotations

import logging
import os
import sys
import unicodedata
from contextlib import suppress

import typer

# Control characters, invisible characters that change the direction or form of text, lone surrogates, and the two
# separators that some programs read as a new line.
_STEERING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_LAYOUT = "\n\t"  # the program's own separators of lines and columns


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


def printable(text: str, encoding: str | None = "utf-8") -> str:
    """Escape characters that control a terminal, or that an encoding does not have.

    Example:
        >>> printable(f"ok {chr(27)}[2K {chr(0x202E)}").split()[1:] == [chr(92) + "x1b[2K", chr(92) + "u202e"]
        True
    """
    shown = "".join(_escaped(character) if _steers(character) else character for character in text)
    encoding = encoding or "utf-8"
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def one_line(text: str) -> str:
    """The text with new lines escaped."""
    return text.replace("\n", "\\n")


def _steers(character: str) -> bool:
    return character not in _LAYOUT and unicodedata.category(character) in _STEERING


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


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
