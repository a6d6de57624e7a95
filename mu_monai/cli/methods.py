"""The command `methods`: list the unlearning methods."""

from __future__ import annotations

import json
import shlex

from mu_monai.cli.screen import show


def methods() -> None:
    """List the unlearning methods: paper, tasks, needs, costs, and settings with their allowed values.

    Example: mu-monai methods
    """
    from mu_monai import workflow

    for name, entry in workflow.methods().items():
        show(
            f"{name}\n  {entry['summary']}\n  package: {entry['package']} {entry['version']}\n"
            f"  paper: {entry['paper']}\n  tasks: {', '.join(entry['tasks'])}\n"
            f"  needs: {', '.join(entry['needs']) or 'nothing but the cases'}\n  costs: {entry['cost']}\n"
            f"  forget images: {'none needed' if entry['without_forget_images'] else 'needed'}\n"
            f"  processes: {'one or several' if entry['replicable'] else 'one'}",
            lines=True,
        )
        for key, value in entry["settings"].items():
            allowed = f"   ({entry['allowed'][key]})" if key in entry["allowed"] else ""
            show(f"    --set {_as_typed(f'method#{key}', value)}{allowed}")


def _as_typed(key: str, value: object) -> str:
    text = f"{key}={value if isinstance(value, str) else json.dumps(value)}"
    return shlex.quote(text) if isinstance(value, dict) else text
