"""Foreign text as it may be printed and logged: it cannot control a terminal, nor pose as lines of the program."""

from __future__ import annotations

import traceback
import unicodedata

# Control characters, invisible characters that change the direction or form of text, lone surrogates, and the two
# separators that some programs read as a new line.
_STEERING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_LAYOUT = "\n\t"  # the program's own separators of lines and columns
_INDENT = "    "


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


def printable_traceback(error: BaseException) -> str:
    """The traceback of an error; further lines of its message, which a name may hold, are indented.

    Example:
        >>> print(printable_traceback(ValueError(f"a{chr(10)}INFO done")))
        ValueError: a
            INFO done
    """
    return printable("".join(map(_indented, traceback.format_exception(error)))).rstrip("\n")


def _indented(part: str) -> str:
    """A part of a traceback, whose lines after the first do not begin at the margin."""
    if part.startswith("\n"):  # how one error led to another, in Python's words
        return part
    first, *rest = part.rstrip("\n").split("\n")
    return "\n".join([first, *(line if line.startswith(" ") else _INDENT + line for line in rest)]) + "\n"


def _steers(character: str) -> bool:
    return character not in _LAYOUT and unicodedata.category(character) in _STEERING


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
