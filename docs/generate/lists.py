"""Write the lists of the reference pages from the code: `make reference`. A test compares them.

A list stands between `<!-- list: <name> -->` and `<!-- end -->` on a page; what is around it is written by hand.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from mu_monai.attacks import ATTACKS
from mu_monai.methods import METHODS, UnlearningMethod
from mu_monai.workflow import methods, networks

REFERENCE = Path(__file__).parents[1] / "reference"
_LIST = re.compile(r"(<!-- list: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_ARGUMENT = re.compile(r"^    (\w+): (.*(?:\n {5,}.*)*)", re.MULTILINE)


def overview() -> str:
    """One row for each method."""
    rows = [
        (
            f"[`{name}`](#{name})",
            what["summary"],
            _joined(what["tasks"]),
            _joined(what["needs"]),
            "not needed" if what["without_forget_images"] else "needed",
            "several" if what["replicable"] else "one",
            what["cost"],
        )
        for name, what in _ours().items()
    ]
    return _table(("method", "what it does", "tasks", "needs", "forget images", "processes", "costs"), rows)


def settings() -> str:
    """A section for each method: where it comes from, and its settings beyond the shared ones."""
    return "\n\n".join(_section(name, what) for name, what in _ours().items())


def shared_settings() -> str:
    """The settings that every method has, with their usual defaults."""
    return _table(("setting", "default", "meaning"), _settings(UnlearningMethod, _shared()))


def attacks() -> str:
    """One row for each attack on weights."""
    rows = [
        (f"`{name}`", attack.summary, ", ".join(f"`{key}={value}`" for key, value in attack.settings().items()))
        for name, attack in ATTACKS.items()
    ]
    return _table(("attack", "what the attacker does", "settings"), rows)


def adapted() -> str:
    """What adapters of rank 8 train in an example of each network."""
    table = networks()
    columns = ("decoder_layers", "decoder_share", "all_layers", "all_share")
    rows = [
        (f"`{row['network']}`", f"{row['dims']}D", f"{row['weights']:,}", *(str(row[name]) for name in columns))
        for row in table.to_dict("records")
    ]
    heads = ("network", "", "weights", "layers, `decoder`", "trained, %", "layers, `all`", "trained, %")
    return _table(heads, rows)


LISTS = {
    "methods": overview,
    "method-settings": settings,
    "shared-settings": shared_settings,
    "attacks": attacks,
    "networks": adapted,
}


def filled(page: str) -> str:
    """The text of a page with all of its lists made anew."""
    return _LIST.sub(lambda found: f"{found[1]}\n{LISTS[found[2]]()}\n\n{found[3]}", page)


def _ours() -> dict[str, dict[str, Any]]:
    """What `mu-monai methods` knows of the methods of this package, whatever else is installed."""
    return {name: what for name, what in methods().items() if name in METHODS}


def _section(name: str, what: dict[str, Any]) -> str:
    method = METHODS[name]
    described = _meanings(kind for kind in method.__mro__ if kind not in UnlearningMethod.__mro__)
    shared = {key: value for key, value in _shared().items() if key not in described}
    own = {key: value for key, value in what["settings"].items() if key not in shared or value != shared[key]}
    lines = [f"## {name}", what["summary"], f"Class `mu_monai.methods.{method.__name__}`. Source: {what['paper']}."]
    if own:
        lines.append(_table(("setting", "default", "meaning"), _settings(method, own)))
    return "\n\n".join(lines)


def _shared() -> dict[str, Any]:
    return {item.name: item.default for item in fields(UnlearningMethod) if item.repr}


def _settings(method: type[UnlearningMethod], defaults: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    meanings = _meanings(reversed(method.__mro__))
    for name, default in defaults.items():
        yield f"`{name}`", f"`{default!r}`", meanings[name]


def _meanings(kinds: Iterable[type]) -> dict[str, str]:
    """What the docstrings say of each argument; the last one that says something counts."""
    found = (item for kind in kinds for item in _ARGUMENT.findall(inspect.getdoc(kind) or ""))
    return {name: " ".join(text.split()) for name, text in found}


def _joined(names: Iterable[str]) -> str:
    return ", ".join(names) or "-"


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    cells = [heads, ("---",) * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells)


if __name__ == "__main__":
    for path in REFERENCE.glob("*.md"):
        text = path.read_text(encoding="utf-8")
        if (new := filled(text)) != text:
            path.write_text(new, encoding="utf-8")
