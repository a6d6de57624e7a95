"""The command `methods`: which unlearning methods there are."""

from __future__ import annotations

from mu_monai.cli.screen import show


def methods() -> None:
    """List the unlearning methods: paper, tasks, what each needs and costs, and its settings.

    Example: mu-monai methods
    """
    from mu_monai import workflow

    for name, entry in workflow.methods().items():
        show(
            f"{name}\n  {entry['summary']}\n  paper: {entry['paper']}\n  tasks: {', '.join(entry['tasks'])}\n"
            f"  needs: {', '.join(entry['needs']) or 'nothing but the cases'}\n  costs: {entry['cost']}",
            lines=True,
        )
        for key, value in entry["settings"].items():
            show(f"    --set method#{key}={value}")
