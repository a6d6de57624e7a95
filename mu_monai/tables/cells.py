"""The cells of a CSV text: which sign separates them, and every row that does not fit the header."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mu_monai.tables.likeness import forms

COMMA = ","
_SEPARATORS = {COMMA: "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_EXCEL_SAYS = re.compile(r"sep=(.)\r?\n?", re.IGNORECASE)  # a first line that tells Excel the separator
_SHOWN = 3  # lines that a message names


@dataclass(frozen=True)
class Cells:
    """The rows of a CSV text that have cells.

    Args:
        header: the names of the columns.
        rows: the cells of every further row.
        lines: the line of the file that each of these rows begins in, from 1.
        separator: the sign between cells.
    """

    header: list[str]
    rows: list[list[str]]
    lines: list[int]
    separator: str = COMMA

    @property
    def separated_by(self) -> str:
        """The separator in words."""
        return _SEPARATORS.get(self.separator, repr(self.separator))

    def text(self) -> str:
        """The cells with commas between them."""
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerows([self.header, *self.rows])
        return stream.getvalue()

    def problems(self) -> Iterator[str]:
        """Why the rows are not a table: a name occurs twice, or cells would move into other columns."""
        yield from _header_problems(self.header)
        width = len(self.header)
        odd = [(line, len(row)) for line, row in zip(self.lines, self.rows, strict=True) if len(row) != width]
        if odd:
            named = ", ".join(f"line {line} has {cells} cells" for line, cells in odd[:_SHOWN])
            more = f" and so on, {len(odd)} lines in all" if len(odd) > _SHOWN else ""
            yield (
                f"{named}{more}, and the header has {width}; put a cell that holds the separator ({self.separator!r}) "
                "in double quotes, and give every row as many cells as the header"
            )
        for line, row in zip(self.lines, self.rows, strict=True):
            if any("\n" in cell and cell.count(self.separator) >= width - 1 > 0 for cell in row):
                yield f"a double quote that opens in line {line} closes some lines later; close it, or write it twice"
        for number, name in enumerate(self.header):
            values = [row[number].strip() for row in self.rows if len(row) > number]
            counted = number == 0 and all(map(str.isdigit, values))  # the numbers of the rows, as pandas writes them
            if not name and any(values) and not counted:
                yield f"column {number + 1} has no name in the header, but holds values; give it a name"


def parsed(text: str, separator: str = COMMA, *, spaced: bool = False) -> Cells:
    r"""The cells of a text.

    Args:
        text: the content of the file.
        separator: the sign between cells.
        spaced: whether spaces may stand between a separator and a quote.

    Raises:
        csv.Error: if quotes do not match, with the line.

    Example:
        >>> parsed('a,b\n\n"1,5",2\n')
        Cells(header=['a', 'b'], rows=[['1,5', '2']], lines=[3], separator=',')
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator, skipinitialspace=spaced)
    rows, lines, before = [], [], 0
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(before + 1)
            before = reader.line_num
    except csv.Error as error:
        raise csv.Error(f"{error}, in the row that begins in line {before + 1}") from None
    return Cells(rows[0] if rows else [], rows[1:], lines[1:], separator)


def parsed_as_it_is(text: str, wanted: Sequence[str] = ()) -> Cells:
    r"""The cells of a text whose separator is not known, without spaces around them.

    It is the sign that gives the header the most names that are wanted, or else the most cells in all rows.

    Args:
        text: the content of the file.
        wanted: columns that the table may have.

    Raises:
        csv.Error: if quotes do not match, with the line.

    Example:
        >>> parsed_as_it_is("case_id; age\n007 ; 1,5\n")
        Cells(header=['case_id', 'age'], rows=[['007', '1,5']], lines=[2], separator=';')
    """
    said = _EXCEL_SAYS.match(text)
    if said:
        text = "\n" + text[said.end() :]  # the lines keep their numbers
        if said[1] in _SEPARATORS:
            return _stripped(text, said[1])
    title = "".join(text.lstrip().splitlines()[:1])
    names = {sign: len({*wanted} & {name.strip(' "') for name in title.split(sign)}) for sign in _SEPARATORS}
    if any(names.values()):
        return _stripped(text, max(names, key=lambda sign: names[sign]))
    return _stripped(text, max(_SEPARATORS, key=lambda sign: _evenness(text, sign)))


def _stripped(text: str, separator: str) -> Cells:
    cells = parsed(text, separator, spaced=True)
    rows = [[cell.strip() for cell in row] for row in cells.rows]
    return Cells([name.strip() for name in cells.header], rows, cells.lines, separator)


def _evenness(text: str, separator: str) -> tuple[bool, int]:
    """Whether a separator makes more than one column and all rows of the same length, and how many columns."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    widths = [len(row) for row in reader if row] or [0]
    return widths[0] > 1 and len(set(widths)) == 1, widths[0]


def _header_problems(header: Sequence[str]) -> Iterator[str]:
    twice = [name for name, times in Counter(filter(None, header)).items() if times > 1]
    if twice:
        yield (
            f"its header names a column twice: {forms(twice)} (in {', '.join(header)}); keep the one that is right, or "
            "rename the other"
        )
