"""The parts of an untrusted run folder that are used: only data, never code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.bundle import ReferenceResolver

from mu_monai import __version__
from mu_monai.bundle.earlier import earlier_form
from mu_monai.bundle.find import shipped_bundles
from mu_monai.bundle.opened import Bundle, nested, open_bundle
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import read_json
from mu_monai.keys import CONFIG_JSON
from mu_monai.runs import RunRecord, changed_files, is_run, read_record, run_of

SEPARATOR = "::"
INHERITED = ("classes", "softmax", "network_def", "image_size", "transforms", "loss", "inferer")
# what training batches are drawn by, for attacks that train on: patches, or the trainer's transforms of adopted bundles
DRAWN = ("patches_per_volume", "source")
# the places of this run's files, not their content
_PLACES = frozenset(("bundle_root", "dataset_dir", "run_dir", "split", "teacher", "weights", "device"))
_SIGNS = ("$", "@", "%")  # MONAI executes, looks up or reads text that starts with them
_TEXTS = ("classes", "modality", "forget_classes", "network::scope", "network::bn_mode", "network::trainable")
_LISTS = ("classes", "forget_classes")
_EXACT = ("transforms", "loss", "inferer")  # for these, MONAI imports readers, modes and functions by name
_NETWORK = "network_def"
_WORD = re.compile(r"[\w+-][\w +-]*")  # text that a network's argument may be: the name of a norm, not a path or URL
_READING = ("picture_range", "label_map")  # how the files of a split are read
_WIDE = 2.0**32  # largest value of a picture of 32 bits
_SHOWN = 100
_DEEPEST = 50
_LARGEST = 10**6  # largest number that is taken from a run: intensities, epochs
_LONGEST = 10**4  # largest number in a list: sizes
_WIDEST, _MOST = 2**14, 64  # limits of a network's arguments: more channels or layers would only fill the memory
_PATTERN = re.compile(r"[\w .|^$\\-]*")  # a choice of layers by name, without repetition, which could take hours


@dataclass(frozen=True)
class Trust:
    """How far the user trusts run folders.

    Args:
        bundle: the bundle that a run was made with, if it is not a shipped one. The folder that a run names is not
            used, since it may have come with the run.
        config: whether the configs of runs are used as they are, including the code in them.
        known: configs of the user, beside those of the bundle, whose values a run may have as well.

    Example:
        >>> content = {"status": "finished", "role": "teacher", "bundle": {"name": "isic", "root": "/somewhere"}}
        >>> Trust().bundle_of(RunRecord.from_json(content)).names
        ['isic']
    """

    bundle: str | Path | None = None
    config: bool = False
    known: Sequence[Mapping[str, Any]] = ()

    def bundle_of(self, record: RunRecord) -> Bundle:
        """The bundle that a run was made with: the one that the user gives, or else the shipped one.

        Args:
            record: the `run.json` of the run.

        Raises:
            InputError: if the user gives a bundle with another name, or gives none and the run's is not a shipped one.
        """
        return self.bundle_named(record.bundle.name, record.bundle.root)

    def bundle_named(self, name: str, root: str) -> Bundle:
        """The same, by the name of the bundle and the folder that it was in.

        Raises:
            InputError: as `bundle_of`.
        """
        if self.bundle is not None:
            bundle = open_bundle(self.bundle)
            if bundle.names and name not in bundle.names:
                raise InputError(
                    f"the run was made with the bundle '{name}', but '{self.bundle}' is the bundle "
                    f"{' or '.join(map(repr, bundle.names))}; give the one that the run was made with"
                )
            return bundle
        shipped = shipped_bundles()
        if name not in shipped:
            raise InputError(
                f"the run was made with the bundle '{name}' (in '{root}'), which is not a shipped one "
                f"({', '.join(shipped)}); a run must not decide whose code is executed: give the bundle's folder with "
                "--bundle"
            )
        return Bundle(shipped[name])


STRANGER = Trust()  # for a run folder that anyone may have made


def inherited(
    run: str | Path,
    bundle: Bundle,
    ids: Sequence[str] = INHERITED,
    *,
    overlays: Sequence[str] = (),
    trust: Trust = STRANGER,
) -> dict[str, Any]:
    """The ids that a model needs to be used as it was trained: network, transforms, loss, inferer and their references.

    A run's config is data. A value that its bundle's configs, or those of the user, have at the same place is always
    taken. Where a run differs from them, numbers, class names and the arguments of a network with the bundle's target
    are taken. Transforms, loss and inferer must be the same.

    Args:
        run: the run folder.
        bundle: the bundle that it is used with.
        ids: the ids to take over, if the run has them.
        overlays: files on top of the bundle's config; the ids that they set are not taken from the run.
        trust: whether the run's config is used as it is, and what the user's are.

    Raises:
        InputError: with every place where the run's config differs from the bundle's in more than data.
    """
    config = received_config(run)
    laid = [read_json(overlay, dict) for overlay in overlays]
    overlaid = {key.replace("#", SEPARATOR): value for overlay in laid for key, value in overlay.items()}
    taken = {key: config[key] for key in with_references(config, ids) if key not in overlaid}
    within = {key: value for key, value in overlaid.items() if key.partition(SEPARATOR)[0] in taken}
    if not trust.config:
        known = [*_forms(bundle), *map(nested, laid), *trust.known]
        raise_if_any(
            f"'{Path(run) / CONFIG_JSON}' {text}; the config of a run is taken as data, since anyone may have made the "
            f"folder: {_as_before(run, bundle)}, or, if you know who made it, use its config as it is, including its "
            "code (--trust-config)"
            for key, value in taken.items()
            for text in _foreign((key,), value, [each[key] for each in known if key in each])
        )
    return taken | within


def is_of_bundle(bundle: Bundle, key: str, value: Any) -> bool:
    """Whether one of a bundle's configs has this value of an id, or had it in an earlier version."""
    return any(key in each and _same(value, each[key]) for each in _forms(bundle))


def _forms(bundle: Bundle) -> list[dict[str, Any]]:
    """The contents of a bundle's configs, also as earlier versions wrote them."""
    return [*bundle.contents, *map(earlier_form, bundle.contents)]


def _as_before(run: str | Path, bundle: Bundle) -> str:
    """What would make a run's config that of its bundle: another bundle, or the one as it was."""
    if bundle.parts is None:
        return "give the bundle that it was made with (--bundle)"
    made = read_record(run).versions.get("mu_monai", "of an earlier version") if is_run(run) else "of another version"
    return (
        f"mu-monai {made} made it, and mu-monai {__version__} makes something else of '{bundle.place}', so the bundle, "
        "mu-monai or a --set differs; give the bundle as it was (--bundle)"
    )


def used_otherwise(config: Mapping[str, Any], run: str | Path) -> list[str]:
    """Where a config uses a model otherwise than the run that made it: other sizes, classes and the like, in sentences.

    Args:
        config: the config.
        run: the run folder, or the weights in it; nothing is known of other weights.

    Raises:
        InputError: if the run's config is not the file that it wrote.
    """
    theirs = received_config(run)
    return [
        f"{key} is {json.dumps(config[key])}, and the model '{run}' was trained with {json.dumps(theirs[key])}; if "
        "that is not meant, set it alike"
        for key in with_references(theirs, INHERITED)
        if key in config and config[key] != theirs[key] and _plain_data(config[key]) and _plain_data(theirs[key])
    ]


def _plain_data(value: Any) -> bool:
    """Whether a value is a number, a name or a list of these, and refers to nothing."""
    values = value if isinstance(value, list) else [value]
    return all(isinstance(each, int | float | str) and is_plain(str(each)) for each in values)


def received_config(run: str | Path) -> dict[str, Any]:
    """The `config.json` of a run; empty if there is none, as next to weights that are not from a run.

    Args:
        run: the run folder, or the weights in it.

    Raises:
        InputError: if it is not the file that the run wrote, is not a JSON mapping, or is nested too deeply.
    """
    run = run_of(run)
    file = run / CONFIG_JSON
    if is_run(run):
        raise_if_any(changed_files(run, read_record(run), [CONFIG_JSON]))
    config: dict[str, Any] = read_json(file, dict) if file.is_file() else {}
    level: list[Any] = [config]
    for _ in range(_DEEPEST):
        inner = (each.values() if isinstance(each, Mapping) else each for each in level)
        level = [value for values in inner for value in values if isinstance(value, Mapping | list)]
    if level:
        raise InputError(f"'{file}' is nested deeper than {_DEEPEST} levels, too deep for a config; it is damaged")
    return config


def literal_problems(value: Any, place: str) -> list[str]:
    """Why a received value is more than data: a mapping that makes a component, or a text that MONAI acts on.

    Example:
        >>> literal_problems({"forget_weight": 3.0, "forget_terms": {"background": 1.0}}, "method")
        []
        >>> literal_problems({"forget_weight": "$1 + 1"}, "method")
        ["method::forget_weight is '$1 + 1'"]
    """
    return [f"{SEPARATOR.join(where)} is {value!r:.{_SHOWN}}" for where, value in _not_literal((place,), value)]


def _not_literal(place: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping | list):
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            if str(key).startswith("_") or not is_plain(str(key)):
                yield (*place, str(key)), item
            else:
                yield from _not_literal((*place, str(key)), item)
    elif isinstance(value, str) and not is_plain(value):
        yield place, value


def is_plain(text: str) -> bool:
    """Whether MONAI takes a text in a config as plain text: it is not an expression and does not refer to another id.

    Example:
        >>> is_plain("benign, 2 of 3"), is_plain("$1 + 1"), is_plain("runs/#1")
        (True, False, False)
    """
    return not (text.lstrip().startswith(_SIGNS) or "#" in text or SEPARATOR in text or "\0" in text)


def _foreign(place: tuple[str, ...], value: Any, known: Sequence[Any]) -> Iterator[str]:
    """Sentences about the places where a received value is more than data.

    Args:
        place: the keys that lead to it.
        value: the received value.
        known: the values of the bundle's configs at this place.
    """
    if any(_same(value, each) for each in known):
        return
    mappings = [each for each in known if isinstance(each, Mapping)]
    same_part = isinstance(value, Mapping) and value.get("_target_") in [each.get("_target_") for each in mappings]
    if isinstance(value, Mapping) and same_part and place[0] not in _EXACT:
        for key, item in value.items():
            there = [each[key] for each in mappings if key in each]
            fresh = place == (_NETWORK,) and not there and is_argument_name(key)
            yield from _foreign((*place, key), item, there or ([None] if fresh else []))
    elif not _is_data(place, value, known):
        expected = f"{known[0]!r:.{_SHOWN}}" if known else "nothing there"
        yield f"has {SEPARATOR.join(place)} = {value!r:.{_SHOWN}}; the bundle has {expected}"


def _is_data(place: tuple[str, ...], value: Any, known: Sequence[Any]) -> bool:
    """Whether a value that differs from the bundle's is data of the kind that belongs at this place."""
    if place[0] in _EXACT or not known:
        return False
    if SEPARATOR.join(place[:2]) in _TEXTS or place[0] in _TEXTS:
        return _is_text(place, value)
    if place[0] in _READING:
        return _is_reading(value)
    if place[0] == _NETWORK:
        return len(place) > 1 and is_argument_name(place[-1]) and is_argument(value)
    return any(_is_like(value, each) for each in known)


def _is_reading(value: Any) -> bool:
    """Whether it is a range of two numbers, or a map from whole numbers to classes."""
    if isinstance(value, Mapping):
        return all(re.fullmatch(r"-?\d{1,10}", key) and _is_like(index, 0) for key, index in value.items())
    numbers = value if isinstance(value, list) else []
    return value is None or (
        len(numbers) == 2 and all(type(each) in (int, float) and abs(each) <= _WIDE for each in numbers)
    )


def _is_text(place: tuple[str, ...], value: Any) -> bool:
    """Whether it is plain text, or a list of texts if the place has one; layers must be named, not searched for."""
    if place[-1] == "scope" and not (isinstance(value, str) and _PATTERN.fullmatch(value)):
        return False
    texts = value if isinstance(value, list) and place[-1] in _LISTS else [value]
    return all(isinstance(text, str) and is_plain(text) for text in texts)


def _is_like(value: Any, known: Any) -> bool:
    """Whether a received value has the type of the bundle's value: a number, a boolean, or a list of the same length.

    If the bundle has nothing or an expression, a number, a boolean or a list of numbers is data as well.
    """
    if isinstance(known, bool):
        return isinstance(value, bool)
    if isinstance(known, list):
        return isinstance(value, list) and len(value) == len(known) and all(map(_is_entry, value, known))
    if known is None or isinstance(known, str):
        single = value is None or isinstance(value, bool) or _is_number(value)
        return single or (isinstance(value, list) and all(map(_is_entry, value, value)))
    whole = isinstance(known, float) or isinstance(value, int)
    return not isinstance(known, Mapping) and _is_number(value) and whole


def _is_entry(value: Any, known: Any) -> bool:
    return _is_like(value, known) and not (_is_number(value) and abs(value) > _LONGEST)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def is_argument_name(key: object) -> bool:
    """Whether it can be the name of a network's argument that does not load anything.

    Example:
        >>> is_argument_name("channels"), is_argument_name("pretrained_url"), is_argument_name("_mode_")
        (True, False, False)
    """
    return isinstance(key, str) and key.isidentifier() and not re.match(r"_|pretrained|weights|path|file|url", key)


def is_argument(value: Any) -> bool:
    """Whether it may be an argument of a network: numbers, and the names of norms, activations and modes.

    Example:
        >>> is_argument(["group", {"num_groups": 4}]), is_argument("os.system"), is_argument(10**7)
        (True, False, False)
    """
    if isinstance(value, list):
        return len(value) <= _MOST and all(map(is_argument, value))
    if isinstance(value, Mapping):
        return all(is_argument_name(key) and is_argument(item) for key, item in value.items())
    if isinstance(value, str):
        return _WORD.fullmatch(value) is not None
    return value is None or isinstance(value, bool) or (_is_number(value) and abs(value) <= _WIDEST)


def _same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal; `true` is not 1."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def with_references(config: Mapping[str, Any], ids: Sequence[str]) -> list[str]:
    """The ids that the config has, and all ids that they refer to, directly or indirectly; places are left out.

    Example:
        >>> with_references({"loss": {"weight": "@weight"}, "weight": 2, "seed": 0}, ["loss", "inferer"])
        ['loss', 'weight']
    """
    reached: list[str] = []
    waiting = list(ids)
    while waiting:
        key = waiting.pop(0)
        if key in config and key not in reached and key not in _PLACES:
            reached.append(key)
            waiting += [
                name.partition(SEPARATOR)[0] for name in ReferenceResolver.find_refs_in_config(config[key], key)
            ]
    return reached
