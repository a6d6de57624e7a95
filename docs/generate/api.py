"""A hook of mkdocs: one page of the Python API for each public package and module, found in the source.

Nothing is imported, so that the site is built without torch.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PACKAGE = Path(__file__).parents[2] / "mu_monai"
OVERVIEW, SECTION, MARKER = "reference/python.md", "Python API", "<!-- packages -->"
_LOADED = re.compile(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=.?(?:https?:)?//|<link\b(?![^>]*canonical)[^>]*//")


def public_modules() -> dict[str, str]:
    """The first sentence of every package and module of `mu_monai` that a user may import, by name."""
    sources = {path.parent.name: path for path in PACKAGE.glob("*/__init__.py")}
    sources |= {path.stem: path for path in PACKAGE.glob("[!_]*.py")}
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in sorted(sources.items())}
    return {
        name: " ".join((ast.get_docstring(tree) or "").split("\n\n")[0].split())
        for name, tree in trees.items()
        if sources[name].name != "__init__.py" or _exports(tree)
    }


def _exports(tree: ast.Module) -> bool:
    """Whether a package has names of its own; the command line has none and is a page by hand."""
    assigned = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    return any(isinstance(target, ast.Name) and target.id == "__all__" for target in assigned)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each module, and put it into the navigation behind the overview."""
    reference = next(entry["Reference"] for entry in config.nav or () if "Reference" in entry)
    section = next(entry[SECTION] for entry in reference if SECTION in entry)
    for name in public_modules():
        page = f"reference/api/{name}.md"
        files.append(File.generated(config, page, content=f"# mu_monai.{name}\n\n::: mu_monai.{name}\n"))
        section.append({name: page})
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """List the pages in the overview."""
    if page.file.src_uri != OVERVIEW:
        return markdown
    rows = [f"| [`{name}`](api/{name}.md) | {sentence} |" for name, sentence in public_modules().items()]
    return markdown.replace(MARKER, "\n".join(("| `mu_monai.` | what is in it |", "|---|---|", *rows)))


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Refuse a page that would load something from another server."""
    found = _LOADED.search(output)
    if found:
        raise PluginError(f"{page.file.src_uri} loads from another server: {found[0]}")
    return output
