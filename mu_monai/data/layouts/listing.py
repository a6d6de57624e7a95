"""Everything in a folder: its files, also behind links, and what is hidden or leads nowhere."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mu_monai.data.manifest import FILE_SUFFIXES

_LOCK = ".lock"  # of a hidden file: a command is writing the file next to it, such as this one its split
_OF_SYSTEMS = ("thumbs.db", "desktop.ini", "__macosx")  # what file managers leave, without a dot


@dataclass
class Listing:
    """What a folder holds, at any depth; links are followed, each folder once.

    Args:
        root: the folder.
        files: every shown file, sorted, by its path in the folder, with `/`.
        hidden: hidden files, and folders that are not looked into.
        links: the links that were followed.
        broken: links that lead nowhere, or back to a folder that was already visited.
    """

    root: Path
    files: dict[str, Path] = field(default_factory=dict)
    hidden: list[Path] = field(default_factory=list)
    links: list[Path] = field(default_factory=list)
    broken: list[Path] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class LayoutInput:
    """A folder that is read into a manifest.

    Args:
        listing: the folder.
        label_set: the chosen label set, for layouts with several.
        salt: the salt of the hashed identifiers, for layouts that hash them.
        structures: the structures to draw, for layouts whose labels are drawn by objects; all if it is empty.
        drawn_to: the folder for the labels that are drawn.
        classes: grows by the names of the classes that are drawn.
        left_out: grows by one sentence for each kind of thing that is left out.
        told: files and folders that belong to no case and are already counted.
    """

    listing: Listing
    label_set: str | None = None
    salt: str | None = None
    structures: Sequence[str] = ()
    drawn_to: Path | None = None
    classes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    told: set[Path] = field(default_factory=set)

    def leave_out(self, what: str, names: Collection[object]) -> None:
        """Remember what is left out; files and folders among the names are then not counted again."""
        self.left_out.extend(left_out(what, names))
        self.told.update(name for name in names if isinstance(name, Path))


def left_out(what: str, names: Iterable[object]) -> list[str]:
    """A sentence with number and first name of what is left out; none if there is nothing.

    Example:
        >>> left_out("hidden files", ["a", "b"]), left_out("hidden files", [])
        (["2 hidden files, such as 'a'; left out"], [])
    """
    every = list(map(str, names))
    return [f"{len(every)} {what}, such as {every[0]!r}; left out"] if every else []


def list_folder(root: Path) -> Listing:
    """List a folder.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "a").mkdir()
        >>> _ = (folder / "a" / "b.txt").touch(), (folder / ".c").touch(), (folder / "a" / "up").symlink_to(folder)
        >>> listing = list_folder(folder)
        >>> list(listing.files), [path.name for path in listing.hidden], [path.name for path in listing.broken]
        (['a/b.txt'], ['.c'], ['up'])
    """
    listing = Listing(root)
    visited = {os.path.realpath(root)}
    for path in _entries(root, listing, visited):
        listing.files[path.relative_to(root).as_posix()] = path
    return listing


def is_hidden(name: str) -> bool:
    """Whether a name is of a file that people do not see: it starts with a dot, or a file manager made it."""
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


def suffix_of(path: str | Path) -> str:
    """The suffix of an image or label file in lower case, `.nii.gz` included; empty for any other file.

    Example:
        >>> suffix_of("a/b.1.NII.gz"), suffix_of("notes.txt")
        ('.nii.gz', '')
    """
    name = Path(path).name.lower()
    return next((end for end in sorted(FILE_SUFFIXES, key=len, reverse=True) if name.endswith(end)), "")


def stem_of(path: str | Path) -> str:
    """The name of an image or label file without its suffix, `.nii.gz` included.

    Example:
        >>> stem_of("a/b.1.nii.gz")
        'b.1'
    """
    name = Path(path).name
    return name[: len(name) - len(suffix_of(name))]


def _entries(folder: Path, listing: Listing, visited: set[str]) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if is_hidden(path.name):
            if not path.name.endswith(_LOCK):
                listing.hidden.append(path)
            continue
        is_folder = path.is_dir()
        real = os.path.realpath(path) if is_folder else ""
        if real in visited or not path.exists():
            listing.broken.append(path)
            continue
        if path.is_symlink():
            listing.links.append(path)
        if is_folder:
            visited.add(real)
            yield from _entries(path, listing, visited)
        else:
            yield path
