"""Weights: their identity, what does not fit, and files that must not be trusted."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from mu_monai.adapters import load_models, load_weights, misfits, read_weights, weights_sha256, write_tensors
from mu_monai.errors import InputError


def state() -> dict[str, torch.Tensor]:
    return {
        "a.weight": torch.arange(6, dtype=torch.float32).reshape(2, 3),
        "a.count": torch.tensor(3),
        "b.mask": torch.tensor([True, False]),
        "b.half": torch.ones(2, dtype=torch.bfloat16),
        "empty": torch.zeros(0, 4),
    }


class Malicious:
    """A pickle that leaves a file behind when it is executed."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def flip_one_bit(values: dict[str, torch.Tensor]) -> None:
    values["a.weight"].view(torch.int32)[1, 2] ^= 1


def test_the_sha_does_not_depend_on_the_file_format(tmp_path):
    torch.save(state(), tmp_path / "a.pt")
    torch.save(state(), tmp_path / "b.pt", _use_new_zipfile_serialization=False)
    save_file(state(), tmp_path / "c.safetensors")
    expected = weights_sha256(state())
    assert len(expected) == 64
    assert weights_sha256(read_weights(tmp_path / "a.pt")) == expected
    assert weights_sha256(read_weights(tmp_path / "b.pt")) == expected
    assert weights_sha256(load_file(tmp_path / "c.safetensors")) == expected


def test_the_sha_does_not_depend_on_order_or_memory_layout():
    values = dict(reversed(state().items()))
    values["a.weight"] = values["a.weight"].t().contiguous().t()
    assert not values["a.weight"].is_contiguous()
    assert weights_sha256(values) == weights_sha256(state())


@pytest.mark.parametrize(
    "change",
    [
        flip_one_bit,
        lambda values: values.update({"a.weight": values["a.weight"].reshape(3, 2)}),
        lambda values: values.update({"b.half": values["b.half"].to(torch.float16)}),
        lambda values: values.update({"a.count": values["a.count"].to(torch.int32)}),
        lambda values: values.update({"b.mask": ~values["b.mask"]}),
        lambda values: values.update({"c.weight": values.pop("a.weight")}),
        lambda values: values.update({"b.half": values["a.count"], "a.count": values["b.half"]}),
        lambda values: values.pop("empty"),
        lambda values: values.update({"empty": torch.zeros(4, 0)}),
    ],
    ids=["one bit", "shape", "type", "integer type", "bool", "name", "swapped", "one less", "empty shape"],
)
def test_the_sha_tells_weights_apart(change):
    values = state()
    change(values)
    assert weights_sha256(values) != weights_sha256(state())


def test_minus_zero_is_another_weight():
    assert weights_sha256({"a": torch.tensor([0.0])}) != weights_sha256({"a": torch.tensor([-0.0])})


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"model": s, "epoch": 3}, lambda s: {"network": s, "optimizer": {}}]
)
def test_a_plain_state_dict_is_read_also_from_a_checkpoint(tmp_path, wrap):
    torch.save(wrap(nn.Linear(2, 2).state_dict()), tmp_path / "w.pt")
    assert sorted(read_weights(tmp_path / "w.pt")) == ["bias", "weight"]


def test_a_run_folder_stands_for_its_model(tmp_path):
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "model.pt")
    assert sorted(read_weights(tmp_path)) == ["bias", "weight"]


@pytest.mark.parametrize("name", ["nowhere.pt", "."])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(InputError, match=r"weights '.*(nowhere|model)\.pt' do not exist; give a model\.pt or a folder"):
        read_weights(tmp_path / name)


@pytest.mark.parametrize(
    "content", [b"", b"epoch,loss\n1,2\n", b"\x89PNG\r\n\x1a\n" + bytes(64), b"PK\x03\x04" + bytes(64)]
)
def test_a_file_that_holds_no_weights_is_refused(tmp_path, content):
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read as plain weights \(\w+\); save them with torch\.save"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize("content", [[torch.zeros(1)], torch.zeros(2), {"a": 1}, {"model": {"epoch": 3}}])
def test_a_file_without_a_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"hold a \w+.*, not a state dict of tensors"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    "write", [lambda value, path: path.write_bytes(pickle.dumps(value)), torch.save], ids=["pickle", "torch.save"]
)
@pytest.mark.parametrize("hidden", [False, True], ids=["bare", "beside weights"])
def test_code_in_a_weights_file_is_refused_and_not_executed(tmp_path, write, hidden):
    trace = tmp_path / "executed"
    write({"weight": torch.zeros(2), "extra": Malicious(trace)} if hidden else Malicious(trace), tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"cannot be read as plain weights \(UnpicklingError\)"):
        read_weights(tmp_path / "w.pt")
    assert not trace.exists()
    pickle.loads(pickle.dumps(Malicious(trace)))
    assert trace.exists(), "the file would have acted"


def test_a_whole_module_is_refused(tmp_path):
    torch.save(nn.Linear(1, 1), tmp_path / "w.pt")
    with pytest.raises(InputError, match="cannot be read as plain weights"):
        read_weights(tmp_path / "w.pt")


def test_weights_that_fit_have_no_misfits_and_load_bit_for_bit(make_unet, tmp_path):
    teacher, other = make_unet(seed=0), make_unet(seed=1)
    torch.save(teacher.state_dict(), tmp_path / "w.pt")
    assert misfits(other, teacher.state_dict()) == []
    assert load_weights(other, tmp_path / "w.pt") is other
    assert weights_sha256(other.state_dict()) == weights_sha256(teacher.state_dict())


def test_names_and_shapes_that_differ_are_listed():
    values = {"weight": torch.zeros(3, 2), "scale": torch.zeros(1)}
    assert misfits(nn.Linear(2, 2), values) == [
        "'weight' has shape (3, 2) in the file and (2, 2) in the network",
        "'bias' is missing in the file",
        "'scale' is not in the network",
    ]


def test_weights_that_do_not_fit_are_refused_whole(tmp_path):
    network = nn.Linear(2, 2)
    before = weights_sha256(network.state_dict())
    torch.save({"weight": torch.ones(2, 2), "offset": torch.ones(2)}, tmp_path / "w.pt")
    with pytest.raises(InputError, match="do not fit Linear: 'bias' is missing in the file") as error:
        load_weights(network, tmp_path / "w.pt")
    assert len(error.value.problems) == 2
    assert weights_sha256(network.state_dict()) == before


def test_a_long_list_of_misfits_is_cut_and_counted(make_unet):
    network = make_unet(2, 2)
    found = misfits(network, {})
    assert len(found) == 9
    assert found[-1].startswith(f"and {len(network.state_dict()) - 8} more; is this the network")


def test_each_role_gets_a_network_of_its_own_in_evaluation_mode(make_unet, tmp_path):
    network = make_unet(seed=5).train()
    files = {}
    for role, seed in (("teacher", 0), ("student", 1)):
        files[role] = tmp_path / f"{role}.pt"
        torch.save(make_unet(seed=seed).state_dict(), files[role])
    models = load_models(network, files)
    assert list(models) == ["teacher", "student"]
    for role, model in models.items():
        assert not model.training
        assert weights_sha256(model.state_dict()) == weights_sha256(read_weights(files[role]))
    assert network.training
    assert weights_sha256(network.state_dict()) == weights_sha256(make_unet(seed=5).state_dict())


def test_a_damaged_file_is_told_or_was_not_needed(tmp_path):
    state = torch.nn.Linear(40, 5).state_dict()
    write_tensors(tmp_path / "w.pt", state)
    whole = (tmp_path / "w.pt").read_bytes()
    for place in range(0, len(whole), 17):
        for changed in (whole[:place] + bytes([whole[place] ^ 0x21]) + whole[place + 1 :], whole[:place]):
            (tmp_path / "w.pt").write_bytes(changed)
            try:
                assert weights_sha256(read_weights(tmp_path / "w.pt")) == weights_sha256(state)
            except InputError as error:
                assert "w.pt" in str(error)  # noqa: PT017


def test_the_same_content_gives_the_same_bytes_under_every_name(tmp_path):
    for name in ("model.pt", "merged", "a.b.c", "model.safetensors"):
        write_tensors(tmp_path / name, {"weight": torch.arange(5.0), "epoch": 3})
    assert len({file.read_bytes() for file in tmp_path.iterdir()}) == 1
    assert len(list(tmp_path.iterdir())) == 4


_FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np, torch
from mu_monai.adapters import Student, write_tensors
from mu_monai.files import atomic_path, write_json
from monai.networks.nets import UNet

target, network = Path(sys.argv[1]), UNet(2, 1, 1, (16, 32), (2,)).eval()

def archive():
    with atomic_path(target / "a.npz") as path:
        np.savez_compressed(path, a=np.random.default_rng(0).random(10000))

student = Student(network)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
for write in (
    lambda: write_tensors(target / "merged", {"a": torch.ones(10000)}),
    lambda: student.save(target / "adapter"),
    lambda: write_json(target / "a.json", "x" * 10000),
    archive,
):
    try:
        write()
    except OSError as error:
        assert str(target) in str(error), error
    else:
        raise SystemExit("it was written")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of the size of files")
def test_what_cannot_be_written_is_an_error_of_the_file_system_and_leaves_nothing(tmp_path):
    done = subprocess.run([sys.executable, "-c", _FULL, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["/dev/zero", "/proc/self/mem"])
def test_what_is_not_an_ordinary_file_is_not_opened(path):
    if not Path(path).exists():
        pytest.skip(f"this system has no {path}")
    with pytest.raises(InputError, match="is not an ordinary file"):
        read_weights(path)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.eye(3).to_sparse(),
        torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        torch.empty(3, device="meta"),
        torch.zeros(1).expand(10**12),
    ],
    ids=["sparse", "quantized", "meta", "expanded"],
)
def test_tensors_that_no_network_has_are_refused(tmp_path, tensor):
    torch.save({"good": torch.ones(2), "odd": tensor}, tmp_path / "weights.pt")
    with pytest.raises(InputError, match=r"'odd'|cannot be read as plain weights"):
        read_weights(tmp_path / "weights.pt")


def test_torchscript_is_not_opened_and_the_advice_works(tmp_path, monkeypatch):
    network, file = torch.nn.Linear(2, 1), tmp_path / "model.ts"
    torch.jit.save(torch.jit.script(network), file)
    with pytest.raises(InputError, match="TorchScript archive, which is a program") as refusal:
        read_weights(file)
    command = str(refusal.value).partition('python -c "')[2].rpartition('"')[0]
    monkeypatch.chdir(tmp_path)
    exec(command)
    assert weights_sha256(read_weights(tmp_path / "model.pt")) == weights_sha256(network.state_dict())
