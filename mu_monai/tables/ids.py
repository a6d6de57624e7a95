"""Lists of ids: a text file with one per line, or a table with a column of them."""

from __future__ import annotations

import os
from collections.abc import Sequence

from mu_monai.errors import InputError, raise_if_any
from mu_monai.tables.encodings import foreign_text
from mu_monai.tables.likeness import title
from mu_monai.tables.reading import foreign_cells

_SEPARATORS = str.maketrans(";\t|", ",,,")


def read_ids(source: str | os.PathLike[str], columns: Sequence[str]) -> tuple[list[str], list[str]]:
    r"""Read a list of ids, as text: from the lines of a text file, or from a column of a table.

    Args:
        source: the file, as `read_table` reads foreign ones. It is a table if its first line names one of the columns.
        columns: the names that a column of ids may have.

    Returns:
        the ids, without the spaces around them; and the lines of a text file that begin with `#`.

    Raises:
        InputError: if it cannot be read; for a table, if it names two of the columns, or lacks an id in a row.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> file = Path(tempfile.mkdtemp()) / "withdrawn.csv"
        >>> _ = file.write_text("patient_id;date\n007;2024-01-31\n")
        >>> read_ids(file, ["patient_id", "case_id"])
        (['007'], [])
    """
    lines = [line.strip() for line in foreign_text(source)[0].splitlines() if line.strip()]
    titles = {title(cell) for cell in lines[0].translate(_SEPARATORS).split(",")}
    if not titles & set(map(title, columns)):
        return [line for line in lines if line[0] != "#"], [line for line in lines if line[0] == "#"]
    cells, _ = foreign_cells(source, columns)
    found = [name for name in columns if name in cells.header]
    if len(found) > 1:
        raise InputError(
            f"'{source}' has the columns {' and '.join(map(repr, found))}; keep the one with the ids to take"
        )
    at = cells.header.index(found[0])
    raise_if_any(
        f"'{source}': {found[0]} is empty in line {line}; fill it in, or remove the line"
        for row, line in zip(cells.rows, cells.lines, strict=True)
        if not row[at]
    )
    return [row[at] for row in cells.rows], []
