"""The documentation says what the program has: commands, options, links, and lines that run."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from mu_monai import cli

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
PROGRAM = typer.main.get_command(cli.app)
MARKED = re.compile(r"<!-- run -->\n```\n(.*?)```", re.DOTALL)
MARKED_PAGES = [page for page in PAGES if MARKED.search(page.read_text(encoding="utf-8"))]
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


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    targets = [target for target, _ in LINK.findall(page.read_text(encoding="utf-8")) if target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_page_is_in_the_navigation():
    nav = yaml.safe_load((DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    assert sorted(_pages(nav)) == sorted(name_of(page) for page in PAGES if page.name != "template.md")


def _pages(entry):
    if isinstance(entry, str):
        return [entry]
    parts = entry.values() if isinstance(entry, dict) else entry
    return [page for part in parts for page in _pages(part)]
