"""What the `federation.json` of anybody may say: data, and nothing that is executed or that names other places."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from mu_monai.bundle import Bundle
from mu_monai.bundle.trust import SEPARATOR, Trust, is_argument_name
from mu_monai.errors import InputError
from mu_monai.keys import FEDERATION_JSON
from mu_monai.runs.federation import Federation, Site
from mu_monai.workflow.checks import device_problems
from mu_monai.workflow.federation.sites import GivenSite, name_problems, open_sites


def received_problems(federation: Federation, trust: Trust) -> Iterator[str]:
    """Why a federation is not taken as data, since anyone may have made its folder.

    Settings of its training are numbers and lists of numbers, or else `trust` says that its config is used as it is.

    Args:
        federation: the content of `federation.json`.
        trust: how far it is trusted.
    """
    for site in federation.everybody:
        yield from name_problems(site.name)
    yield from _round_problems(federation)
    yield from device_problems(federation.device or None)
    if trust.config:
        return
    for key, value in federation.settings.items():
        if not (all(map(is_argument_name, key.split(SEPARATOR))) and _is_numbers(value)):
            name = key.replace(SEPARATOR, "#")
            yield (
                f"the training had --set {name}={value!r:.80}, which is more than numbers, and anyone may have written "
                f"{FEDERATION_JSON}: if you know who made it, use it as it is, including its code (--trust-config)"
            )


def _round_problems(federation: Federation) -> Iterator[str]:
    """Why a record cannot be that of a training: every route follows from its rounds, and from when sites joined."""
    total, named = federation.total, len(federation.training)
    if min(total, named) < 1:
        yield (
            f"{FEDERATION_JSON} says that the training had {total} rounds, and names {named} in which weights changed; "
            "there is at least 1 of both: put the original file back"
        )
        return
    for site in federation.everybody:
        if not 1 <= site.joins <= total:
            yield (
                f"site '{site.name}' joins in round {site.joins} of {FEDERATION_JSON}, and the training had rounds 1 "
                f"to {total}; put the original file back"
            )


def _is_numbers(value: Any) -> bool:
    return all(map(_is_numbers, value)) if isinstance(value, list) else isinstance(value, int | float | None)


def trusted_sites(federation: Federation, bundle: Bundle) -> list[Site]:
    """The sites that are in a federation, all with the user's bundle: what a folder names is not executed."""
    return [replace(site, bundle=str(bundle.place)) for site in federation.sites]


def changed_problems(federation: Federation, bundle: Bundle) -> Iterator[str]:
    """What is no longer as it was in the training: the bundle, or a site's split.

    Args:
        federation: the training.
        bundle: the bundle as it is now.
    """
    configs = federation.configs or bundle.configs_sha256  # earlier versions kept no digest of them
    if (bundle.version, bundle.code_sha256, bundle.configs_sha256) != (federation.version, federation.code, configs):
        yield (
            f"the federation trained the bundle {federation.name} {federation.version}, and '{bundle.place}' is "
            f"{bundle.version}, or has other code or configs; give the bundle as it was (--bundle)"
        )
        return
    given = [
        GivenSite(name=site.name, split=Path(site.split), bundle=bundle.place, joins=site.joins)
        for site in federation.sites
    ]
    try:
        now = {site.name: site for site in open_sites(given, bundle)}
    except InputError as error:
        yield from error.problems
        return
    for site in federation.sites:
        if now[site.name].sha256 != site.sha256:
            yield f"site '{site.name}' has another split than in the training ('{site.split}'); put it back"
