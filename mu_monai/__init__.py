"""mu_monai makes a trained medical imaging model forget chosen patients, devices or classes."""

from __future__ import annotations

import importlib
import signal
import sys
from types import TracebackType
from typing import Any

__version__ = "0.1.0"

# Names are looked up on first use (PEP 562), so that `import mu_monai` and `mu-monai --help` need no torch.
_HOME = {
    "bundle_root": "mu_monai.bundle",
    "InputError": "mu_monai.errors",
}
_PACKAGES = (
    *("adapters", "attacks", "audit", "bundle", "data", "engine", "losses", "measure", "methods", "metrics"),
    *("processes", "record", "report", "runs", "tables", "workflow"),
)

__all__ = ["__version__", *_HOME, *_PACKAGES]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in _PACKAGES:
        return importlib.import_module(f"mu_monai.{name}")
    raise AttributeError(f"module 'mu_monai' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


def _end_monai(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """See `mu_monai.cli.ending`, which is imported only when needed."""
    importlib.import_module("mu_monai.cli.ending").end_monai(kind, error, trace)


# `python -m monai.bundle` prints a traceback for anything that goes wrong in a bundle. Our bundles import this package
# before anything else in them is evaluated. The hook of any other program is left alone.
if getattr(getattr(sys.modules.get("__main__"), "__spec__", None), "name", None) == "monai.bundle.__main__":
    sys.excepthook = _end_monai
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:  # schedulers end a job by it; it is what Ctrl-C is
        signal.signal(signal.SIGTERM, signal.default_int_handler)
