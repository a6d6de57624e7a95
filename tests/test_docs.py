"""The documentation says what the program has: commands, options, links, and lines that run."""

import ast
import importlib.util
import re
import shlex
import shutil
from dataclasses import fields
from difflib import SequenceMatcher
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from mu_monai import cli
from mu_monai.adapters.placement import NETWORKS
from mu_monai.attacks import ATTACK_NAMES
from mu_monai.bundle import shipped_bundles
from mu_monai.data import LAYOUTS
from mu_monai.files import read_json
from mu_monai.losses import FORGET_TERMS
from mu_monai.methods.registry import registered
from mu_monai.runs.shards import Shard

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
PROGRAM = typer.main.get_command(cli.app)
MARKED = re.compile(r"<!-- run -->\n```\n(.*?)```", re.DOTALL)
MARKED_PAGES = [page for page in PAGES if MARKED.search(page.read_text(encoding="utf-8"))]
PYTHON = re.compile(r"<!-- run -->\n```python\n(.*?)```", re.DOTALL)
PYTHON_PAGES = [page for page in PAGES if PYTHON.search(page.read_text(encoding="utf-8"))]
ROOT = DOCS.parent
BUNDLES = shipped_bundles()
CONFIGS = [read_json(path) for path in sorted((BUNDLES["isic"] / "configs").glob("*.json"))]
PRESETS = sorted({config["preset"] for config in CONFIGS if config.get("preset")})
LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#]*)(#[^)]*)?\)")


def name_of(page: Path) -> str:
    return page.relative_to(DOCS).as_posix()


def sections() -> dict[str, str]:
    """The part of the command page about each command."""
    text = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")
    parts = re.split(r"^## `mu-monai (\w+)`$", text, flags=re.MULTILINE)
    return {name: part.split("\n## ")[0] for name, part in zip(parts[1::2], parts[2::2], strict=True)}


def options(command) -> set[str]:
    """The options of a command, and of its own commands where it has some."""
    every = [command, *getattr(command, "commands", {}).values()] if command is not PROGRAM else [command]
    names = ((*parameter.opts, *parameter.secondary_opts) for each in every for parameter in each.params)
    return {name for some in names for name in some}


def test_every_command_has_a_section():
    assert set(sections()) == set(PROGRAM.commands)


@pytest.mark.parametrize("command", PROGRAM.commands)
def test_every_option_is_described_and_no_other(command):
    described = {
        option
        for row in re.findall(r"^\| (`--.*?) \|", sections()[command], flags=re.MULTILINE)
        for option in re.findall(r"`(--[\w-]+)`", row)
    }
    assert described == {name for name in options(PROGRAM.commands[command]) if name.startswith("--")}


def test_the_options_of_the_program_itself_are_described():
    text = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")
    assert [name for name in options(PROGRAM) if f"| `{name}` |" not in text] == []


@pytest.mark.parametrize("page", MARKED_PAGES, ids=name_of)
def test_marked_lines_run(page, phantom_splits, tmp_path, monkeypatch):
    """Lines after `<!-- run -->` run one after the other beside a `demo/`, as `mu-monai demo --out demo` leaves it."""
    shutil.copytree(Path(phantom_splits["isic"]).parent, tmp_path / "demo" / "phantoms")
    monkeypatch.chdir(tmp_path)
    for block in MARKED.findall(page.read_text(encoding="utf-8")):
        for line in block.strip().splitlines():
            program, *arguments = shlex.split(line)
            assert program == "mu-monai", line
            result = CliRunner().invoke(cli.app, arguments)
            assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception}"


@pytest.mark.parametrize("page", PYTHON_PAGES, ids=name_of)
def test_marked_python_runs(page, tmp_path, monkeypatch):
    """Python after `<!-- run -->` runs block after block, as a reader would paste it."""
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for block in PYTHON.findall(page.read_text(encoding="utf-8")):
        exec(compile(block, name_of(page), "exec"), names)


@pytest.fixture(scope="module")
def lists():
    spec = importlib.util.spec_from_file_location("lists", DOCS / "generate" / "lists.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["attacks", "methods", "networks"])
def test_lists_are_those_of_the_code(name, lists):
    text = (DOCS / "reference" / f"{name}.md").read_text(encoding="utf-8")
    assert "<!-- list: " in text
    assert lists.filled(text) == text, f"docs/reference/{name}.md is not what the code says; run 'make reference'"


def test_every_attack_has_its_line():
    text = (DOCS / "reference" / "attacks.md").read_text(encoding="utf-8")
    assert [name for name in ATTACK_NAMES if f"`{name}`" not in text] == []


@pytest.mark.parametrize("page", ["reference/commands.md", "how-to/own-data.md"])
def test_every_layout_is_on_the_pages_about_data(page):
    rows = [row for row in (DOCS / page).read_text(encoding="utf-8").splitlines() if row.startswith("|")]
    said = {name for row in rows for name in re.findall(r"`([a-z0-9-]+)`", row)}
    assert [name for name in LAYOUTS if name not in said] == []


@pytest.mark.parametrize("page", ["README.md", "docs/how-to/own-bundle.md", "docs/reference/commands.md"])
def test_every_shipped_bundle_is_on_the_pages_that_list_them(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert [name for name in BUNDLES if f"`{name}`" not in text] == []


@pytest.mark.parametrize(
    "page",
    [
        *("README.md", "docs/explanation/erase-to-retain.md", "docs/reference/commands.md"),
        "bundles/isic_classification/docs/README.md",
    ],
)
def test_every_preset_is_on_the_pages_that_list_them(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert [name for name in PRESETS if not re.search(rf"`{name}(\.json)?`", text)] == []


@pytest.mark.parametrize(
    ("command", "option", "names"),
    [("split", "layout", LAYOUTS), ("train", "bundle", BUNDLES), ("unlearn", "preset", PRESETS)],
)
def test_the_help_of_an_option_names_all_that_it_takes(command, option, names):
    (text,) = (parameter.help for parameter in PROGRAM.commands[command].params if parameter.name == option)
    assert [name for name in names if not re.search(rf"(?<![\w-]){name}(?![\w-])", text)] == []


def test_every_network_has_its_row():
    text = (DOCS / "reference" / "networks.md").read_text(encoding="utf-8").split("<!-- list: ")[0]
    rows = re.findall(r"^\| `(\w+)`", text, flags=re.MULTILINE)
    assert rows == [kind.__name__ for kind in NETWORKS]


def test_the_forget_terms_are_those_of_the_code():
    tasks = {"masks": {"segmentation"}, "both": {"segmentation", "classification"}}
    text = (DOCS / "reference" / "losses.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_]+)` \|.*\| (.*?) \| (masks|both) \|.*\|$", text, flags=re.MULTILINE)
    described = {name: (None if pulls == "no answer" else pulls, tasks[task]) for name, pulls, task in rows}
    assert described == {name: (term.answer, set(term.tasks)) for name, term in FORGET_TERMS.items()}


@pytest.mark.parametrize("page", [ROOT / "README.md", DOCS / "index.md"], ids=["README.md", "index.md"])
def test_the_first_pages_count_the_methods_that_they_do_not_name(page):
    """They name Rewind, Shrink and Restore, Erase to Retain, its calibrated form and Perturbed Sign Gradient."""
    own = [kind for kind in registered().values() if kind.__module__.startswith("mu_monai.")]
    assert f"[{len(own) - 5} others]" in page.read_text(encoding="utf-8")


def test_the_keys_of_a_shard_are_those_of_the_code():
    text = (DOCS / "reference" / "files.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| `shards` \|(.*)$", text, flags=re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", row)) == {field.name for field in fields(Shard)}


def test_every_message_of_the_errors_page_is_one_of_the_program(repository):
    """At least half of its words, in their order; the other half may be values."""
    words = re.compile(r"[\w#-]+")
    sources = [path.read_text(encoding="utf-8") for path in (repository / "mu_monai").rglob("*.py")]
    said = [words.findall(text) for source in sources for text in _texts(ast.parse(source))]
    rows = re.findall(r"^\| ([^|]*`[^|]*) \|", (DOCS / "reference" / "errors.md").read_text(), flags=re.MULTILINE)
    quoted = [message for row in rows for message in re.findall(r"`([^`]*)`", row)]
    assert len(quoted) > 200
    found = {message: _closest(words.findall(message), said) for message in quoted}
    unsaid = {message for message, share in found.items() if share < 0.5}
    assert unsaid == set()


def _texts(tree):
    """The texts in the code of a module, without its docstrings; a text with values is one."""
    inner = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            inner.add(node.value)
        elif isinstance(node, ast.JoinedStr):
            inner.update(node.values)
            yield " ".join(part.value for part in node.values if isinstance(part, ast.Constant))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inner:
            yield node.value


def _closest(message, said):
    """The largest share of a message's words that one of the texts has, in their order."""
    best = 0
    for text in said:
        if len(set(message) & set(text)) > best:
            blocks = SequenceMatcher(None, message, text, autojunk=False).get_matching_blocks()
            best = max(best, sum(block.size for block in blocks))
    return best / len(message)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    targets = [target for target, _ in LINK.findall(page.read_text(encoding="utf-8")) if target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_prose_stays_within_120_characters(page):
    """Tables and code apart, and what cannot be broken."""
    prose = re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    lines = [line for line in prose.splitlines() if not line.startswith("|") and " " in line[:120].strip()]
    assert [line for line in lines if len(line) > 120] == []


def test_every_page_is_in_the_navigation():
    nav = yaml.safe_load((DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    assert sorted(_pages(nav)) == sorted(name_of(page) for page in PAGES if page.name != "template.md")


@pytest.mark.parametrize("folder", ["decisions", "how-to", "results"])
def test_the_first_page_names_every_page_of_a_list(folder):
    first = (DOCS / "index.md").read_text(encoding="utf-8")
    pages = sorted(path for path in (DOCS / folder).glob("*.md") if path.name != "template.md")
    assert [path.name for path in pages if f"({folder}/{path.name})" not in first] == []


def _pages(entry):
    if isinstance(entry, str):
        return [entry]
    parts = entry.values() if isinstance(entry, dict) else entry
    return [page for part in parts for page in _pages(part)]
