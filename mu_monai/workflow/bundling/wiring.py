"""How the parts of a bundle's configs are connected: ids, components, references, handlers, records and subsets."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from pydoc import ErrorDuringImport, locate
from typing import Any

from monai.bundle import ConfigParser, ReferenceResolver
from monai.bundle.config_item import ConfigComponent
from monai.bundle.properties import InferProperties, TrainProperties

from mu_monai.bundle.references import components, texts
from mu_monai.bundle.trust import SEPARATOR
from mu_monai.errors import did_you_mean
from mu_monai.keys import FORGET, RETAIN, SUBSETS, TRAINING_SUBSETS, VALIDATION
from mu_monai.workflow.bundling.reading import EVALUATE, INFERENCE, TRAIN, UNLEARN, BundleConfigs, target_name, value_at

_TRAINING = (
    *("bundle_name", "split", "seed", "quiet", "run_dir", "resume", "network_def", "network", "loss", "cases"),
    *("transforms", "datasets", "scorer", "run_folder", "handlers", "train::dataloader", "run"),
)
_NEEDED = {  # ids that commands set or use, besides those that MONAI requires
    TRAIN: (*_TRAINING, "subsets"),
    UNLEARN: (*_TRAINING, "teacher", "preset", "optimizer", "method::forget_loader", "method::task", "method::softmax"),
    EVALUATE: ("bundle_root", "split", "device", "run_dir", "weights", "network_def", "datasets", "scorer", "run"),
    INFERENCE: ("weights", "images", "output_dir", "preprocessing", "run"),
}
_MONAIS: dict[str, Mapping[str, Any]] = {
    TRAIN: TrainProperties,
    UNLEARN: TrainProperties,
    EVALUATE: {},
    INFERENCE: InferProperties,
}
_RECORDED = {"folder": "@run_dir", "split": "@split", "seed": "@seed", "resume": "@resume"}
_RECORDED_OF = {
    TRAIN: {**_RECORDED, "subsets": "@subsets"},
    UNLEARN: {**_RECORDED, "method": "@method", "teacher": "@teacher", "preset": "@preset"},
}
_SOURCES = ("cases", "datasets", "scorer", "split")  # these hold every subset
_NAMED = re.compile(rf"['\"]({'|'.join(SUBSETS)})['\"]|{SEPARATOR}({'|'.join(SUBSETS)})\b")
_SEEN: dict[str, dict[str, tuple[str, ...]]] = {  # the subsets that each part of a config may see
    TRAIN: {"train::dataset": TRAINING_SUBSETS, "train::dataloader": TRAINING_SUBSETS},
    UNLEARN: {
        "train::dataset": TRAINING_SUBSETS,
        "train::dataloader": TRAINING_SUBSETS,
        "method::forget_loader": TRAINING_SUBSETS,
        "method::unseen_loader": (VALIDATION,),
        "method": (RETAIN, FORGET, VALIDATION),
    },
}


def id_problems(bundle: BundleConfigs) -> Iterator[str]:
    """Which ids that commands or MONAI set or use are missing."""
    for name, parser in bundle.whole.items():
        monais = [str(entry["id"]) for entry in _MONAIS[name].values() if entry["required"]]
        for key in dict.fromkeys((*monais, *_NEEDED[name])):
            if key not in parser:
                yield (
                    f"'configs/{name}.json' has no id '{key}', which commands set or use; copy it from a shipped bundle"
                )


def component_problems(bundle: BundleConfigs) -> Iterator[str]:
    """Which components cannot be imported, each reported once."""
    parsers = bundle.whole | bundle.overlaid
    told: set[str] = set()
    for name, parser in parsers.items():
        for place, target in components(parser.get()):
            if target not in told and not target.startswith(("$", "@")) and not _can_be_imported(parser, target):
                told.add(target)
                yield (
                    f"'configs/{name}.json': {place} has the _target_ '{target}', which cannot be imported; correct "
                    "it, or install its package"
                )


def _can_be_imported(parser: ConfigParser, target: str) -> bool:
    with warnings.catch_warnings(action="ignore"):  # about names that MONAI has twice
        path = ConfigComponent({"_target_": target}, locator=parser.locator).resolve_module_name()
        try:
            return callable(locate(path))
        except ErrorDuringImport:
            return False


def reference_problems(bundle: BundleConfigs) -> Iterator[str]:
    """Which references do not resolve; for an overlay, those that the config below it does not have."""
    for name, parser in (bundle.whole | bundle.overlaid).items():
        below = bundle.whole[bundle.bases[name]] if name in bundle.bases else None
        known = set() if below is None else set(_references(below))
        for place, wanted in dict.fromkeys(_references(parser)):
            if wanted not in parser and (place, wanted) not in known:
                first = wanted.partition(SEPARATOR)[0]
                near = "" if first in parser else did_you_mean(first, parser.get())
                yield f"'configs/{name}.json': {place} refers to '@{wanted}', and there is no such id; correct it{near}"


def _references(parser: ConfigParser) -> Iterator[tuple[str, str]]:
    yield from (
        (place, wanted)
        for place, text in texts(parser.get())
        for wanted in ReferenceResolver.match_refs_pattern(text)
        if wanted
    )


def handler_problems(bundle: BundleConfigs) -> Iterator[str]:
    """Where the order of handlers breaks resuming, stopping or the record of a run."""
    for name in (TRAIN, UNLEARN):
        found = _handlers(bundle, name)
        if found is None:
            continue
        place = f"'configs/{name}.json': handlers are {', '.join(found)};"
        if found[:1] != ["Reseed"]:
            yield f"{place} put mu_monai.engine.Reseed first, since random draws before it differ in a resumed run"
        if found[-2:] != ["ScoreSubsets", "RunFolder"]:
            yield f"{place} end with '@scorer' and '@run_folder', in this order, since the curve records the scores"
        if "StopOnNonFinite" not in found:
            yield f"{place} add mu_monai.engine.StopOnNonFinite, or a run continues with weights that are not numbers"
        if name == UNLEARN and "method" not in found[: (*found, "StopOnNonFinite").index("StopOnNonFinite")]:
            yield f"{place} put '@method' before StopOnNonFinite, so that its terms are checked too"
        if "MixedPrecision" in found and "method" in found[: found.index("MixedPrecision")]:
            yield f"{place} put mu_monai.engine.MixedPrecision before '@method', whose first steps it is for too"


def _handlers(bundle: BundleConfigs, name: str) -> list[str] | None:
    """The handlers by the last part of their `_target_`, and the method as `@method`."""
    handlers = bundle.get(name, "handlers")
    if not isinstance(handlers, list):
        return None
    return [
        "method" if entry == "@method" else target_name(bundle.get(name, f"handlers{SEPARATOR}{number}")) or str(entry)
        for number, entry in enumerate(handlers)
    ]


def trainer_problems(bundle: BundleConfigs) -> Iterator[str]:
    """Where the trainer, the student, the record or the order of a run is not as runs need it."""
    for name in (TRAIN, UNLEARN):
        if name in bundle.whole:
            yield from (f"'configs/{name}.json': {text}" for text in _trainer_problems(bundle.whole[name], name))


def _trainer_problems(parser: ConfigParser, name: str) -> Iterator[str]:
    if parser.get("train::trainer::decollate") is not False:
        yield "train::trainer::decollate must be false, since the method needs whole batches"
    if parser.get("train::trainer::train_handlers") not in ("@handlers", "$@handlers"):
        yield "train::trainer::train_handlers must be '$@handlers', or nothing is scored or written"
    for key, wanted in _RECORDED_OF[name].items():
        value = parser.get(f"run_folder{SEPARATOR}{key}")
        if value != wanted:
            yield f"run_folder::{key} is {value!r}; set it to '{wanted}', so that the record says what was run"
    if name == UNLEARN and target_name(parser.get("network")) != "Student":
        yield "network must be a mu_monai.adapters.Student, so that the teacher can be restored bit for bit"
    if name == UNLEARN and "@network.trainable()" not in str(parser.get("optimizer::params")):
        yield "optimizer::params must take '@network.trainable()', so that the teacher's weights do not change"
    yield from _order_problems(parser)


def _order_problems(parser: ConfigParser) -> Iterator[str]:
    steps = value_at(parser, "run")
    steps = [str(step) for step in steps] if isinstance(steps, list) else []
    trained = [number for number, step in enumerate(steps) if "@train::trainer.run()" in step]
    scored = [number for number, step in enumerate(steps) if "@scorer.write(" in step]
    if not (trained and scored and trained[-1] < scored[0]):
        yield (
            "run must call '@train::trainer.run()' and then '@scorer.write(...)', so that the final weights are scored"
        )


def subset_problems(bundle: BundleConfigs) -> Iterator[str]:
    """Which parts see cases that they must not see: a method must not be judged on cases that it has seen."""
    parsers = [(TRAIN, TRAIN, bundle.whole[TRAIN])] if TRAIN in bundle.whole else []
    parsers += [(name, UNLEARN, parser) for name, parser in bundle.unlearning()]
    for name, kind, parser in parsers:
        for place, allowed in _SEEN[kind].items():
            wrong = [subset for subset in SUBSETS if subset in _subsets(parser, place) and subset not in allowed]
            if wrong:
                yield (
                    f"'configs/{name}.json': {place} sees {' and '.join(wrong)} cases; it may see "
                    f"{' and '.join(allowed)} only, or measurements on the others are invalid"
                )
        if kind == UNLEARN and FORGET not in _subsets(parser, "method::forget_loader"):
            yield f"'configs/{name}.json': method::forget_loader sees no forget cases; give it \"$@datasets['forget']\""


def _subsets(parser: ConfigParser, start: str) -> set[str]:
    """The subsets named at an id and at all ids that it leads to, except those that hold every subset."""
    found: set[str] = set()
    waiting, done = [start], set()
    while waiting:
        key = waiting.pop()
        if key in done or key.partition(SEPARATOR)[0] in _SOURCES:
            found |= {part for part in key.split(SEPARATOR) if part in SUBSETS}
            continue
        done.add(key)
        for place, text in texts({key: parser.get(key)}):
            listed = text in SUBSETS and place.rpartition(SEPARATOR)[2].isdigit()
            found |= {text} if listed else {one or other for one, other in _NAMED.findall(text)}
            waiting += [wanted for wanted in ReferenceResolver.match_refs_pattern(text) if wanted]
    return found
