"""Print the time and peak memory of one unlearning step in four forms, in 2D and 3D, on the CPU or a GPU.

python benchmarks/step_time.py [--device cuda] [--steps 10] [--amp]

A step is the joint schedule of Erase to Retain: a retain and a forget batch, supervised + distillation + guard +
background. With `--amp`, networks compute in 16 bits. Every form runs in a process of its own, so that peak memory is
its own:

- released: a second network as teacher, adapters in every convolution, BatchNorm in training mode;
- two networks: a second network as teacher, adapters in the decoder;
- ours: one network with adapters in the decoder; what runs before them is computed once for teacher and student;
- fine-tuning: a second network as teacher, and every weight trains.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext

import torch
from monai.inferers import SimpleInferer
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from torch import nn

from mu_monai.adapters import Student
from mu_monai.losses import Background, Distillation, Guard
from mu_monai.precision import Mixed, half_for

FORMS = ("released", "two networks", "ours", "fine-tuning")
SHAPES = {2: (4, 3, 256, 256), 3: (1, 1, 96, 96, 96)}


def network(dims: int) -> nn.Module:
    """The bundles' U-Net; in 3D that of the model zoo's spleen_ct_segmentation with one output."""
    torch.manual_seed(0)
    return UNet(
        spatial_dims=dims,
        in_channels=SHAPES[dims][1],
        out_channels=1,
        channels=(16, 32, 64, 128, 256),
        strides=(2, 2, 2, 2),
        num_res_units=2,
        norm="batch",
    )


def build(form: str, dims: int, device: str) -> tuple[nn.Module, nn.Module | None]:
    """The student and, where it is a network of its own, the teacher."""
    if form == "ours":
        return Student(network(dims).to(device), "decoder"), None
    teacher = network(dims).to(device).eval().requires_grad_(False)
    plain = copy.deepcopy(teacher).requires_grad_(True)
    if form == "fine-tuning":
        return plain, teacher
    if form == "released":
        student = Student(plain, "all", clamp_rank=False, bn_mode="train")
    else:
        student = Student(plain, "decoder")
    student._shared.recording = lambda image: nullcontext()  # a teacher of its own has no use for what we keep
    return student, teacher


def measure(form: str, dims: int, device: str, steps: int, amp: bool) -> dict[str, float]:
    """Median seconds of a step, and peak memory in MiB beyond what was in use before the networks were made."""
    apply = Mixed(SimpleInferer(), torch.device(device), half_for(torch.device(device))) if amp else SimpleInferer()
    shape = SHAPES[dims]
    retain, forget = torch.randn(shape, device=device), torch.randn(shape, device=device)
    label = (torch.rand(shape[0], 1, *shape[2:], device=device) > 0.5).float()
    before = _memory(device)
    student, teacher = build(form, dims, device)
    supervised, distillation, guard, background = DiceCELoss(sigmoid=True), Distillation(), Guard(), Background()
    weights = [parameter for parameter in student.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-4)
    times = []
    for _ in range(steps + 2):  # the first two warm up
        _synchronize(device)
        start = time.perf_counter()
        student.train()
        optimizer.zero_grad(set_to_none=True)
        answer = apply(retain, student)
        with torch.no_grad():
            reference = apply(retain, student.teacher if teacher is None else teacher)
        loss = supervised(answer, label) + distillation(answer, reference) + 0.05 * guard(answer, reference)
        loss = loss + 3 * background(apply(forget, student))
        loss.backward()
        optimizer.step()
        _synchronize(device)
        times.append(time.perf_counter() - start)
    trained = sum(parameter.numel() for parameter in weights)
    return {"seconds": statistics.median(times[2:]), "mib": _memory(device) - before, "trained": trained}


def _synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def _memory(device: str) -> float:
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--amp", action="store_true", help="compute networks in 16 bits")
    parser.add_argument("--form", choices=FORMS, help=argparse.SUPPRESS)
    parser.add_argument("--dims", type=int, choices=SHAPES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.form:
        print(json.dumps(measure(options.form, options.dims, options.device, options.steps, options.amp)))
        return
    name = torch.cuda.get_device_name() if options.device.startswith("cuda") else f"{torch.get_num_threads()} thread(s)"
    bits = "16 bits" if options.amp else "32 bits"
    print(f"{options.device} ({name}), {bits}, torch {torch.__version__}, median of {options.steps} steps\n")
    print("| images | form | weights trained | seconds a step | against ours | images a second | peak memory, MiB |")
    print("|---|---|---|---|---|---|---|")
    for dims, shape in SHAPES.items():
        found = {form: _apart(form, dims, options) for form in FORMS}
        for form, row in found.items():
            ratio = row["seconds"] / found["ours"]["seconds"]
            print(
                f"| {dims}D, {' x '.join(map(str, shape))} | {form} | {row['trained']:,.0f} | {row['seconds']:.3f} "
                f"| {ratio:.2f} | {2 * shape[0] / row['seconds']:,.1f} | {row['mib']:,.0f} |"
            )


def _apart(form: str, dims: int, options: argparse.Namespace) -> dict[str, float]:
    arguments = ["--form", form, "--dims", str(dims), "--device", options.device, "--steps", str(options.steps)]
    arguments += ["--amp"] if options.amp else []
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
