"""Ledgers over made run folders: nothing is trained, and the losses of each version are those that a test says."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from mu_monai import workflow
from mu_monai.adapters import weights_sha256
from mu_monai.data import phantom_split, read_split
from mu_monai.files import file_sha256
from mu_monai.keys import FORGET, RETAIN, SUBSETS
from mu_monai.runs import RunRecord, file_digests, is_finished, write_record
from mu_monai.runs.record import Cost, Digests, MadeWith, OfMethod, OfSplit
from mu_monai.workflow.requests.routes import ROUTES


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """A split of 30 patients with an image each."""
    folder = tmp_path_factory.mktemp("images")
    return Path(phantom_split("lesions", folder, patients=30, images_per_patient=1, size=32, seed=3))


@pytest.fixture
def people(images):
    """The ids of the patients of each subset."""
    split = read_split(images)
    return {name: sorted(split.patients(name)) for name in SUBSETS}


@pytest.fixture
def made_run(images):
    """Makes the folder of a finished run whose losses are 0.5 to 0.7, but for patients who are given."""

    def make(folder, *, split=images, role="teacher", losses=None, seed=0):
        folder.mkdir(parents=True)
        state = {"weight": torch.full((2,), float(seed))}
        torch.save(state, folder / "model.pt")
        opened = read_split(split)
        rows = [
            {
                **{"model": role, "subset": name, "patient_id": case["patient_id"], "case_id": case["case_id"]},
                **{"loss": (losses or {}).get(case["patient_id"], 0.5 + 0.2 * place / len(cases) + 0.001 * (seed % 3))},
                **{"bce": 0.1, "dice": 0.9, "iou": 0.8, "confidence": 0.9},
            }
            for name, cases in opened.rows.items()
            for place, case in enumerate(cases)
        ]
        pd.DataFrame(rows).to_csv(folder / "scores.csv", index=False)
        unlearned = OfMethod(name="Rewind", settings={}) if role == "student" else None
        record = RunRecord(
            verb="unlearn" if unlearned else "train",
            status="finished",
            role=role,
            bundle=MadeWith(name="isic", version="0.1.0", task="segmentation", root="isic"),
            subsets=(RETAIN,) if role == "retrained" else (RETAIN, FORGET),
            method=unlearned,
            sha256=Digests(split=file_sha256(split), weights=weights_sha256(state)),
            split=OfSplit(file=str(split)),
            cost=Cost(passes=100, steps=10, share=0.1 if unlearned else None),
        )
        write_record(folder, replace(record, files=file_digests(folder)))
        return folder

    return make


@pytest.fixture
def teacher(made_run, tmp_path):
    """The run of the first version, which answers the patients whom it was trained on better than others."""
    return made_run(tmp_path / "runs" / "teacher")


@pytest.fixture
def routes(monkeypatch, made_run):
    """Makes the routes `rewind` and `retraining` possible, and lets them make folders; tests set `losses`."""

    class Made:
        def __init__(self):
            self.losses, self.jobs, self.error = {}, [], None

        def make(self, job, plan, resume):
            self.jobs.append((job, plan, resume))
            if self.error is not None:
                raise self.error
            if not plan:
                made_run(job.out, split=job.split, role="student", losses=self.losses, seed=job.start.version)

    made = Made()
    for name in ROUTES:
        possible = name in ("rewind", "retraining")
        problems = (lambda job: []) if possible else (lambda job: ["it is not there"])
        monkeypatch.setitem(ROUTES, name, replace(ROUTES[name], problems=problems, make=made.make))
    # a made run is complete without examples and bundle
    monkeypatch.setattr("mu_monai.workflow.trained_alike.is_complete", is_finished)
    return made


@pytest.fixture
def ledger(tmp_path, teacher, people):
    """A ledger with a request of the first two patients."""
    folder = tmp_path / "ledger"
    workflow.add_request(folder, run=teacher, ids=people[RETAIN][:2])
    return folder
