"""An extension of griffe: the docstrings of the house style as mkdocstrings wants them."""

from __future__ import annotations

import re
from typing import Any

import griffe
from latex2mathml.converter import convert

_FORMULA = re.compile(r"^( *)\.\. math::(.*(?:\n\1 +\S.*|\n(?=\n\1 +\S))*)", re.MULTILINE)
_SYMBOLS = re.compile(r":math:`([^`]+)`")
_EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)


class HouseStyle(griffe.Extension):
    """Formulas become MathML, which browsers draw by themselves; names that a submodule hides are found again."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite what the Google style does not know."""
        if obj.docstring is None:
            return
        text = _EXAMPLE.sub("Examples:", obj.docstring.value)
        text = _FORMULA.sub(lambda found: f"\n{found[1]}{_drawn(found[2])}\n", text)
        obj.docstring.value = _SYMBOLS.sub(lambda found: convert(found[1]), text)

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Let `workflow.audit` be the function that the package exports, not the module of that name."""
        packages = [module for module in pkg.modules.values() if module.is_subpackage]
        exported = [(module, name, _exported(module, name)) for module in packages for name in module.exports or ()]
        for module, name, found in exported:
            if found is not None:
                module.members[name] = griffe.Alias(name, found, parent=module)


def _exported(module: griffe.Module, name: str) -> griffe.Object | None:
    """What a package imports under the name of a module of its own, if it does."""
    hidden = isinstance(module.members.get(name), griffe.Module) and module.imports.get(name)
    if not hidden:
        return None
    found = module.modules_collection[hidden]
    return found.final_target if isinstance(found, griffe.Alias) else found


def _drawn(formula: str) -> str:
    lines = [" ".join(part.split()).replace(r"\arg", r"\mathrm{arg}") for part in formula.split("\n\n")]
    return "".join(f"<div>{convert(line, display='block')}</div>" for line in lines)
