"""One case through transforms, network, loss and scores of an adopted bundle, before anything starts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.data.utils import list_data_collate
from torch import nn

from mu_monai.bundle.adopted.parts import Parts
from mu_monai.bundle.adopted.source import make_importable, root_of
from mu_monai.bundle.config import built_network, read_config, take_shared
from mu_monai.bundle.layers import LayeredConfig
from mu_monai.data import Split
from mu_monai.engine.cost import TRAINED
from mu_monai.errors import InputError, raise_if_any
from mu_monai.keys import CASE_ID, IMAGE, LABEL, RETAIN, TRAINING_SUBSETS
from mu_monai.measure.case_scores import case_scores
from mu_monai.reasons import reason_for, unexpected
from mu_monai.runs.scores import leading_metric

_DRAWS, _SHOWN = 3, 8
_RESHAPES = ("AliasBackward0", "SelectBackward0", "SqueezeBackward1", "ToCopyBackward0", "ViewBackward0")
_ACTIVATIONS = {"sigmoid": "sigmoid=true, or BCEWithLogitsLoss", "softmax": "softmax=true, or CrossEntropyLoss"}
_STEP = re.compile(r"applying transform <?([\w.]+)")


@dataclass
class Trial:
    """What came out of it.

    Args:
        found: what was seen at each stage, such as shapes, by the name of the stage.
        problems: why the bundle cannot be used with the split.
        samples: images that the training takes of a case, such as patches; None if it did not come that far.
        outputs: the channels of the network's answer; None if it did not come that far.
    """

    found: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    samples: int | None = None
    outputs: int | None = None


def tried(config: LayeredConfig) -> Trial:
    """Take the first case to retain through both transforms, the network, the loss and the scores.

    Args:
        config: the training or unlearning config of an adopted bundle with all options; the split must be usable.
    """
    parts, parser, trial = config.bundle.parts, config.read(), Trial()
    if parts is None:
        return trial
    make_importable(parts.folder)
    trial.problems += _activation_problems(parser.get("softmax"), parts.softmax)
    if trial.problems:
        return trial
    for stage in _Course(parser, trial, parts).stages:
        try:
            stage()
        except InputError as error:
            trial.problems += error.problems
            break
        except Exception as error:  # whatever the parts of somebody's bundle raise
            trial.problems += _told(error)
            break
    return trial


def _activation_problems(chosen: Any, said: bool | None) -> Iterator[str]:
    """Why a value of `softmax` is not that of the network's outputs, by what the bundle says."""
    if chosen is None and said is None:
        yield (
            "whether the outputs are of a softmax or of a sigmoid is not known from the bundle's loss or "
            "postprocessing; give --set softmax=true (exactly one class is true at each place) or --set softmax=false"
        )
    elif not isinstance(chosen, bool):  # text such as "False" would count as true
        yield f"softmax={chosen!r} is not allowed; use true or false"
    elif said is not None and chosen != said:
        yield (
            f"softmax={str(chosen).lower()} contradicts the bundle's loss and postprocessing, which are of a "
            f"{'softmax' if said else 'sigmoid'}; omit it, or correct the bundle"
        )


def label_problems(trial: Trial, config: LayeredConfig) -> list[str]:
    """Which cases have labels that do not fit the outputs of an adopted bundle's network.

    Every case is read, as a run reads it; within `sharing_data`, the run that follows takes what was read.

    Args:
        trial: the trial of its first case.
        config: its training or unlearning config with all options.

    Raises:
        InputError, RunError: if a case cannot be read.
    """
    if trial.problems or trial.outputs is None:
        return trial.problems
    parser = config.read()
    try:
        take_shared(parser)
        datasets = parser.get_parsed_content("datasets")
        # by their number: MONAI's data set without a case cannot be iterated
        read = (dataset[index] for dataset in datasets.values() for index in range(len(dataset)))
        labels = [(case[CASE_ID], case[LABEL]) for case in read]
    except Exception as error:  # whatever the transforms of somebody's bundle raise
        raise reason_for(error) or unexpected(error) from error
    softmax = parser.get("softmax")
    return [
        problem
        for case, label in labels
        for problem in _label_problem(f"the label of case '{case}'", label, trial.outputs, softmax)
    ]


def trained_passes(trial: Trial, config: LayeredConfig, split: Split) -> int | None:
    """The sample passes that the training of a bundle's own weights took, by its config; None if a case was not tried.

    All cases to retain and to forget count as trained on, in every epoch; if the trainer says how many batches an epoch
    has, as many cases as are in those. The batches are the trainer's, and not those of the unlearning.
    """
    if trial.samples is None:
        return None
    trained = read_config(config.bundle.files("unlearn")).get("trained")
    if trained["max_epochs"] is None:
        return None
    cases = sum(len(split.rows[name]) for name in TRAINING_SUBSETS)
    if trained["epoch_length"] is not None:
        cases = int(trained["epoch_length"]) * int(trained["batch_size"])
    return TRAINED * int(trained["max_epochs"]) * cases * trial.samples


class _Course:
    """The stages that a case goes through, in their order; each uses what those before it made."""

    def __init__(self, parser: ConfigParser, trial: Trial, parts: Parts) -> None:
        self.parser, self.trial, self.parts = parser, trial, parts
        self.stages = (self.cases, self.whole, self.training, self.answer, self.judged)

    def cases(self) -> None:
        self.case = self.parser.get_parsed_content("cases")[RETAIN][0]
        missing = [name for name in self.parts.columns if name not in self.case]
        if missing:
            raise InputError(
                f"the bundle reads {', '.join(missing)} of each case, and the split has no such column of files for "
                "every case; split by the bundle's own lists (--from-bundle), or with a manifest that has it"
            )
        self.trial.found["case"] = str(self.case[CASE_ID])

    def whole(self) -> None:
        transform = self.parser.get_parsed_content("transforms")
        first, second = transform(dict(self.case)), transform(dict(self.case))
        if isinstance(first, list):
            raise InputError(
                f"the evaluator's transform makes {len(first)} parts of a case, so whole cases cannot be scored; take "
                "its crop out"
            )
        if not torch.equal(first[IMAGE], second[IMAGE]):
            raise InputError(
                "the evaluator's transform gives another image each time: it has augmentation, so models cannot be "
                "compared by their cases; take the random steps out of it"
            )
        self.scored = first
        self.trial.found["whole case"] = _shapes(first)

    def training(self) -> None:
        transform = self.parser.get_parsed_content("train::preprocessing")
        draws = [transform(dict(self.case)) for _ in range(_DRAWS)]  # a random step may fail in some only
        parts = [draw if isinstance(draw, list) else [draw] for draw in draws]
        self.trial.samples = len(parts[0])
        self.batch = list_data_collate(parts[0])
        self.trial.found["training"] = f"{self.trial.samples} of {_shapes(parts[0][0])}"

    def answer(self) -> None:
        network = built_network(self.parser).eval()
        predict = _single(network)
        windows = self.parser.get_parsed_content("inferer")
        with torch.no_grad():
            self.logits = windows(self.scored[IMAGE][None], predict)
            self.patches = predict(self.batch[IMAGE])
        shapes = [tuple(logits.shape[1:]) for logits in (self.logits, self.patches)]
        if self.parts.softmax is None:  # neither the loss nor the postprocessing applies an activation
            raise_if_any(_activated(network, self.batch[IMAGE][:1]))
        self.trial.outputs = self.logits.shape[1]
        self.trial.found["answer"] = f"{shapes[0]} of a whole case, {shapes[1]} in training"

    def judged(self) -> None:
        label, softmax = torch.as_tensor(self.scored[LABEL])[None], self.parser.get("softmax")
        raise_if_any(_label_problem("a label", label[0], self.logits.shape[1], softmax))
        loss = self.parser.get_parsed_content("loss")(self.patches, self.batch[LABEL])
        if loss.ndim or not torch.isfinite(loss):
            raise InputError(
                f"the loss of a batch is {loss}, not one finite number; look at its reduction and the labels"
            )
        classes, spacing = self.parser.get("classes"), self.parser.get_parsed_content("scorer::spacing")
        scores = case_scores(self.logits, label, classes, spacing, softmax)
        metric = leading_metric(scores)
        self.trial.found["judged"] = f"loss {loss.item():.3f}, {metric} {scores[metric]:.3f}, with random weights"


def _activated(network: nn.Module, image: torch.Tensor) -> Iterator[str]:
    """Why outputs are not logits: the last that the network computes is an activation."""
    with torch.enable_grad():
        step = network(image).grad_fn
    while step is not None and step.name() in _RESHAPES:
        step = step.next_functions[0][0]
    for name, loss in _ACTIVATIONS.items():
        if step is not None and step.name() == f"{name.title()}Backward0":
            yield (
                f"the network ends with a {name}, so its outputs are probabilities, to which runs would apply a {name} "
                f"again; let it return what it applies the {name} to, and let the loss apply it ({loss})"
            )


def _single(network: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """The network, refusing several answers of one that is not known to give them."""

    def predict(image: torch.Tensor) -> torch.Tensor:
        answer = network(image)
        if not isinstance(answer, torch.Tensor):
            raise InputError(
                f"the network answers with a {type(answer).__name__}, and runs need one tensor; let the bundle build a "
                "network of its own that returns it"
            )
        return answer

    return predict


def _label_problem(what: str, label: torch.Tensor, outputs: int, softmax: bool) -> Iterator[str]:
    """Why the values of a label do not fit the outputs."""
    several = label.ndim > 0 and label.shape[0] == outputs and not softmax
    highest = 1 if several else outputs - 1
    fits = (label >= 0) & (label <= highest) & (label == label.round())
    if not fits.all():
        values = torch.unique(label).tolist()
        shown = ", ".join([*(f"{value:g}" for value in values[:_SHOWN]), *(["..."] if len(values) > _SHOWN else [])])
        yield (
            f"{what} has the values {shown}, and with {outputs} outputs they must be whole numbers from 0 to "
            f"{highest}; the bundle's transforms must map them so"
        )


def _shapes(case: Mapping[str, Any]) -> str:
    image, label = case[IMAGE], torch.as_tensor(case[LABEL])
    values = torch.unique(label)
    shown = ", ".join(f"{value:g}" for value in values[:6].tolist()) + (", ..." if len(values) > 6 else "")
    return (
        f"image {tuple(image.shape)} in [{image.min():.3g}, {image.max():.3g}], label {tuple(label.shape)} of {shown}"
    )


def _told(error: Exception) -> list[str]:
    """Which step failed and why: MONAI says the step in the outer error and the reason in the inner."""
    step: str | None = None
    inner: BaseException | None = error
    last: BaseException = error
    while inner is not None:
        if isinstance(inner, InputError):
            return inner.problems
        found = _STEP.search(str(inner))
        step = found[1] if found else step
        last, inner = inner, inner.__cause__
    at = f"its transform {step.rpartition('.')[2]} fails" if step else "it fails"
    advice = "correct the bundle's config, or the files that the split names"
    if isinstance(last, ImportError):  # MONAI's OptionalImportError is one
        advice = (
            "install the package, in a build that fits the installed torch; pip install 'mu-monai[zoo]' brings what "
            "most bundles of MONAI's zoo need"
        )
    return [f"the first case does not go through the bundle: {at} ({root_of(error)}); {advice}"]
