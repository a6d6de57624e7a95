"""A user's own bundle: the configs of another one, under a new name."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mu_monai import __version__
from mu_monai.bundle import find_bundle, shipped_bundles
from mu_monai.errors import collect, raise_if_any, unless_raised
from mu_monai.files import read_json, whole_folder
from mu_monai.lock import writes
from mu_monai.workflow.bundling.agreement import TWINS
from mu_monai.workflow.bundling.checking import check_bundle
from mu_monai.workflow.bundling.reading import METADATA
from mu_monai.workflow.checks import place_problems

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_NAMED = ("bundle_name", "bundle_root", "dataset_dir", "run_dir", "output_dir")  # ids that hold the bundle's name
_README = """# {name}

A MONAI bundle that was made from the bundle `{source}` of mu_monai {version}. Describe here what it finds, in which
images, and on what its weights were trained.

It has no weights yet. Without data of your own, these commands train on built-in phantoms:

```
mu-monai train {name} --out runs/teacher
mu-monai unlearn {name} --teacher runs/teacher --out runs/unlearned
mu-monai evaluate runs/unlearned --bundle {name}
```

Give `--split split.json` for your own data. Copied to `models/model.pt`, the `model.pt` of a finished run becomes the
bundle's own teacher. After every edit:

```
mu-monai bundle check {name}
```

## License

The configs are those of `{source}`, under the license in `LICENSE`. You choose the license of the weights and of
everything else that you add; name it here.
"""


@writes("folder")
def new_bundle(folder: str | Path, *, source: str | Path = "isic") -> Path:
    """Make a new bundle from another one: its configs under a new name, that of the folder.

    Weights are not copied: they were trained on the other bundle's data, and would silently become the teacher if no
    other is given.

    Args:
        folder: the folder to make; its name is the bundle's.
        source: folder, or name of a shipped bundle.

    Returns:
        the folder.

    Raises:
        InputError: if the folder exists, its name cannot be a bundle's or is that of a shipped one, or the source
            bundle is missing or does not pass `check_bundle`.
    """
    folder, origin = Path(folder).resolve(), find_bundle(source)
    raise_if_any(collect(lambda: _problems(folder), lambda: unless_raised(check_bundle(origin))))
    with whole_folder(folder) as made:
        shutil.copytree(origin / "configs", made / "configs")
        for file in (made / "configs").glob("*.json"):
            content = read_json(file, dict)
            change = _described if file.stem == METADATA else _renamed
            _write(file, change(content, folder.name, origin.name))
        for name in TWINS:
            shutil.copyfile(made / "configs" / name, made / name)
        shutil.copyfile(origin / "LICENSE", made / "LICENSE")
        (made / "docs").mkdir()
        readme = _README.format(name=folder.name, source=origin.name, version=__version__)
        (made / "docs" / "README.md").write_text(readme, encoding="utf-8")
    return folder


def _problems(folder: Path) -> Iterator[str]:
    if folder.exists():
        yield f"'{folder}' exists; give another folder, or remove it"
    if not _NAME.fullmatch(folder.name):
        yield f"'{folder.name}' cannot be the name of a bundle; use only letters, digits, - and _"
    if folder.name in shipped_bundles():
        yield (
            f"'{folder.name}' is the name of a shipped bundle, which later commands would use for its runs; give "
            "another name"
        )
    yield from place_problems({"FOLDER": folder})


def _renamed(config: dict[str, Any], name: str, old: str) -> dict[str, Any]:
    """A config with the new name in every id that holds the bundle's name."""
    whole_word = re.compile(rf"(?<![\w-]){re.escape(old)}(?![\w])")
    return {
        key: whole_word.sub(name, value) if key in _NAMED and isinstance(value, str) else value
        for key, value in config.items()
    }


def _described(metadata: dict[str, Any], name: str, old: str) -> dict[str, Any]:
    """Metadata with what is known about a new bundle, and placeholders for the rest."""
    first = "0.1.0"
    return metadata | {
        "version": first,
        "changelog": {first: f"made from the bundle '{old}' {metadata.get('version')} of mu_monai {__version__}"},
        "name": name,
        "description": f"Made from the bundle '{old}' of mu_monai; it has no weights yet. To be described.",
        "authors": "to be named",
        "copyright": "to be named",
        "data_source": "to be named",
    }


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")
