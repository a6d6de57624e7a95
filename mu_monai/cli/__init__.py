"""The command line: each command is a file with a few lines over `mu_monai.workflow`, which it imports when it runs."""

from mu_monai.cli.program import app, main

__all__ = ["app", "main"]
