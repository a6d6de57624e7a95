"""The shape of the package: names that must not appear, and what importing costs."""

import re
import subprocess
import sys

FORBIDDEN = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "base", "core"}


def test_nothing_is_called_utils_helpers_or_the_like(repository):
    names = {path.stem for path in (repository / "mu_monai").rglob("*") if "__pycache__" not in path.parts}
    assert names & FORBIDDEN == set()


def test_files_stay_readable(repository):
    sizes = {path: len(path.read_text().splitlines()) for path in (repository / "mu_monai").rglob("*.py")}
    assert {str(path): size for path, size in sizes.items() if size > 400} == {}


def test_every_command_prints_through_one_function(repository):
    """So that no name of a file or case can steer a terminal; nothing below the command line prints at all."""
    printing = re.compile(r"(?<![\w.>])print\(|\becho\(|\bsecho\(|std(out|err)\.write")
    modules = {path: path.read_text() for path in (repository / "mu_monai").rglob("*.py")}
    found = {path.name for path, text in modules.items() if printing.search(re.sub(r">>> .*", "", text))}
    assert found == {"screen.py"}


def test_how_a_file_was_made_is_said_in_one_place(repository):
    """So that no command forgets that the salt of a split stays with the split."""
    words = re.compile(r"shlex\.join|\"sha256\", \"salt\"|\"_\"\): version\(")
    modules = {path: path.read_text() for path in (repository / "mu_monai").rglob("*.py")}
    assert {path.name for path, text in modules.items() if words.search(text)} == {"stamp.py"}


def test_records_scores_splits_and_tables_are_read_in_one_place(repository):
    modules = {path.relative_to(repository / "mu_monai"): path for path in (repository / "mu_monai").rglob("*.py")}
    for word in ("PROVENANCE", "RUN_JSON", "SCORES_CSV"):
        named = {name.as_posix() for name, path in modules.items() if re.search(rf"\b{word}\b", path.read_text())}
        assert {name for name in named if not name.startswith(("runs/", "data/split"))} == {"keys.py"}, word
    assert {name.as_posix() for name, path in modules.items() if "read_csv" in path.read_text()} == {
        "tables/reading.py"
    }


def test_pictures_are_opened_in_one_place(repository):
    """So that what the checks of a split see is what trains."""
    opening = re.compile(r"Image\.open\(|imread\(")
    modules = {path.relative_to(repository / "mu_monai"): path for path in (repository / "mu_monai").rglob("*.py")}
    found = {name.as_posix() for name, path in modules.items() if opening.search(path.read_text())}
    assert found == {"data/pictures/opening.py"}


def test_the_command_line_and_the_report_import_no_torch():
    """Nor does the verb, and a split loads nothing that only networks need."""
    code = (
        "import sys, mu_monai.cli, mu_monai.report; from mu_monai import workflow; workflow.report; "
        "workflow.request_status; "
        "print([m for m in ('torch', 'monai') if m in sys.modules]); workflow.split; workflow.add_request; "
        "print([m for m in ('peft', 'transformers', 'ignite.handlers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]"]


def test_verbs_are_functions_with_a_module_of_another_name():
    """`mu_monai.workflow.split` must stay the function when its module is imported as well."""
    from mu_monai import workflow

    for name in workflow.__all__:
        assert callable(getattr(workflow, name))
    assert workflow.__all__ == sorted(workflow.__all__)


def test_help_imports_nothing_heavy():
    code = (
        "import sys, mu_monai.cli; print([m for m in ('torch', 'monai', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
