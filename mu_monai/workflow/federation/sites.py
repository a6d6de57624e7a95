"""The sites of a federation: read from the user's file, and checked before anything is trained."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mu_monai.bundle import Bundle, open_bundle
from mu_monai.bundle.layers import LayeredConfig
from mu_monai.data import Split
from mu_monai.errors import InputError, collect, raise_if_any
from mu_monai.files import read_json
from mu_monai.keys import FORGET, RETAIN, SUBSETS, TEST
from mu_monai.runs.federation import Site
from mu_monai.workflow.checks import place_problems, reading_problems, usable_split

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_KEYS = ("split", "bundle", "joins")


@dataclass(frozen=True, kw_only=True)
class GivenSite:
    """A site as the user's file names it.

    Args:
        name: its name.
        split: its `split.json`.
        bundle: the folder of the bundle as it has it.
        joins: the first round that it takes part in, from 1.
    """

    name: str
    split: Path
    bundle: Path
    joins: int

    def opened(self, bundle: Bundle) -> tuple[Site, Split]:
        """The site with its split.

        Args:
            bundle: the bundle of the federation, which the site must have.

        Raises:
            InputError: for everything that is wrong with it.
        """
        split, broken = usable_split(self.split, [RETAIN, TEST])
        config = LayeredConfig(bundle, "train")
        problems = collect(
            lambda: broken,
            lambda: bundle_problems(self.bundle, bundle),
            lambda: place_problems({"its split": self.split, "its bundle": self.bundle}),
            lambda: reading_problems(split, config),
            lambda: [] if split is None else _forget_problems(split),
        )
        raise_if_any(f"site '{self.name}': {problem}" for problem in problems)
        assert split is not None
        site = Site(
            name=self.name,
            split=str(self.split),
            sha256=split.sha256,
            bundle=str(self.bundle),
            joins=self.joins,
            cases=len(split.rows[RETAIN]),
        )
        return site, split


def _forget_problems(split: Split) -> Iterator[str]:
    if split.rows[FORGET]:
        yield (
            f"its split '{split.path}' has cases in 'forget', and a federation forgets whole sites; make it anew "
            "without --forget"
        )


def read_sites(file: str | Path, bundle: Bundle, rounds: int) -> list[GivenSite]:
    """The sites that a JSON file names: `{"north": {"split": "north.json"}, "west": {"split": ..., "joins": 3}}`.

    Args:
        file: the file; paths in it are absolute or relative to it.
        bundle: the bundle of sites that name none.
        rounds: the number of rounds.

    Raises:
        InputError: for everything that is wrong with it.
    """
    content, folder = read_json(file, dict), Path(file).absolute().parent
    raise_if_any(problem for name, entry in content.items() for problem in _entry_problems(name, entry, rounds))
    raise_if_any(_few_problems(file, content))
    return [
        GivenSite(
            name=name,
            split=(folder / entry["split"]).resolve(),
            bundle=(folder / entry["bundle"]).resolve() if "bundle" in entry else bundle.place,
            joins=entry.get("joins", 1),
        )
        for name, entry in sorted(content.items())
    ]


def name_problems(name: str) -> Iterator[str]:
    """Why a site cannot have a name, which is that of a folder as well."""
    if not _NAME.fullmatch(name) or name == "server":
        yield f"'{name}' cannot be the name of a site; use lower-case letters, digits, - and _, and not 'server'"


def _entry_problems(name: str, entry: Any, rounds: int) -> Iterator[str]:
    yield from name_problems(name)
    if not isinstance(entry, Mapping) or not isinstance(entry.get("split"), str):
        yield f"site '{name}' names no split; give it as {{'split': 'split.json'}}"
        return
    unknown = sorted({*entry} - {*_KEYS})
    if unknown:
        yield f"site '{name}' has {', '.join(map(repr, unknown))}, which are not known; use {', '.join(_KEYS)}"
    if not isinstance(entry.get("bundle", ""), str):
        yield f"the bundle of site '{name}' is not a path"
    joins = entry.get("joins", 1)
    if isinstance(joins, bool) or not isinstance(joins, int) or not 1 <= joins <= rounds:
        yield f"site '{name}' joins in round {joins!r}; use a whole number from 1 to {rounds}, the number of rounds"


def _few_problems(file: str | Path, content: Mapping[str, Any]) -> Iterator[str]:
    if len(content) < 2:
        yield f"'{file}' names {len(content)} sites; a federation has at least 2"
    elif all(entry.get("joins", 1) > 1 for entry in content.values()):
        yield f"no site of '{file}' takes part in round 1; let one join in round 1"


def bundle_problems(place: str | Path, bundle: Bundle) -> Iterator[str]:
    """Why the bundle of a site is not that of the federation."""
    own = open_bundle(place)
    if (own.names, own.version) != (bundle.names, bundle.version):
        told = [f"{', '.join(each.names)} {each.version}" for each in (own, bundle)]
        yield f"it has the bundle {told[0]}, and the federation trains {told[1]}; give it the same version"
    elif own.code_sha256 != bundle.code_sha256:
        yield f"the code in its bundle '{own.place}' is not that of '{bundle.place}'; give it the same"
    elif own.configs_sha256 != bundle.configs_sha256:
        yield f"the configs in its bundle '{own.place}' are not those of '{bundle.place}'; give it the same"


def open_sites(given: list[GivenSite], bundle: Bundle) -> list[Site]:
    """Sites that can take part, checked together.

    Raises:
        InputError: for everything that is wrong with any of them, and for images that two of them have.
    """
    opened: list[tuple[Site, Split]] = []
    problems: list[str] = []
    for each in given:
        try:
            opened.append(each.opened(bundle))
        except InputError as error:
            problems += error.problems
    raise_if_any([*problems, *_shared_problems(opened)])
    return [site for site, _ in opened]


def _shared_problems(opened: list[tuple[Site, Split]]) -> Iterator[str]:
    """Forgetting a site is void while another one trains on a copy of its images."""
    images = {
        site.name: {digest for name in SUBSETS for digest in split.digests(name).values()} for site, split in opened
    }
    names = list(images)
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            both = images[one] & images[other]
            if both:
                yield (
                    f"sites '{one}' and '{other}' have {len(both)} images in common, so that neither can be "
                    "forgotten; leave the copies out of one of them"
                )
