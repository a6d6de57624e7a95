"""What `import mu_monai` gives, on every system."""

import re
import subprocess
import sys

import pytest

import mu_monai

PACKAGES = sorted(set(mu_monai.__all__) - {"__version__", "InputError", "bundle_root"})
MODULES = {"processes"}  # which configs name


def test_every_package_is_found_after_importing_mu_monai(repository):
    folders = {path.parent.name for path in (repository / "mu_monai").glob("*/__init__.py")}
    assert folders - {"cli"} == set(PACKAGES) - MODULES
    code = "import mu_monai; print([getattr(mu_monai, name).__name__ for name in mu_monai.__all__ if name in %r])"
    done = subprocess.run([sys.executable, "-c", code % PACKAGES], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str([f"mu_monai.{name}" for name in mu_monai.__all__ if name in PACKAGES])


@pytest.mark.parametrize("module", ["resource", "fcntl", "pwd", "grp", "termios"])
def test_no_module_of_unix_alone_is_imported_before_it_is_used(module, repository):
    """A bundle imports much of the package, and Windows does not have these."""
    imported = re.compile(rf"^(import {module}\b|from {module} import)", re.MULTILINE)
    files = (repository / "mu_monai").rglob("*.py")
    assert [str(path) for path in files if imported.search(path.read_text(encoding="utf-8"))] == []
