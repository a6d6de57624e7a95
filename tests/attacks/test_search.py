"""The search finds everything that was planted, whatever it is called, and nothing in a clean folder."""

import gzip
import io
import json
import pickle
import resource
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mu_monai.adapters import Student, load_weights, read_weights
from mu_monai.attacks import search_folder
from mu_monai.attacks.containers import read_parts
from mu_monai.errors import InputError


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ConvTranspose2d(8, 6, 3), nn.Conv2d(6, 1, 1))


@pytest.fixture
def models():
    """Teacher and student differ in a convolution and a transposed one."""
    teacher = network()
    student = Student(network(), scope="0|2", r=2)
    for name, parameter in student.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.2)
    return teacher.state_dict(), student.merged().state_dict(), student


@pytest.fixture
def folder(tmp_path, models):
    """What may be released: the student, plain."""
    torch.save(models[1], tmp_path / "model.pt")
    (tmp_path / "metadata.json").write_text(json.dumps({"version": "1.0", "epochs": [1, 2, 3], "epoch": 3}))
    (tmp_path / "README.md").write_text("A model. ä")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    return tmp_path


def kinds(folder, models):
    return {(found.file, found.kind) for found in search_folder(folder, *models[:2])}


def test_a_clean_folder_holds_nothing(folder, models):
    torch.save({name: value.half() for name, value in models[1].items()}, folder / "half.pt")
    save_file(models[1], folder / "model.safetensors")
    assert search_folder(folder, *models[:2]) == []
    assert search_folder(folder) == []


def as_npz(value, path):
    with path.open("wb") as stream:
        np.savez_compressed(stream, noise=np.zeros(5), x=value.numpy())


def as_zip_of_npy(value, path):
    buffer = io.BytesIO()
    np.save(buffer, value.numpy())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.txt", "nothing")
        archive.writestr("a/b.npy", buffer.getvalue())


def as_tar_gz(value, path):
    torch.save([value], path)
    inner = path.read_bytes()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo("x.pt")
        entry.size = len(inner)
        archive.addfile(entry, io.BytesIO(inner))
    path.write_bytes(buffer.getvalue())


PLANTS = {
    "under another name": lambda value, path: torch.save({"notes": [{"x": value}]}, path),
    "in half precision": lambda value, path: torch.save({"x": value.half()}, path),
    "flat": lambda value, path: torch.save(value.flatten(), path),
    "sparse": lambda value, path: torch.save({"x": value.flatten().to_sparse()}, path),
    "complex": lambda value, path: torch.save({"x": torch.view_as_complex(value.reshape(-1, 2))}, path),
    "nearly": lambda value, path: torch.save({"x": value + 1e-4}, path),
    "old torch format": lambda value, path: torch.save({"x": value}, path, _use_new_zipfile_serialization=False),
    "safetensors": lambda value, path: save_file({"x": value.contiguous()}, path),
    "npz": as_npz,
    "zip": as_zip_of_npy,
    "tar.gz": as_tar_gz,
    "gzip of raw numbers": lambda value, path: path.write_bytes(gzip.compress(b"\x00\xff" + value.numpy().tobytes())),
    "raw doubles": lambda value, path: path.write_bytes(b"\x00\xff" + value.double().numpy().tobytes()),
    "pickle": lambda value, path: path.write_bytes(pickle.dumps({"x": value.numpy()})),
    "json": lambda value, path: path.write_text(json.dumps({"x": value.tolist()})),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_an_original_tensor_is_found(folder, models, plant):
    PLANTS[plant](models[0]["0.weight"], folder / ".x.bin")
    found = [found for found in search_folder(folder, *models[:2]) if found.kind == "original"]
    assert len(found) == 1
    assert found[0].file.startswith(".x.bin")
    assert found[0].tensors == ("0.weight",)
    assert found[0].rebuilds
    assert "1 of the original model's tensors" in found[0].what


def test_the_tensors_of_a_torchscript_archive_are_found(folder, models):
    torch.jit.script(load_weights_from(models[0])).save(folder / "model.ts")
    (found,) = search_folder(folder, *models[:2])
    assert (found.file, found.kind, found.tensors) == ("model.ts", "original", ("0.weight", "2.weight"))


def load_weights_from(state):
    model = network()
    model.load_state_dict(state)
    return model.eval()


def test_a_released_torchscript_archive_is_clean(folder, models):
    torch.jit.script(load_weights_from(models[1])).save(folder / "model.ts")
    assert search_folder(folder, *models[:2]) == []


def test_the_change_itself_is_found_at_any_scale(folder, models):
    teacher, student, _ = models
    torch.save({"x": -3 * (teacher["0.weight"] - student["0.weight"])}, folder / "x.pt")
    assert kinds(folder, models) == {("x.pt", "difference")}


def test_variances_that_are_alike_by_chance_are_no_finding(tmp_path):
    draw = torch.Generator().manual_seed(0)
    teacher, student = ({name: 1 + scale * torch.rand(32, generator=draw) for name in "ab"} for scale in (0.2, 0.1))
    student["a"] -= 0.7  # the change is near a constant, as every vector of variances is
    torch.save(student, tmp_path / "model.pt")
    assert search_folder(tmp_path, teacher, student) == []
    torch.save(0.3 * (teacher["a"] - student["a"]), tmp_path / "state.pt")
    assert [(found.kind, found.tensors) for found in search_folder(tmp_path, teacher, student)] == [
        ("difference", ("a",))
    ]


def test_small_tensors_are_no_original_that_moved_far(tmp_path):
    """Statistics of a student that trained few steps are far off, and any bias is nearer to the teacher's."""
    draw = torch.Generator().manual_seed(0)
    names = ("variance", "bias", "weight")
    teacher = {name: torch.rand(32, generator=draw) for name in names}
    student = {"variance": 300 * torch.rand(32, generator=draw), "bias": torch.zeros(32) + 0.01 * teacher["bias"]}
    student["weight"] = 0.1 + teacher["weight"].flip(0)
    torch.save(student, tmp_path / "model.pt")
    assert search_folder(tmp_path, teacher, student) == []
    torch.save(teacher["variance"] + 0.01 * torch.rand(32, generator=draw), tmp_path / "x.pt")
    (found,) = search_folder(tmp_path, teacher, student)
    assert (found.file, found.kind, found.tensors) == ("x.pt", "original", ("variance",))


def test_factors_are_found_by_what_they_span(folder, models):
    own = models[2].own_state()
    torch.save({f"x{n}": value for n, (name, value) in enumerate(own.items()) if "lora_A" in name}, folder / "x.pt")
    (found,) = search_folder(folder, *models[:2])
    assert (found.kind, found.tensors, found.rebuilds) == ("factor", ("0.weight", "2.weight"), True)
    torch.manual_seed(1)
    torch.save([torch.randn(2, 3, 3, 3), torch.randn(8, 2, 3, 3)], folder / "x.pt")
    assert search_folder(folder, *models[:2]) == []


def test_a_saved_adapter_is_found_with_and_without_the_teacher(folder, models):
    models[2].save(folder / "adapter")
    names = {("adapter/adapter_config.json", "adapter"), ("adapter/adapter_model.safetensors", "adapter")}
    assert names < kinds(folder, models)
    assert {(found.file, found.kind) for found in search_folder(folder)} == names


def test_an_optimizers_state_and_a_checkpoint_are_found(folder, models):
    model = load_weights_from(models[1])
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.zeros(1, 3, 8, 8)).sum().backward()
    optimizer.step()
    torch.save(optimizer.state_dict(), folder / "o.bin")
    torch.save({"network": models[1], "epoch": 3}, folder / "c.bin")
    assert kinds(folder, models) == {("o.bin", "optimizer state"), ("c.bin", "checkpoint")}
    assert not any(found.rebuilds for found in search_folder(folder))


class Unknown:
    """Only unpickling could bring it back, and nothing is unpickled."""


def objects(path):
    with path.open("wb") as stream:
        np.savez(stream, x=np.array([{"a": 1}], dtype=object))


def locked(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "nothing")
    path.write_bytes(path.read_bytes().replace(b"\x14\x00\x00\x00", b"\x14\x00\x01\x00"))


NOT_UNDERSTOOD = {
    "bytes": lambda path: path.write_bytes(bytes(range(256))),
    "pickled object": lambda path: torch.save({"x": Unknown()}, path),
    "pickle": lambda path: path.write_bytes(pickle.dumps(Unknown())),
    "objects in an npz": objects,
    "encrypted zip": locked,
    "broken zip": lambda path: path.write_bytes(b"PK\x03\x04 broken"),
    "broken npy": lambda path: path.write_bytes(b"\x93NUMPY broken"),
    "latin text": lambda path: path.write_bytes("Bär".encode("latin-1")),
    "dangling link": lambda path: path.symlink_to(path.parent / "gone"),
}


@pytest.mark.parametrize("plant", NOT_UNDERSTOOD)
def test_what_cannot_be_read_is_said_never_passed(folder, models, plant):
    NOT_UNDERSTOOD[plant](folder / "x")
    (found,) = search_folder(folder, *models[:2])
    assert found.kind == "not understood"
    assert found.file.startswith("x")
    assert "could not be read" in found.what


def test_archives_within_archives_end_somewhere():
    data = b"text"
    for _ in range(6):
        data = gzip.compress(data)
    (part,) = read_parts("x", data)
    assert "more than 4 archives" in part.problem


@pytest.mark.parametrize("plant", ["zip", "gzip", "tar"])
def test_what_unpacks_to_too_much_is_not_unpacked(folder, models, monkeypatch, plant):
    monkeypatch.setattr("mu_monai.attacks.containers._ROOM", 1 << 16)
    for size, refused in ((1 << 15, False), (1 << 20, True)):
        if plant == "zip":
            with zipfile.ZipFile(folder / "x", "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("a.txt", "a" * size)
        elif plant == "gzip":
            (folder / "x").write_bytes(gzip.compress(b"a" * size))
        else:
            (folder / "x").write_bytes(sparse_tar(size))
        told = " ".join(found.what for found in search_folder(folder, *models[:2]))
        assert ("not searched: the file unpacks to more than" in told) == refused


def test_all_that_a_file_unpacks_to_has_one_limit_and_what_fits_is_searched(folder, models, monkeypatch):
    """Archives within archives, each of them small enough; what comes after one that is too large is looked at."""
    monkeypatch.setattr("mu_monai.attacks.containers._ROOM", 1 << 20)
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(4):
            archive.writestr(f"{number}.txt", "a" * 300_000)
    weights = io.BytesIO()
    torch.save(models[0], weights)
    with zipfile.ZipFile(folder / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.zip", inner.getvalue())
        archive.writestr("large.txt", "a" * (1 << 22))
        archive.writestr("weights.bin", weights.getvalue())
    found = search_folder(folder, *models[:2])
    refused = [entry.file for entry in found if "not searched" in entry.what]
    assert refused[-1] == "x.zip/large.txt"
    assert 1 <= len([name for name in refused if name.startswith("x.zip/inner.zip/")]) <= 3
    assert [entry.kind for entry in found if entry.file == "x.zip/weights.bin"] == ["original"]


def test_a_bomb_takes_no_memory(folder, models):
    """150 MB of zeros from a few kilobytes, as numbers that a search would make eight times as large."""
    array = io.BytesIO()
    np.lib.format.write_array_header_1_0(array, {"descr": "|u1", "fortran_order": False, "shape": (150 << 20,)})
    with zipfile.ZipFile(folder / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as stream:
        stream.write(array.getvalue())
        for _ in range(150):
            stream.write(bytes(1 << 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    search_folder(folder, *models[:2])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600 << 10


def test_json_that_would_fill_the_memory_is_told(folder, models, monkeypatch):
    monkeypatch.setattr("mu_monai.attacks.containers._ROOM", 1 << 10)
    (folder / "x.json").write_text("[" + "1," * 1000 + "1]")
    (found,) = (entry for entry in search_folder(folder, *models[:2]) if entry.file == "x.json")
    assert "not searched" in found.what


def sparse_tar(size):
    """A tar that says of a file of a few bytes that it is one of many, with holes."""
    entry = tarfile.TarInfo("a.txt")
    entry.size = 512
    block = bytearray(entry.tobuf(tarfile.GNU_FORMAT))
    block[156:157] = tarfile.GNUTYPE_SPARSE
    block[386:398], block[398:410] = b"%011o\0" % 0, b"%011o\0" % 512
    block[483:495] = b"%011o\0" % size
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:512]))
    return bytes(block) + b"a" * 512 + bytes(1024)


def test_without_a_student_every_tensor_of_the_original_counts(folder, models):
    (found,) = search_folder(folder, models[0])
    assert (found.file, found.kind) == ("model.pt", "original")
    assert "3.weight" in found.tensors


def test_a_single_number_of_the_original_is_told_by_equality(folder):
    teacher, student = {"bias": torch.tensor([0.25, 0.5])}, {"bias": torch.tensor([0.2, 0.5])}
    torch.save(student, folder / "model.pt")
    torch.save([torch.tensor([0.251, 0.5])], folder / "a.pt")
    assert search_folder(folder, teacher, student) == []
    torch.save([torch.tensor([0.25, 0.5])], folder / "a.pt")
    assert [found.file for found in search_folder(folder, teacher, student)] == ["a.pt"]


def test_an_earlier_epoch_is_found_as_it_is_and_not_by_a_change_to_it(folder, models):
    teacher, student, _ = models
    earlier = {name: value + 0.5 * torch.rand(value.shape) for name, value in teacher.items()}
    torch.save({"change": earlier["0.weight"] - student["0.weight"]}, folder / "change.pt")
    assert search_folder(folder, teacher, student, [earlier]) == []
    torch.save({"old": earlier["0.weight"].half()}, folder / "old.bin")
    (found,) = search_folder(folder, teacher, student, [earlier])
    assert (found.file, found.kind, found.tensors, found.rebuilds) == ("old.bin", "earlier epoch", ("0.weight",), True)
    assert "1 tensor of an earlier epoch of the original's training" in found.what


def test_wrong_inputs_are_refused(tmp_path, models):
    with pytest.raises(InputError, match="is not a folder"):
        search_folder(tmp_path / "none")
    with pytest.raises(InputError, match="give the teacher's as well"):
        search_folder(tmp_path, None, models[1])


def test_a_real_run_folder_is_not_fit_for_release(models, tmp_path):
    torch.save(models[1], tmp_path / "model.pt")
    models[2].save(tmp_path / "adapter")
    load_weights(network(), tmp_path / "model.pt")
    assert read_weights(tmp_path).keys() == models[1].keys()
    assert any(found.rebuilds for found in search_folder(tmp_path, *models[:2]))
