"""An adapter folder may come from anybody: it is data, and what is damaged is told."""

from __future__ import annotations

import copy
import json
import shutil
import socket
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from mu_monai.adapters import Student, load_student, summed, weights_sha256
from mu_monai.errors import InputError

CONFIG, TENSORS, BASE = "adapter_config.json", "adapter_model.safetensors", "base.json"


@pytest.fixture(scope="module")
def network():
    from monai.networks.nets import UNet

    torch.manual_seed(0)
    return UNet(spatial_dims=2, in_channels=1, out_channels=1, channels=(4, 8), strides=(2,), norm="batch").eval()


@pytest.fixture(scope="module", params=["adapters", "restored", "copies", "statistics"])
def whole(network, request, tmp_path_factory):
    options = {"copies": {"trainable": "all"}, "statistics": {"bn_mode": "train"}}.get(request.param, {})
    student = Student(copy.deepcopy(network), **options)
    if request.param == "restored":
        student.add_restoration()
    for parameter in student.trainable().values():
        parameter.data.normal_(std=0.1)
    folder = tmp_path_factory.mktemp(request.param) / "adapter"
    student.save(folder)
    return folder, weights_sha256(student.merged().state_dict())


@pytest.fixture
def adapter(whole, tmp_path):
    return shutil.copytree(whole[0], tmp_path / "adapter")


@pytest.fixture
def plain(network, tmp_path):
    """An adapter as earlier versions saved it: nobody knows the digests of its files."""
    folder = tmp_path / "plain"
    Student(copy.deepcopy(network)).save(folder)
    edit(folder / BASE, lambda base: base.pop("files"))
    return folder


def edit(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def loaded(network, folder):
    return weights_sha256(load_student(copy.deepcopy(network), folder).merged().state_dict())


def damaged(content, places):
    """One byte changed at each place, and the file cut off there."""
    for place in places:
        yield content[:place] + bytes([content[place] ^ 0x21]) + content[place + 1 :]
        yield content[:place]


def test_a_damaged_file_is_told_or_was_not_needed(network, whole, adapter):
    for file in sorted(path for path in adapter.rglob("*") if path.is_file()):
        content = file.read_bytes()
        for changed in damaged(content, range(0, len(content), max(1, len(content) // 12))):
            file.write_bytes(changed)
            try:
                assert loaded(network, adapter) == whole[1]
            except InputError as error:
                assert "adapter" in str(error)  # noqa: PT017
        file.write_bytes(content)


def test_an_adapter_without_digests_is_read_and_one_without_a_file_is_not(network, whole, adapter):
    edit(adapter / BASE, lambda base: base["files"].update({"more.bin": "0"}))
    with pytest.raises(InputError, match=r"more\.bin' is not as it was saved"):
        loaded(network, adapter)
    edit(adapter / BASE, lambda base: base.pop("files"))
    assert loaded(network, adapter) == whole[1]


@pytest.mark.parametrize("place", range(0, 700, 23))
def test_a_damaged_header_is_told_where_nobody_knows_the_digest(network, plain, place):
    content = (plain / TENSORS).read_bytes()
    for changed in damaged(content, [min(place, int.from_bytes(content[:8], "little") + 7)]):
        (plain / TENSORS).write_bytes(changed)
        try:
            loaded(network, plain)
        except InputError as error:
            assert TENSORS in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"r": "8"}, "r holds text"),
        ({"r": 0}, "has the rank r=0"),
        ({"r": 10**9, "rank_pattern": {}, "alpha_pattern": {}}, "whose rank is 1000000000"),
        ({"lora_alpha": float("inf")}, "has lora_alpha inf"),
        ({"lora_alpha": True}, "lora_alpha holds true or false"),
        ({"lora_dropout": 1.5}, "has lora_dropout=1.5"),
        ({"rank_pattern": {"(a+)+$": 2}}, "which is not one of its layers"),
        ({"rank_pattern": {r"^model\.2\.conv": "2"}}, "has rank_pattern '2'"),
        ({"alpha_pattern": {r"^model\.2\.conv": float("nan")}}, "has alpha_pattern nan"),
        ({"target_modules": "(a+)+$"}, "which the network does not have"),
        ({"target_modules": ["conv"]}, "target_modules holds a list"),
        ({"modules_to_save": [3]}, "names the layer '3'"),
        ({"modules_to_save": [{}]}, "which the network does not have"),
        ({"peft_type": "IA3"}, "has the peft_type 'IA3'"),
        ({"peft_type": None}, "has the peft_type None"),
        ({"use_dora": True}, "has 'use_dora'"),
        ({"eva_config": {"rho": 2.0}}, "has 'eva_config'"),
        ({"corda_config": {"cache_file": "/etc/passwd"}}, "has 'corda_config'"),
        ({"runtime_config": {"ephemeral_gpu_offload": True}}, "has 'runtime_config'"),
        ({"megatron_core": "os", "megatron_config": {"a": 1}}, "has 'megatron_core'"),
        ({"trainable_token_indices": [1]}, "has 'trainable_token_indices'"),
        ({"layer_replication": [[0, 9]]}, "has 'layer_replication'"),
        ({"something": 1}, "has 'something'"),
    ],
)
def test_only_what_is_written_is_allowed(network, plain, change, message):
    edit(plain / CONFIG, lambda content: content.update(change))
    for load in (loaded, lambda network, folder: summed(copy.deepcopy(network), [folder], [1.0])):
        with pytest.raises(InputError, match=message) as caught:
            load(network, plain)
        assert caught.match("plain/adapter_")


def test_nothing_is_imported_or_looked_up(network, plain, tmp_path, monkeypatch):
    """Whatever peft would follow from these keys: a module to import, a model on a server, files of other formats."""
    (tmp_path / "hostile.py").write_text("raise SystemExit('executed')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(socket, "socket", lambda *_, **__: pytest.fail("the network was reached"))
    hostile = {"base_model_class": "UNet", "parent_library": "hostile"}
    change = {"auto_mapping": hostile, "base_model_name_or_path": "somebody/model", "task_type": "CAUSAL_LM"}
    edit(plain / CONFIG, lambda content: content.update(change, revision="main"))
    expected = weights_sha256(network.state_dict())
    assert loaded(network, plain) == expected, "a new adapter changes nothing"
    (plain / "restoration").mkdir()
    (plain / "restoration" / "adapter_model.bin").write_bytes(b"pickle")
    with pytest.raises(InputError, match=r"restoration/adapter_model\.safetensors' does not exist"):
        loaded(network, plain)
    assert "hostile" not in sys.modules


@pytest.mark.parametrize("change", ["gone", "more", "shape", "type"])
def test_tensors_of_something_else_are_told(network, plain, change):
    state = load_file(plain / TENSORS)
    name = next(iter(state))
    if change == "gone":
        del state[name]
    elif change == "more":
        state["more"] = torch.zeros(1)
    else:
        state[name] = state[name][..., :1].contiguous() if change == "shape" else state[name].double()
    save_file(state, plain / TENSORS)
    with pytest.raises(InputError, match=r"holds other tensors|holds nothing for|holds 'base_model.* as .*, not "):
        loaded(network, plain)


def test_the_pattern_that_chose_the_layers_is_not_run(network, plain):
    edit(plain / BASE, lambda base: base.update(scope="(a|a|aa)+$(("))
    student = load_student(copy.deepcopy(network), plain)
    assert student.placement.scope == "(a|a|aa)+$(("
    assert student.placement.targets == ("model.2.conv",)
