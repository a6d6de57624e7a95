"""How far a student is from the retrained model: everything measured on the networks themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from torch import nn

from mu_monai.audit import cka_interval
from mu_monai.keys import FORGET, MODEL, RETRAINED, ROLES, STUDENT, SUBSET, TEACHER, TEST
from mu_monai.measure import answer_distances, layer_features, perturbed_scores, randomized, weight_distances
from mu_monai.workflow.auditing.evaluation import Evaluation

_RANDOM = "random"
_COMPARED = ((TEACHER, RETRAINED), (STUDENT, RETRAINED), (RETRAINED, TEACHER), (STUDENT, TEACHER))

Pair = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Distances:
    """The measurements, as `mu_monai.audit.distance_records` takes them.

    Args:
        cases: one row per pair of models and case: `model`, `against`, `subset`, `patient_id`, `case_id`, `js` (nats)
            and `activation_distance`; against `random`, a network with fresh weights, on forget only.
        layers: one row per pair of models, subset (forget and test) and layer: `cka` with its interval.
        weights: one row per pair of models, layer and kind: `distance`, `norm` (of `against`) and `relative`.
    """

    cases: pd.DataFrame
    layers: pd.DataFrame
    weights: pd.DataFrame


def measure_distances(evaluation: Evaluation, *, seed: int = 0) -> Distances:
    """Measure how far teacher and student are from the retrained model, and student and retrained from the teacher.

    Further models `retrained-2`, `retrained-3` and so on, trained with other seeds, are compared with `retrained` to
    show what the seed alone changes.

    Args:
        evaluation: the models and the cases; every case goes through every model once, forget and test twice.
        seed: seed of the random network.

    Returns:
        the tables, empty if there is nothing to compare.
    """
    models: dict[str, nn.Module] = dict(evaluation.models)
    pairs = [pair for pair in _COMPARED if {*pair} <= {*models}]
    pairs += [(name, RETRAINED) for name in models if name.startswith(f"{RETRAINED}-") and RETRAINED in models]
    to_random = [(name, _RANDOM) for name in ROLES if name in models]
    with_random = {**models, _RANDOM: randomized(next(iter(models.values())), seed)}
    weights = [_of(pair, weight_distances(models[pair[0]], models[pair[1]])) for pair in pairs]
    return Distances(
        cases=_answers(evaluation, with_random, pairs, to_random),
        layers=_layers(evaluation, models, pairs),
        weights=pd.concat(weights, ignore_index=True) if weights else pd.DataFrame(),
    )


def measure_perturbed(evaluation: Evaluation, *, seed: int = 0) -> pd.DataFrame:
    """Measure how right each model is near the forgotten and the unseen cases, see `perturbed_scores`.

    Args:
        evaluation: the models and the cases.
        seed: seed of the noise.

    Returns:
        one row per model and case: `model`, `subset`, `patient_id`, `case_id` and `right`; empty without cases.
    """
    models = {role: evaluation.models[role] for role in ROLES if role in evaluation.models}
    scored: dict[str, Any] = {"classes": evaluation.scorer.classes, "softmax": evaluation.scorer.softmax}
    loaders = {subset: evaluation.scorer.loaders.get(subset, ()) for subset in (FORGET, TEST)}
    tables = [
        perturbed_scores(models, loader, seed=seed, **_how(evaluation), **scored).assign(**{SUBSET: subset})
        for subset, loader in loaders.items()
        if len(loader)
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _answers(
    evaluation: Evaluation, models: Mapping[str, nn.Module], pairs: list[Pair], to_random: list[Pair]
) -> pd.DataFrame:
    tables = []
    for subset, loader in evaluation.scorer.loaders.items():
        wanted = pairs + (to_random if subset == FORGET else [])
        if wanted and len(loader):
            tables.append(answer_distances(models, wanted, loader, softmax=evaluation.softmax, **_how(evaluation)))
            tables[-1].insert(2, SUBSET, subset)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _layers(evaluation: Evaluation, models: Mapping[str, nn.Module], pairs: list[Pair]) -> pd.DataFrame:
    compared = {name: models[name] for name in dict.fromkeys(name for pair in pairs for name in pair)}
    rows: list[dict[str, Any]] = []
    for subset in (FORGET, TEST):
        loader = evaluation.scorer.loaders.get(subset, ())
        if not compared or not len(loader):
            continue
        features, patients = layer_features(compared, loader, **_how(evaluation))
        for model, against in pairs:
            for layer, own in features[model].items():
                found = cka_interval(own, features[against][layer], patients)
                numbers = {"cka": found.value, "low": found.low, "high": found.high}
                size = {"n_patients": found.n_patients, "n_cases": found.n_cases}
                rows.append({MODEL: model, "against": against, SUBSET: subset, "layer": layer, **numbers, **size})
    return pd.DataFrame(rows)


def _how(evaluation: Evaluation) -> dict[str, Any]:
    return {"inferer": evaluation.scorer.inferer, "device": evaluation.device}


def _of(pair: Pair, table: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([pd.DataFrame({MODEL: pair[0], "against": pair[1]}, index=table.index), table], axis=1)
