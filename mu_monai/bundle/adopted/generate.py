"""The configs that commands run, made for anybody's bundle from its parts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mu_monai.bundle.adopted.extract import extract_from
from mu_monai.bundle.adopted.parts import CLASSIFICATION, EVALUATOR, Parts, transform_of
from mu_monai.bundle.adopted.source import WRITES_IMAGES, SourceConfig, base_name
from mu_monai.bundle.earlier import FIRST_ANSWER
from mu_monai.bundle.references import texts
from mu_monai.errors import InputError
from mu_monai.keys import FORGET, IMAGE, RETAIN, VALIDATION

_SOURCE, _EVALUATION, _INFERENCE = "source", "evaluation", "inference"
_IMPORTS = ("$import monai", "$import mu_monai", "$import mu_monai.data.datasets", "$import torch")
_IMPORT = re.compile(r"\$\s*(import|from)\s")
_RATE = "learning_rate"
_SIMPLE = {"_target_": "SimpleInferer"}
_LOADER = "monai.data.DataLoader"
_LOADS_WEIGHTS = ("CheckpointLoader", "CheckpointSaver")
_ANSWERING = ("inferer", "postprocessing", "decollate", "amp", "amp_kwargs", "mode")
_WRITERS = (*WRITES_IMAGES, "SaveClassificationd", "ClassificationSaver")
_OUTPUT = "output_dir"  # as in the inference configs of the zoo, whose expressions may write there
_WRITES = (_OUTPUT, "save_dir", "log_dir")
_OF_TRAINING = (("network_def", "first_network"), ("loss", "loss_of_all"))
_METADATA = {"version": "0.0.0", "changelog": {}}


def adopted_configs(parts: Parts) -> dict[str, dict[str, Any]]:
    """The configs `train`, `unlearn`, `evaluate`, `metadata` and, where the bundle predicts, `inference`, by name.

    Network, loss, optimizer, inferers and transforms are the bundle's own; what they refer to is kept under `source`,
    `evaluation` or `inference`, by the config that it is from.
    """
    common = _Common(parts)
    configs = {"train": _train(parts, common), "unlearn": _unlearn(parts, common), "evaluate": _evaluate(common)}
    if parts.inference is not None:
        configs["inference"] = _inference(parts, parts.inference)
    return {**configs, "metadata": {**_METADATA, **parts.metadata}}


class _Common:
    """What all configs share, and what only some of them need."""

    def __init__(self, parts: Parts) -> None:
        config, evaluation = parts.config, parts.evaluation
        self._main = extract_from(parts, config, _SOURCE)
        same = evaluation is config
        self._other = self._main if same else extract_from(parts, evaluation, _EVALUATION)
        take, take_other = self._main.take, self._other.take
        network = take(parts.network)
        self.of_training: dict[str, Any] = {}
        if _is_pretrained(network) or parts.loss_of_all is not None:
            self.of_training["first_network"] = _answering(network, parts, in_training=parts.loss_of_all is None)
        loss = take(parts.loss)
        if parts.loss_of_all is not None:
            weighing = {name: value for name, value in parts.loss_of_all.items() if name != "loss"}
            self.of_training["loss_of_all"] = {**take(weighing), "loss": "@loss"}
        self.optimizer = take(parts.optimizer)
        self.training = _for_runs(take(parts.training), parts)
        self.inferer = take(parts.inferer) or _SIMPLE
        cases = "mu_monai.data.load_split(@split, forget_images_gone=@forget_images_gone)"
        self.values: dict[str, Any] = {
            "imports": _imports(config, evaluation),
            "bundle_name": parts.folder.name,
            "bundle_root": str(parts.folder),
            "split": None,
            "forget_images_gone": False,
            "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
            "classes": parts.classes,
            "softmax": parts.softmax,
            "cache_rate": parts.numbers["cache_rate"],
            "network_def": _network_def(network, parts),
            "loss": {"_target_": "mu_monai.losses.OneHotTargets", "loss": loss} if parts.one_hot else loss,
            "cases": f"${cases}" if parts.label_file else f"$mu_monai.data.indexed({cases}, @classes)",
            "transforms": _for_runs(take_other(parts.transform), parts),
            "datasets": {
                "_target_": "mu_monai.data.datasets.image_datasets",
                "cases": "@cases",
                "transform": "@transforms",
                "cache_rate": "@cache_rate",
                "kind": "$mu_monai.data.datasets.CaseDataset",
            },
            "inferer": take_other(parts.window) or _SIMPLE,
            "scorer": {
                "_target_": "mu_monai.engine.ScoreSubsets",
                "datasets": "@datasets",
                "loss_function": "@loss",
                "device": "@device",
                "classes": "@classes",
                "inferer": "@inferer",
                "spacing": parts.spacing,
                "softmax": "@softmax",
            },
        }
        kept = {_SOURCE: self._main.kept} | ({} if same else {_EVALUATION: self._other.kept})
        self.values |= {name: content for name, content in kept.items() if content}

    def config(self, **values: Any) -> dict[str, Any]:
        """A config with values of its own."""
        return {**self.values, **values}


def _imports(*configs: SourceConfig) -> list[str]:
    """The imports of a bundle's configs: MONAI runs each of them first, whatever its id is."""
    found = [text for config in configs for _, text in texts(config.parser.get()) if _IMPORT.match(text)]
    return list(dict.fromkeys([*_IMPORTS, *found]))


def _is_pretrained(network: Any) -> bool:
    """Whether a network would fetch weights; what is loaded afterwards replaces them."""
    return isinstance(network, Mapping) and bool(network.get("pretrained"))


def _network_def(network: Any, parts: Parts) -> Any:
    """The network whose weights are loaded afterwards."""
    return _answering({**network, "pretrained": False} if _is_pretrained(network) else network, parts)


def _answering(network: Any, parts: Parts, in_training: bool = True) -> Any:
    """A network that gives the first of its answers if it may have several."""
    more = {} if in_training else {"in_training": False}
    return {"_target_": FIRST_ANSWER, "network": network, **more} if parts.several else network


def _for_runs(transform: Any, parts: Parts) -> dict[str, Any]:
    """A transform whose results have what runs use, and nothing else."""
    last = {"_target_": "mu_monai.data.run_case.RunCased", "index": parts.one_hot or parts.task == CLASSIFICATION}
    return {"_target_": "Compose", "transforms": [_one_transform(transform), last]}


def _one_transform(transform: Any) -> Any:
    """A transform; a list of them, as data sets take it, is composed."""
    if isinstance(transform, list):
        return {"_target_": "Compose", "transforms": transform}
    if isinstance(transform, str) and transform.startswith("$"):
        made = transform[1:]
        return f"$monai.transforms.Compose({made}) if isinstance({made}, (list, tuple)) else {made}"
    return transform


def _train(parts: Parts, common: _Common) -> dict[str, Any]:
    built, loss = (second if second in common.of_training else first for first, second in _OF_TRAINING)
    rate = {name: value for name, value in parts.numbers.items() if name == _RATE}
    return common.config(
        **common.of_training,
        **rate,
        seed=0,
        amp=False,
        quiet=False,
        run_dir=f"runs/{parts.folder.name}-teacher",
        subsets=[RETAIN, FORGET],
        max_epochs=parts.numbers["max_epochs"],
        batch_size=parts.numbers["batch_size"],
        score_interval=5,
        milestones=12,
        resume=False,
        network=f"$@{built}.to(@device)",
        optimizer={**common.optimizer, "lr": f"@{_RATE}"} if rate else common.optimizer,
        scorer={**common.values["scorer"], "interval": "@score_interval"},
        run_folder=_run_folder(parts, subsets="@subsets"),
        handlers=[
            *_FIRST,
            {
                "_target_": "mu_monai.engine.Milestones",
                "folder": "@run_dir",
                "number": "@milestones",
                "scorer": "@scorer",
                "subsets": "@subsets",
            },
            "@scorer",
            "@run_folder",
        ],
        train=_training(common, "[case for subset in @subsets for case in @cases[subset]]", loss_function=f"@{loss}"),
        initialize=["$monai.utils.set_determinism(seed=@seed)"],
        run=["$@train::trainer.run()", "$@scorer.write({@run_folder.record['role']: @network}, @run_dir)"],
    )


def _unlearn(parts: Parts, common: _Common) -> dict[str, Any]:
    scored = {name: f"$@scorer.loaders['{name}']" for name in (FORGET, RETAIN)}
    whole = {"_target_": "mu_monai.measure.WholeCases", **scored, "inferer": "@inferer"}
    apart = {} if parts.task == CLASSIFICATION else {"whole": {**whole, "unseen": f"$@scorer.loaders['{VALIDATION}']"}}
    terms = {"random_label": 1.0} if parts.task == CLASSIFICATION else {"background": 1.0}
    return common.config(
        seed=0,
        amp=False,
        quiet=False,
        preset=None,
        run_dir=f"runs/{parts.folder.name}-unlearned",
        teacher="$@bundle_root + '/models/model.pt'",
        teacher_passes=None,
        trained=parts.trained,
        max_epochs=15,
        batch_size=parts.numbers["batch_size"],
        learning_rate=1e-4,
        epoch_length=None,
        score_interval=5,
        resume=False,
        network={
            "_target_": "mu_monai.adapters.Student",
            "network": "$mu_monai.adapters.load_weights(@network_def, @teacher).to(@device)",
            "trainable": "adapters",
            "scope": "decoder",
            "r": 8,
            "lora_alpha": 32,
            "lora_dropout": 0.05,
            "clamp_rank": True,
            "bn_mode": "eval",
        },
        optimizer={
            "_target_": "torch.optim.AdamW",
            "params": "$list(@network.trainable().values())",
            "lr": "@learning_rate",
        },
        method={
            "_target_": "mu_monai.methods.EraseToRetain",
            "forget_loader": _loader(_dataset(f"@cases['{FORGET}']"), shuffle="$not @forget_images_gone"),
            "unseen_loader": _loader(_dataset(f"@cases['{VALIDATION}']"), shuffle=False),
            **apart,
            "forget_images_gone": "@forget_images_gone",
            "task": parts.task,
            "softmax": "@softmax",
            "forget_terms": terms,
            "forget_weight": 3.0,
            "kd_weight": 1.0,
            "temperature": 2.0,
            "kd_direction": "forward",
            "guard_weight": 0.05,
            "guard_reduction": "mean",
            "schedule": "joint",
        },
        scorer={**common.values["scorer"], "interval": "@score_interval"},
        run_folder=_run_folder(parts, subsets=[RETAIN, FORGET], **_RECORDED),
        handlers=[*_FIRST[:2], "@method", *_FIRST[2:], "@scorer", "@run_folder"],
        train=_training(common, f"@cases['{RETAIN}']", epoch_length="@epoch_length"),
        initialize=["$monai.utils.set_determinism(seed=@seed)"],
        run=["$@train::trainer.run()", "$@scorer.write({'teacher': @network.teacher, 'student': @network}, @run_dir)"],
    )


_RECORDED = {name: f"@{name}" for name in ("method", "teacher", "teacher_passes", "preset")}
_FIRST: list[Any] = [
    {"_target_": "mu_monai.engine.Reseed", "seed": "@seed"},
    {"_target_": "mu_monai.engine.MixedPrecision", "enabled": "@amp"},
    {"_target_": "mu_monai.engine.StopOnNonFinite"},
    {"_target_": "mu_monai.engine.Progress", "quiet": "@quiet"},
]


def _evaluate(common: _Common) -> dict[str, Any]:
    return common.config(
        run_dir=None,
        weights={},
        models="$mu_monai.adapters.load_models(@network_def, @weights, @device)",
        run=["$@scorer.write(@models, @run_dir)"],
    )


def _run_folder(parts: Parts, **values: Any) -> dict[str, Any]:
    return {
        "_target_": "mu_monai.engine.RunFolder",
        "folder": "@run_dir",
        "bundle": {
            "name": "@bundle_name",
            "version": "@_meta_::version",
            "task": parts.task,
            "root": "@bundle_root",
        },
        "split": "@split",
        "seed": "@seed",
        "forget_images_gone": "@forget_images_gone",
        "resume": "@resume",
        **values,
    }


def _training(common: _Common, cases: str, **trainer: Any) -> dict[str, Any]:
    return {
        "preprocessing": common.training,
        "dataset": _dataset(cases),
        "dataloader": _loader("@train::dataset", shuffle=True),
        "inferer": common.inferer,
        "trainer": {
            "_target_": "SupervisedTrainer",
            "device": "@device",
            "max_epochs": "@max_epochs",
            "train_data_loader": "@train::dataloader",
            "network": "@network",
            "optimizer": "@optimizer",
            "loss_function": "@loss",
            "inferer": "@train::inferer",
            "train_handlers": "$@handlers",
            "decollate": False,
            **trainer,
        },
    }


def _dataset(cases: str) -> dict[str, Any]:
    return {
        "_target_": "mu_monai.data.datasets.CaseDataset",
        "data": f"${cases}",
        "transform": "@train::preprocessing",
        "cache_rate": "@cache_rate",
        "progress": False,
    }


def _loader(dataset: Any, *, shuffle: bool | str) -> dict[str, Any]:
    return {"_target_": _LOADER, "dataset": dataset, "batch_size": "@batch_size", "shuffle": shuffle}


def _inference(parts: Parts, config: SourceConfig) -> dict[str, Any]:
    """The bundle's own inference with other weights, images and output: its transform, inferer and postprocessing."""
    evaluator = config.get(config.components(EVALUATOR)[0])
    loader, _ = config.argument(evaluator, "val_data_loader")
    transform, where = transform_of(config, loader)
    if transform is None:
        raise InputError(
            f"'{parts.folder}' cannot be adopted: the evaluator of its inference config does not lead to a transform "
            "through val_data_loader, `dataset` and `transform`"
        )
    known = {_OUTPUT: _OUTPUT, **({where: "preprocessing"} if where else {})}
    extract, trained = extract_from(parts, config, _INFERENCE, **known), extract_from(parts, parts.config, _SOURCE)
    network = trained.take(parts.network)
    handlers, _ = config.argument(evaluator, "val_handlers")
    kept = [each for each in handlers or [] if not _is_one_of(config, each, _LOADS_WEIGHTS)]
    arguments = {name: extract.take(evaluator[name]) for name in _ANSWERING if name in evaluator}
    preprocessing = extract.take(transform)
    handlers = _written_to(extract.take(kept))
    values = {
        "imports": _imports(config, parts.config),
        "bundle_name": parts.folder.name,
        "bundle_root": str(parts.folder),
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        _OUTPUT: f"predictions/{parts.folder.name}",
        "weights": "$@bundle_root + '/models/model.pt'",
        "images": [],
        "network_def": _network_def(network, parts),
        "network": "$mu_monai.adapters.load_weights(@network_def, @weights).to(@device)",
        "preprocessing": preprocessing,
        "dataset": {
            "_target_": "Dataset",
            "data": f"$[image if isinstance(image, dict) else {{'{IMAGE}': image}} for image in @images]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": _LOADER, "dataset": "@dataset", "batch_size": 1, "shuffle": False},
        "handlers": handlers,
        "evaluator": {
            "_target_": EVALUATOR,
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            **_written_to(arguments),
            "val_handlers": "@handlers",
        },
        "run": ["$@evaluator.run()"],
    }
    return values | {
        name: _written_to(each.kept) for name, each in {_INFERENCE: extract, _SOURCE: trained}.items() if each.kept
    }


def _is_one_of(config: SourceConfig, handler: Any, names: tuple[str, ...]) -> bool:
    component, _ = config.follow(handler)
    target = component.get("_target_") if isinstance(component, Mapping) else None
    return isinstance(target, str) and target.rpartition(".")[2] in names


def _written_to(content: Any) -> Any:
    """A part whose components write into `output_dir`."""
    if isinstance(content, list):
        return [_written_to(each) for each in content]
    if not isinstance(content, Mapping):
        return content
    inner = {key: _written_to(value) for key, value in content.items()}
    target = base_name(str(inner.get("_target_", "")))
    if target in _WRITERS:
        inner[_OUTPUT] = f"@{_OUTPUT}"  # without one it would write into the working directory
    if target in WRITES_IMAGES:  # without it, images of one name in several folders would be one file
        inner["data_root_dir"] = "$mu_monai.data.case_files.common_folder(@images)"
    return inner | {key: f"@{_OUTPUT}" for key in _WRITES if key in inner and "_target_" in inner}
