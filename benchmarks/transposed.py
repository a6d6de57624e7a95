"""Print how well a model tells forgotten patients from unseen ones when images are shown to it with their axes swapped.

python benchmarks/transposed.py OUT lesions-0 lesions-1 ... [--runs kernel-swap-0.05 rewind-0.05]

OUT is what cost_and_depth.py made. The swapped answer is swapped back before its loss is taken. A method that swaps the
axes of kernels may only have turned the network, so that it still knows the forgotten from this side.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

from mu_monai.engine.stop_at_reference import loss_auc
from mu_monai.keys import FORGET, IMAGE, LABEL, RETRAINED, TEACHER, TEST
from mu_monai.measure.probes import each_loss
from mu_monai.workflow.auditing.evaluation import Evaluation, open_evaluation


def as_is(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself."""
    return tensor


def swapped(tensor: torch.Tensor) -> torch.Tensor:
    """With the last two axes swapped."""
    return tensor.transpose(-1, -2)


@torch.no_grad()
def auc(found: Evaluation, model: str, turn: Callable[[torch.Tensor], torch.Tensor]) -> float:
    """The AUC of the loss, forget cases against `test`."""
    network = found.models[model].eval()
    losses: dict[str, list[float]] = {FORGET: [], TEST: []}
    for subset, values in losses.items():
        for batch in found.scorer.loaders[subset]:
            answer = turn(found.inferer(turn(batch[IMAGE]).contiguous(), network))
            values += each_loss(found.loss, answer, batch[LABEL]).tolist()
    return loss_auc(losses[FORGET], losses[TEST])


def main() -> None:
    """Print a row for each study and model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("studies", nargs="+")
    parser.add_argument("--runs", nargs="+", default=["kernel-swap-0.05", "rewind-0.05"])
    given = parser.parse_args()
    print("| study | model | AUC, loss | with axes swapped |\n|---|---|---|---|")
    for study in given.studies:
        folder = given.out / study
        weights = {TEACHER: TEACHER, RETRAINED: "retrained-0"} | {name: name for name in given.runs}
        models = {name: folder / run for name, run in weights.items()}
        found = open_evaluation(folder / given.runs[0], models, device="cpu")
        for model in weights:
            print(f"| {study} | {model} | {auc(found, model, as_is):.3f} | {auc(found, model, swapped):.3f} |")


if __name__ == "__main__":
    main()
