"""The command line: each command is a short file that calls `mu_monai.workflow`, which it imports when it runs."""

from mu_monai.cli.program import app, main

__all__ = ["app", "main"]
