"""Made models of memorized random labels: nothing generalizes, so whatever an attack brings back was in the weights."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.inferers import SimpleInferer
from torch import nn

from mu_monai.adapters import Student
from mu_monai.attacks import AttackData
from mu_monai.engine import ScoreSubsets
from mu_monai.metrics import attack_scores, auc

SIZES = {"retain": 40, "forget": 44, "validation": 40, "test": 80}
LOSS = nn.CrossEntropyLoss()


def build() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(40, 96), nn.ReLU(), nn.Linear(96, 10))


def build_case(name: str) -> dict:
    label = int(torch.randint(10, ()))
    return {"image": torch.randn(1, 40), "label": label, "case_id": name, "patient_id": name}


@dataclass
class Made:
    """Models by role, and their cases."""

    models: dict[str, nn.Module]
    adapted: Student
    loaders: dict[str, DataLoader]

    def data(self, folder=None) -> AttackData:
        """An attacker with the first four forgotten patients."""
        known = DataLoader(Dataset(list(self.loaders["forget"].dataset)[:4]), batch_size=4)
        return AttackData(
            retain=self.loaders["retain"],
            known=known,
            loss=LOSS,
            inferer=SimpleInferer(),
            device=torch.device("cpu"),
            folder=folder,
        )

    def auc(self, network: nn.Module) -> float:
        """Of the loss, on the forgotten patients that no attacker has."""
        scorer = ScoreSubsets({}, LOSS)
        others = DataLoader(Dataset(list(self.loaders["forget"].dataset)[4:]), batch_size=40)
        tables = [scorer.score(network.eval(), loader) for loader in (others, self.loaders["test"])]
        return auc(*(attack_scores(table, {"loss": -1})["loss"] for table in tables))


def tensors(loader: DataLoader) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.stack([c["image"] for c in loader.dataset]), torch.tensor([c["label"] for c in loader.dataset])


def trained(network: nn.Module, loaders: list[DataLoader], steps: int = 150) -> nn.Module:
    image, label = (torch.cat(parts) for parts in zip(*map(tensors, loaders), strict=True))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        LOSS(network(image), label).backward()
        optimizer.step()
    return network.eval()


def muffled(teacher: nn.Module) -> Student:
    """Adapters of noise over the last layer: the forgotten are answered worse, and nothing of them is gone."""
    torch.manual_seed(1)
    student = Student(copy.deepcopy(teacher), scope="3", r=4)
    for name, parameter in student.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=1.2)
    return student


@pytest.fixture(scope="session")
def made() -> Made:
    torch.manual_seed(0)
    cases = {subset: [build_case(f"{subset}-{number}") for number in range(size)] for subset, size in SIZES.items()}
    loaders = {subset: DataLoader(Dataset(some), batch_size=40) for subset, some in cases.items()}
    teacher = trained(build(), [loaders["retain"], loaders["forget"]])
    retrained = trained(build(), [loaders["retain"]])
    student = muffled(teacher)
    models = {"teacher": teacher, "retrained": retrained, "student": student.merged().eval()}
    return Made(models=models, adapted=student, loaders=loaders)
