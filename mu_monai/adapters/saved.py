"""Saved adapters: read as data only, since a folder may come from an untrusted source."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from peft.utils import CONFIG_NAME, SAFETENSORS_WEIGHTS_NAME
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from mu_monai.adapters.copies import copies_all
from mu_monai.adapters.lora import ADAPTABLE
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import file_sha256, read_json, special_problem, write_json

BASE_JSON = "base.json"
_FILES = "files"
_WRITTEN = {
    "r": int,
    "lora_alpha": int | float,
    "lora_dropout": float,
    "target_modules": str,
    "rank_pattern": dict,
    "alpha_pattern": dict,
    "modules_to_save": list | None,
    "init_lora_weights": bool,
    "lora_bias": bool,
}
_UNUSED = ("auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision", "task_type")
_DAMAGED = "it is damaged, or was not written by this program; restore it, or unlearn again"


def write_base(folder: Path, sha256: str, scope: str) -> None:
    """Write, next to saved adapters, the SHA-256 of the base weights, their scope, and the digests of their files."""
    write_json(folder / BASE_JSON, {"sha256": sha256, "scope": scope, _FILES: _digests(folder)})


def read_base(folder: Path) -> tuple[str, str]:
    """The SHA-256 of the weights that adapters belong to, and the scope that placed them.

    Raises:
        InputError: if the folder is not an adapter folder, or is damaged.
    """
    missing = [name for name in (BASE_JSON, CONFIG_NAME, SAFETENSORS_WEIGHTS_NAME) if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"'{folder}' is not an adapter folder of an unlearning run ({', '.join(missing)} missing); give the "
            "adapter/ folder of a run, or unlearn again"
        )
    base = read_json(folder / BASE_JSON, {"sha256": str, "scope": str})
    if _FILES in base:  # earlier versions saved no digests
        now, saved = _digests(folder), read_json(folder / BASE_JSON, {_FILES: dict})[_FILES]
        changed = sorted(name for name in now.keys() | saved.keys() if now.get(name) != saved.get(name))
        raise_if_any(f"'{folder / name}' is not as it was saved: {_DAMAGED}" for name in changed)
    return base["sha256"], base["scope"]


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != BASE_JSON)
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}


def read_config(folder: Path, network: nn.Module) -> LoraConfig:
    """The configuration of saved adapters, limited to what `Student.save` writes; nothing is imported or downloaded.

    peft's own reader accepts any key, including names of code to import and of models to download. Here every key that
    `Student.save` does not set must have its default value.

    Args:
        folder: the folder with `adapter_config.json`.
        network: the network that the adapters were made for.

    Raises:
        InputError: for every key and value that is not allowed.
    """
    file = folder / CONFIG_NAME
    content = read_json(file, _WRITTEN)
    problems = [*_key_problems(content), *_value_problems(content, network)]
    raise_if_any(f"'{file}' {problem}: {_DAMAGED}" for problem in problems)
    config = LoraConfig(**{name: content[name] for name in _WRITTEN})
    config._register_custom_module(dict(ADAPTABLE))
    return config


def load_adapter(student: PeftModel, folder: Path, name: str) -> None:
    """Load the saved tensors of an adapter into a network that already has it, name by name and shape by shape.

    Raises:
        InputError: if the file is damaged, or its tensors do not match those of the adapter.
    """
    file = folder / SAFETENSORS_WEIGHTS_NAME
    with biases_allowed():
        expected = get_peft_model_state_dict(student, adapter_name=name)
    state = read_tensors(file)
    raise_if_any(f"'{file}' {problem}: {_DAMAGED}" for problem in _tensor_problems(state, expected))
    set_peft_model_state_dict(student, state, name)


@contextmanager
def biases_allowed() -> Iterator[None]:
    """Silence peft's warning about a factor's bias, whose single dimension it takes for a broken weight."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"(?s).*invalid shape: .*lora_B\.bias")
        yield


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file.

    Raises:
        InputError: if it is missing or damaged.
    """
    raise_if_any(filter(None, [special_problem(file)]))
    try:
        return dict(load_file(file))
    except FileNotFoundError:
        raise InputError(f"'{file}' does not exist; restore it, or unlearn again") from None
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError, OverflowError) as error:
        raise InputError(f"'{file}' cannot be read as tensors ({error}): {_DAMAGED}") from error


def rank_problems(config: LoraConfig, folder: Path) -> list[str]:
    """Where the ranks of a configuration differ from the tensors': checked so that no layer exceeds the file's size."""
    file = folder / SAFETENSORS_WEIGHTS_NAME
    if copies_all(config):
        return []
    state, problems = read_tensors(file), []
    for layer in _layers(str(config.target_modules)):
        rank = (config.rank_pattern or {}).get(_whole(layer), config.r)
        factor = state.get(f"base_model.model.{layer}.lora_A.weight")
        if factor is None or rank not in factor.shape[:2]:  # the second one in transposed convolutions
            held = "nothing" if factor is None else f"a factor of shape {tuple(factor.shape)}"
            problems.append(f"'{file}' holds {held} for '{layer}', whose rank is {rank}: {_DAMAGED}")
    return problems


def _key_problems(content: Mapping[str, Any]) -> Iterator[str]:
    default = LoraConfig().to_dict()
    for key in content.keys() - _WRITTEN.keys() - set(_UNUSED):
        value = content[key]
        if value != default.get(key) and (value or key not in default):
            yield f"has {key!r} with the value {str(value)[:40]!r}, which is not allowed"
    if content.get("peft_type") != "LORA":
        yield f"has the peft_type {content.get('peft_type')!r}; allowed is 'LORA'"


def _value_problems(content: Mapping[str, Any], network: nn.Module) -> Iterator[str]:
    names = {name for name, _ in network.named_modules()}
    layers = _layers(content["target_modules"])
    yield from (f"names the layer {name!r}, which the network does not have" for name in _unknown(content, names))
    if content["r"] < 1:
        yield f"has the rank r={content['r']}; allowed is a whole number of at least 1"
    if not 0 <= content["lora_dropout"] < 1:
        yield f"has lora_dropout={content['lora_dropout']}; allowed is a probability in [0, 1)"
    ranks, alphas = content["rank_pattern"], content["alpha_pattern"]
    for name, values, fits, allowed in (
        ("lora_alpha", {"": content["lora_alpha"]}, _positive, "a number above 0"),
        ("rank_pattern", ranks, _counts, "a whole number of at least 1"),
        ("alpha_pattern", alphas, _positive, "a number above 0"),
    ):
        yield from (f"has {name} {value!r}; allowed is {allowed}" for value in values.values() if not fits(value))
    strange = (ranks.keys() | alphas.keys()) - set(map(_whole, layers))
    yield from (f"has a rank or alpha for {key!r}, which is not one of its layers" for key in sorted(strange))


def _unknown(content: Mapping[str, Any], names: set[str]) -> list[str]:
    from peft.utils.constants import DUMMY_TARGET_MODULES

    targets = [] if content["target_modules"] == DUMMY_TARGET_MODULES else _layers(content["target_modules"])
    chosen = map(str, [*targets, *(content["modules_to_save"] or [])])
    return [name for name in chosen if name not in names or not name]


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _counts(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _tensor_problems(state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> Iterator[str]:
    other = sorted(state.keys() ^ expected.keys())
    if other:
        yield f"holds other tensors than the adapter has (only in one of them: {', '.join(map(repr, other[:4]))})"
    for name in sorted(state.keys() & expected.keys()):
        ours, saved = expected[name], state[name]
        if (saved.shape, saved.dtype) != (ours.shape, ours.dtype):
            yield f"holds {name!r} as {saved.dtype} {tuple(saved.shape)}, not {ours.dtype} {tuple(ours.shape)}"


def exactly(names: Sequence[str]) -> str:
    """A pattern for exactly these layers: peft matches a list of names by their endings."""
    return "|".join(name.replace(".", r"\.") for name in names)


def _layers(pattern: str) -> list[str]:
    r"""The names in a pattern made by `exactly`.

    Example:
        >>> _layers(exactly(("model.0", "model.1.conv")))
        ['model.0', 'model.1.conv']
    """
    return [name.replace(r"\.", ".") for name in pattern.split("|")]


def _whole(layer: str) -> str:
    return f"^{exactly((layer,))}"
