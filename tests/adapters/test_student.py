"""The student: frozen teacher inside, reversible bit for bit, kept in peft's format."""

from __future__ import annotations

import copy
import json
import subprocess
import sys

import peft
import pytest
import torch
from monai.networks.nets import ResNet, UNet
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from torch import nn

from mu_monai.adapters import LoraConv, Student, load_student, load_weights, place, weights_sha256
from mu_monai.adapters.copies import hold
from mu_monai.adapters.placement import head
from mu_monai.errors import InputError
from mu_monai.files import file_sha256


def bits(network: nn.Module) -> str:
    return weights_sha256(network.state_dict())


def batch_norms(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def test_a_new_student_is_its_teacher(unet, image):
    expected = unet(image)
    student = Student(unet)
    assert torch.equal(student(image), expected)
    assert torch.equal(student.teacher(image), expected)
    assert not student.training


def test_switched_off_after_training_it_is_the_teacher_bit_for_bit(unet, image, train_steps):
    teacher = copy.deepcopy(unet)
    student = train_steps(Student(unet, r=2), image)
    assert not torch.equal(student(image), teacher(image)), "the adapters learned"
    assert torch.equal(student.teacher(image), teacher(image))
    assert torch.equal(student.train().teacher(image), teacher(image)), "in training mode as well"
    assert bits(student.reverted()) == bits(teacher) == student.base_sha256
    assert torch.equal(student.reverted()(image), teacher(image))


def test_asking_the_teacher_leaves_the_student_trainable(trained, image):
    before = trained(image)
    names = list(trained.trainable())
    assert not trained.teacher(image).requires_grad
    assert torch.equal(trained(image), before)
    assert list(trained.trainable()) == names
    assert trained(image).requires_grad


def test_merged_weights_are_a_plain_network_that_answers_as_the_student(trained, image, unet):
    merged = trained.merged()
    plain = UNet(
        spatial_dims=unet.dimensions,
        in_channels=1,
        out_channels=1,
        channels=(4, 8, 16),
        strides=(2, 2),
        num_res_units=unet.num_res_units,
        norm="batch",
    )
    assert type(merged) is UNet
    assert list(merged.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(merged.state_dict(), strict=True)
    assert torch.equal(plain.eval()(image), trained(image))


def test_merging_and_reverting_leave_the_student_as_it_is(trained, image):
    before, names = trained(image), list(trained.state_dict())
    digest = bits(trained)
    trained.merged()
    trained.reverted()
    assert bits(trained) == digest
    assert list(trained.state_dict()) == names
    assert torch.equal(trained(image), before)


def test_a_merged_network_goes_through_torchscript(trained, image):
    merged = trained.merged().eval()
    with torch.no_grad():
        script = torch.jit.trace(merged, image)
    assert torch.equal(script(image), merged(image))


def test_statistics_stand_still_while_adapters_and_dropout_train(unet, image):
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    student = Student(unet, r=2, lora_dropout=0.5)
    norms = batch_norms(student)
    assert norms
    student.train()
    student(image * 10 + 3)
    assert not any(norm.training for norm in norms)
    layers = [module for module in student.modules() if isinstance(module, LoraConv)]
    assert layers
    for layer in layers:
        assert layer.training
        assert layer.lora_dropout["default"].training
        assert not layer.get_base_layer().training
    after = student.reverted().state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    student.eval()
    assert not any(module.training for module in student.modules())


def test_while_the_head_is_restored_nothing_else_is_random(unet):
    student = Student(unet, r=2, lora_dropout=0.5)
    student.add_restoration()
    student.train_head()
    student.train()
    layers = [module for module in student.modules() if isinstance(module, LoraLayer)]
    assert layers
    assert not any(layer.lora_dropout[name].training for layer in layers for name in layer.lora_dropout)


def test_dropout_makes_training_outputs_random_and_evaluation_outputs_not(trained, image):
    trained.train()
    assert not torch.equal(trained(image), trained(image))
    trained.eval()
    assert torch.equal(trained(image), trained(image))


def test_only_adapters_train_and_every_one_moves(unet, image, train_steps):
    student = Student(unet, r=2)
    before = {name: value.detach().clone() for name, value in student.named_parameters()}
    train_steps(student, image)
    moved = {name for name, value in student.named_parameters() if not torch.equal(value, before[name])}
    assert moved == set(student.trainable())
    assert all(".lora_A." in name or ".lora_B." in name for name in moved)
    assert len(moved) == 2 * len(student.placement.targets)


def test_training_a_copy_leaves_the_original_alone(trained, image, train_steps):
    digest, answer = bits(trained), trained(image)
    other = copy.deepcopy(trained)
    train_steps(other, image)
    assert bits(other) != digest
    assert bits(trained) == digest
    assert torch.equal(trained(image), answer)
    assert torch.equal(other.teacher(image), trained.teacher(image))


def test_a_saved_student_comes_back_bit_for_bit(trained, image, adapter):
    student = load_student(trained.reverted(), adapter)
    assert torch.equal(student(image), trained(image))
    assert torch.equal(student.teacher(image), trained.teacher(image))
    assert bits(student.merged()) == bits(trained.merged())


def test_a_loaded_student_stays_frozen_also_after_asking_the_teacher(trained, image, adapter):
    student = load_student(trained.reverted(), adapter)
    assert not student.training
    assert list(student.trainable()) == []
    student.teacher(image)
    assert list(student.trainable()) == []


def test_a_loaded_student_can_train_on(trained, image, adapter, train_steps):
    student = load_student(trained.reverted(), adapter, trainable=True)
    assert list(student.trainable()) == list(trained.trainable())
    answer = trained(image)
    train_steps(student, image)
    assert not torch.equal(student(image), answer)
    assert bits(student.reverted()) == trained.base_sha256


def test_a_new_process_loads_the_same_student(make_unet, train_steps, tmp_path):
    """One process for 2D and 3D: starting it costs more than the work."""
    for dims in (2, 3):
        folder = tmp_path / str(dims)
        folder.mkdir()
        teacher = make_unet(dims)
        image = torch.randn(2, 1, *(16,) * dims)
        torch.save(teacher.state_dict(), folder / "teacher.pt")
        torch.save({"image": image, "teacher": teacher(image).detach()}, folder / "expected.pt")
        student = train_steps(Student(teacher, r=2), image)
        student.save(folder / "adapter")
        torch.save(student(image).detach(), folder / "student.pt")
    program = f"""
import torch
torch.set_num_threads(1)
from pathlib import Path
from monai.networks.nets import UNet
from mu_monai.adapters import load_student, load_weights
for dims in (2, 3):
    folder = Path({str(tmp_path)!r}) / str(dims)
    network = UNet(dims, 1, 1, channels=(4, 8, 16), strides=(2, 2), num_res_units=2, norm="batch")
    student = load_student(load_weights(network, folder / "teacher.pt").eval(), folder / "adapter")
    expected = torch.load(folder / "expected.pt", weights_only=True)
    image = expected["image"]
    with torch.no_grad():
        assert torch.equal(student.teacher(image), expected["teacher"]), "teacher"
        assert torch.equal(student(image), torch.load(folder / "student.pt", weights_only=True)), "student"
        assert torch.equal(student.merged()(image), student(image)), "merged"
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_the_adapter_folder_holds_peft_files_and_the_identity_of_its_base(trained, adapter):
    assert sorted(path.name for path in adapter.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "base.json",
    ]
    assert json.loads((adapter / "base.json").read_text()) == {
        "sha256": trained.base_sha256,
        "scope": "decoder",
        "files": {path.name: file_sha256(path) for path in adapter.iterdir() if path.name != "base.json"},
    }
    assert not list(adapter.parent.glob(".*"))


def test_the_adapter_folder_holds_no_weight_of_the_teacher(trained, adapter):
    teacher = [value for value in trained.reverted().state_dict().values() if value.numel() > 1]
    saved = load_file(adapter / "adapter_model.safetensors")
    assert len(saved) == 2 * len(trained.placement.targets)
    assert not any(torch.equal(a, b) for a in saved.values() for b in teacher if a.shape == b.shape)


def test_saving_again_replaces_the_folder_whole(trained, adapter, image, train_steps):
    (adapter / "left_over.txt").write_text("old")
    train_steps(trained, image)
    trained.save(adapter)
    assert not (adapter / "left_over.txt").exists()
    assert torch.equal(load_student(trained.reverted(), adapter)(image), trained(image))


def test_a_wrong_base_is_refused_with_both_hashes(trained, adapter):
    wrong = trained.reverted()
    next(wrong.parameters()).data.view(-1).view(torch.int32)[0] ^= 1  # a single bit
    with pytest.raises(InputError, match="give the teacher that the run started from") as error:
        load_student(wrong, adapter)
    assert trained.base_sha256 in str(error.value)
    assert bits(wrong) in str(error.value)


@pytest.mark.parametrize("name", ["base.json", "adapter_config.json", "adapter_model.safetensors"])
def test_an_incomplete_adapter_folder_is_refused_and_says_what_is_missing(make_unet, tmp_path, name):
    student = Student(make_unet(2, 0))
    student.save(tmp_path / "adapter")
    (tmp_path / "adapter" / name).unlink()
    with pytest.raises(InputError, match=f"adapter folder of an unlearning run .*{name} missing"):
        load_student(make_unet(2, 0), tmp_path / "adapter")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"r": 0}, r"r=0 is not allowed; use an integer of at least 1"),
        ({"r": -2}, r"r=-2 is not allowed"),
        ({"r": 2.5}, r"r=2.5 is not allowed"),
        ({"lora_alpha": 0}, r"lora_alpha=0 is not allowed; use a number above 0"),
        ({"lora_dropout": 1.0}, r"lora_dropout=1.0 is not allowed; use a probability in \[0, 1\)"),
        ({"lora_dropout": -0.1}, r"lora_dropout=-0.1 is not allowed"),
        ({"lora_dropout": float("nan")}, r"lora_dropout=nan is not allowed"),
        ({"bn_mode": "batch"}, r"bn_mode='batch' is not known; use one of eval, train"),
        ({"scope": "nowhere"}, r"scope='nowhere' matches no convolution"),
    ],
)
def test_settings_out_of_range_are_refused_before_the_network_is_touched(make_unet, setting, message):
    network = make_unet()
    names = list(network.state_dict())
    with pytest.raises(InputError, match=message):
        Student(network, **setting)
    assert list(network.state_dict()) == names


def test_all_wrong_settings_are_reported_at_once(make_unet):
    with pytest.raises(InputError, match="2 problems") as error:
        Student(make_unet(), r=0, lora_dropout=2)
    assert len(error.value.problems) == 2


@pytest.mark.parametrize(("r", "scope"), [(1, "decoder"), (4, "all"), (2, "head")])
def test_the_budget_counts_parameters(make_unet, r, scope):
    plain = make_unet()
    expected = 0
    for name in place(plain, scope).targets:
        layer = plain.get_submodule(name)
        expected += r * (layer.weight.numel() // layer.out_channels) + layer.out_channels * r
    student = Student(make_unet(), scope, r=r, clamp_rank=False)
    budget = student.budget()
    base = sum(value.numel() for value in plain.parameters())
    assert budget["base"] == base
    assert budget["trainable"] == expected == sum(value.numel() for value in student.trainable().values())
    assert budget["total"] == base + expected
    assert budget["share"] == pytest.approx(expected / (base + expected))
    assert budget["coverage"].startswith(place(plain, scope).coverage)


def test_adapters_go_into_exactly_the_chosen_layers():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Sequential(nn.Conv2d(2, 2, 1)), nn.Conv2d(2, 1, 1))
    student = Student(network, "0", r=1)  # of a list of names, peft would also take "1.0", which ends alike
    names = [name for name, module in student.named_modules() if isinstance(module, LoraConv)]
    assert names == ["base_model.model.0"]


class TestRestoration:
    """The head's own change, learned after the adapters and beside them."""

    @pytest.fixture
    def probe(self) -> torch.Tensor:
        return torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(8))

    @pytest.fixture(params=[0, 2], ids=["transposed-head", "plain-head"])
    def build(self, request, make_unet):
        return lambda: make_unet(res_units=request.param)

    @pytest.fixture
    def student(self, build, train_steps, probe) -> Student:
        student = train_steps(Student(build(), r=2), probe)
        student.add_restoration()
        return student

    @pytest.fixture
    def restored(self, student, train_steps, probe) -> Student:
        student.train_head()
        return train_steps(student, probe)

    def test_it_starts_at_zero(self, student, train_steps, build, probe):
        assert torch.equal(student(probe), train_steps(Student(build(), r=2), probe)(probe))
        assert all(not value.any() for value in student.restoration_state().values())

    def test_it_is_the_heads_weight_and_bias_and_no_adapter_moves(self, student, train_steps, build, probe):
        plain = build().get_submodule(head(build()))
        before = {name: value.clone() for name, value in student.own_state().items()}
        student.train_head()
        sizes = sorted(parameter.numel() for parameter in student.trainable().values())
        assert sizes == sorted(parameter.numel() for parameter in plain.parameters())
        train_steps(student, probe)
        after = student.own_state()
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        assert moved == set(student.restoration_state())

    def test_a_step_is_that_of_the_plain_head(self, student, probe):
        """Its factor B is the identity, so a step changes the head as a step on its weight itself would."""
        plain = student.merged().eval().requires_grad_(True)
        student.train_head()
        student.eval()
        layer = plain.get_submodule(student.head)
        for network, parameters in ((plain, layer.parameters()), (student, student.trainable().values())):
            optimizer = torch.optim.SGD(list(parameters), lr=0.5)
            nn.functional.softplus(network(probe)).mean().backward()
            optimizer.step()
        assert torch.allclose(student(probe), plain(probe), atol=1e-5)

    def test_the_teacher_is_kept(self, restored, build, probe):
        assert torch.equal(restored.teacher(probe), build()(probe))
        assert bits(restored.reverted()) == bits(build()) == restored.base_sha256

    def test_it_is_merged_saved_and_loaded(self, restored, build, probe, tmp_path):
        assert list(restored.merged().state_dict()) == list(build().state_dict())
        assert torch.equal(restored.merged()(probe), restored(probe))
        restored.save(tmp_path / "adapter")
        loaded = load_student(build(), tmp_path / "adapter")
        assert torch.equal(loaded(probe), restored(probe))
        assert torch.equal(loaded.teacher(probe), build()(probe))
        assert not loaded.trainable()

    def test_asking_for_it_twice_changes_nothing(self, restored, probe):
        before = restored(probe)
        assert len(restored.add_restoration()) == len(restored.restoration_state())
        assert torch.equal(restored(probe), before)

    def test_it_needs_a_head_that_is_known(self):
        student = Student(nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 1, 1)), "all", r=1)
        with pytest.raises(InputError, match="the head of Sequential is not known"):
            student.add_restoration()


class TestMovingStatistics:
    """BatchNorm in training mode, as in the released code, on a copy."""

    @pytest.fixture
    def student(self, make_unet, train_steps) -> Student:
        return train_steps(Student(make_unet(), "all", r=2, bn_mode="train"), torch.randn(2, 1, 16, 16))

    def test_statistics_move_and_weights_of_the_norm_do_not(self, student, make_unet):
        before, after = make_unet().state_dict(), student.merged().state_dict()
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        assert any(name.endswith("running_mean") for name in moved)
        norms = {name for name, module in make_unet().named_modules() if module in batch_norms(make_unet())}
        assert not {f"{name}.weight" for name in norms} & moved
        assert not any("modules_to_save" in name for name in student.trainable())

    def test_the_teacher_is_kept(self, student, make_unet):
        probe = torch.randn(2, 1, 16, 16)
        assert torch.equal(student.train().teacher(probe), make_unet()(probe))
        assert bits(student.reverted()) == bits(make_unet())

    def test_it_is_saved_and_loaded(self, student, make_unet, tmp_path):
        probe = torch.randn(2, 1, 16, 16)
        student.save(tmp_path / "adapter")
        assert torch.equal(load_student(make_unet(), tmp_path / "adapter")(probe), student.eval()(probe))

    def test_a_layer_that_is_held_keeps_its_statistics(self, make_unet, train_steps):
        student = Student(make_unet(), trainable="all", bn_mode="train")
        last = list(student.placement.targets)[-1]
        for name, parameter in student.named_parameters():
            parameter.requires_grad_(f".{last}.modules_to_save." in name)
        held = [name for name, module in make_unet().named_modules() if module in batch_norms(make_unet())]
        train_steps(student, torch.randn(2, 1, 16, 16))
        before, after = make_unet().state_dict(), student.merged().state_dict()
        assert {name for name in before if not torch.equal(before[name], after[name])} <= {
            f"{last}.weight",
            f"{last}.bias",
        }
        assert last not in held


class TestRank:
    def test_a_layer_gets_no_more_rank_than_it_can_hold_and_it_is_said(self, make_unet):
        student = Student(make_unet())
        layers = {name: module for name, module in student.named_modules() if isinstance(module, LoraConv)}
        head_layer = next(module for name, module in layers.items() if name.endswith(student.head))
        assert head_layer.r["default"] == 1, "its output is one channel"
        assert "rank 8 clamped to what a layer can hold" in student.budget()["coverage"]
        assert {layer.scaling["default"] for layer in layers.values()} == {4.0}, "the scale stays alpha / r"

    def test_it_can_be_left_as_asked(self, make_unet):
        student = Student(make_unet(), clamp_rank=False)
        assert {module.r["default"] for module in student.modules() if isinstance(module, LoraConv)} == {8}
        assert "clamped" not in student.budget()["coverage"]


class TestStockPeft:
    """An adapter on plain convolutions is read by peft without mu_monai's layer."""

    @pytest.mark.parametrize("dims", [2, 3])
    def test_a_small_network(self, dims, train_steps, tmp_path):
        def build() -> nn.Module:
            torch.manual_seed(3)
            conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dims == 2 else (nn.Conv3d, nn.BatchNorm3d)
            layers = conv(1, 4, 3, padding=1), norm(4), nn.ReLU(), conv(4, 4, 3, stride=2), nn.ReLU(), conv(4, 1, 1)
            return nn.Sequential(*layers).eval()

        image = torch.randn(2, 1, *(12,) * dims)
        student = train_steps(Student(build(), "all", r=3), image)
        student.save(tmp_path / "adapter")
        theirs = peft.PeftModel.from_pretrained(build(), str(tmp_path / "adapter")).eval()
        assert not any(isinstance(module, LoraConv) for module in theirs.modules())
        assert (student(image) - build()(image)).abs().max() > 1e-3
        torch.testing.assert_close(theirs(image), student(image), rtol=1e-5, atol=1e-5)

    def test_the_plain_convolutions_of_a_unet(self, make_unet, train_steps, tmp_path):
        image = torch.randn(2, 1, 16, 16)
        student = train_steps(Student(make_unet(), r".*unit\d\.conv", r=2), image)
        student.save(tmp_path / "adapter")
        theirs = peft.PeftModel.from_pretrained(make_unet(), str(tmp_path / "adapter")).eval()
        assert (student(image) - make_unet()(image)).abs().max() > 1e-3
        torch.testing.assert_close(theirs(image), student(image), rtol=1e-5, atol=1e-5)


def test_merged_weights_are_the_starting_weights_of_another_student(trained, image, tmp_path):
    torch.save(trained.merged().state_dict(), tmp_path / "model.pt")
    second = Student(load_weights(trained.reverted(), tmp_path / "model.pt"), r=1)
    assert torch.equal(second.teacher(image), trained(image))
    assert second.base_sha256 == bits(trained.merged())


class TestAllWeights:
    """Copies of all weights train instead of adapters; everything else is as with adapters."""

    def test_a_new_one_is_its_teacher_and_trains_every_weight(self, unet, image):
        expected, names = unet(image), {name for name, _ in unet.named_parameters()}
        student = Student(unet, trainable="all")
        assert torch.equal(student(image), expected)
        assert len(student.trainable()) == len(names)
        assert student.budget()["share"] == 1
        assert student.budget()["coverage"].startswith("copies of")

    def test_switched_off_after_training_it_is_the_teacher_bit_for_bit(self, unet, image, train_steps):
        teacher = copy.deepcopy(unet)
        student = train_steps(Student(unet, trainable="all"), image)
        assert not torch.equal(student(image), teacher(image))
        assert torch.equal(student.teacher(image), teacher(image))
        assert bits(student.reverted()) == bits(teacher) == student.base_sha256

    def test_merged_it_is_a_plain_network_that_answers_alike(self, unet, image, train_steps):
        names = set(unet.state_dict())
        student = train_steps(Student(unet, trainable="all"), image)
        plain = student.merged().eval()
        assert set(plain.state_dict()) == names
        assert torch.equal(plain(image), student(image))

    def test_statistics_stay_frozen(self, unet, image, train_steps):
        before = [norm.running_mean.clone() for norm in batch_norms(unet)]
        student = train_steps(Student(unet, trainable="all"), image)
        after = [norm.running_mean for norm in batch_norms(student.merged())]
        assert before
        assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))

    def test_it_is_saved_and_loaded_like_adapters(self, unet, image, train_steps, tmp_path):
        teacher = copy.deepcopy(unet)
        student = train_steps(Student(unet, trainable="all"), image)
        student.save(tmp_path / "adapter")
        loaded = load_student(teacher, tmp_path / "adapter")
        assert torch.equal(loaded(image), student(image))
        assert not loaded.trainable()

    def test_an_unknown_way_to_train_is_refused(self, unet):
        with pytest.raises(InputError, match="trainable='half' is not known; use one of adapters, all"):
            Student(unet, trainable="half")

    def test_a_layer_that_holds_nothing_may_have_a_name_that_ends_alike(self, train_steps, tmp_path):
        def build():
            torch.manual_seed(0)
            return nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Identity(), nn.Linear(2, 1)))

        probe = torch.randn(3, 2)
        student = train_steps(Student(build(), trainable="all"), probe)
        assert len(student.trainable()) == 4
        assert torch.equal(student.teacher(probe), build()(probe))
        student.save(tmp_path / "adapter")
        answer = student(probe)
        assert torch.equal(load_student(build(), tmp_path / "adapter")(probe), answer)
        plain = student.merged()
        assert set(plain.state_dict()) == set(build().state_dict())
        assert torch.equal(plain(probe), answer)
        assert not torch.equal(answer, build()(probe))

    def test_names_that_peft_cannot_tell_apart_are_refused(self):
        inner = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2)))
        inner.add_module("x", nn.Sequential(nn.Sequential(nn.Linear(2, 2))))
        with pytest.raises(InputError, match="leave bn_mode at 'eval' and trainable at 'adapters'"):
            Student(inner, trainable="all")


def test_layers_whose_names_end_alike_keep_their_ranks_through_the_file(tmp_path):
    def build():
        torch.manual_seed(0)
        return ResNet("basic", [1, 1, 1, 1], [4, 8, 16, 32], spatial_dims=2, n_input_channels=3, num_classes=9).eval()

    student = Student(build(), "all")
    ranks = {name: student._layer(name).r["default"] for name in student.placement.targets}
    assert ranks["conv1"] < ranks["layer2.0.conv1"]
    student.save(tmp_path / "adapter")
    loaded = load_student(build(), tmp_path / "adapter")
    assert {name: loaded._layer(name).r["default"] for name in loaded.placement.targets} == ranks


def test_statistics_of_batchnorm_without_weights_move_unless_they_are_held():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, affine=False), nn.Conv2d(2, 1, 1)).eval()
    before, modes = network.state_dict()["1.running_mean"].clone(), ("train", "eval", "train")
    moving, still, held = (Student(copy.deepcopy(network), trainable="all", bn_mode=mode) for mode in modes)
    hold(held.get_base_model()[1].modules_to_save["default"])
    for student in (moving, still, held):
        student.train()
        student(torch.randn(4, 1, 8, 8) + 3)
    after = [student.merged().state_dict()["1.running_mean"] for student in (moving, still, held)]
    assert [torch.equal(before, mean) for mean in after] == [False, True, True]
