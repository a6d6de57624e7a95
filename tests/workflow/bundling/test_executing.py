"""What a bundle would execute is listed, wherever it stands, and what is data or a usual part is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mu_monai import workflow
from mu_monai.errors import InputError

SHELL = {"_target_": "monai.utils.run_cmd", "cmd_list": ["touch", "seen"]}


@pytest.fixture
def bundle(tmp_path):
    """Write a bundle of these configs; a text is written as it is."""

    def write(**configs: Any) -> Path:
        folder = tmp_path / "somebodys" / "configs"
        folder.mkdir(parents=True)
        for name, content in {"train": {}, "metadata": {"version": "1.0.0"}, **configs}.items():
            text = content if isinstance(content, str) else json.dumps(content)
            (folder / f"{name}.{'json' if text.startswith('{') else 'yaml'}").write_text(text)
        return folder.parent

    return write


LOAD, DATA = {"_target_": "LoadImaged"}, {"_target_": "PersistentDataset"}
IN_TRAIN = [
    ({"net": {"_target_": "UNet", "_disabled_": True, "channels": SHELL}}, "net#channels calls monai.utils.run_cmd"),
    ({"net": {"_target_": "run_cmd"}}, "net calls run_cmd"),
    ({"net": {"_target_": "monai.data.utils.os.system"}}, "net calls monai.data.utils.os.system"),
    ({"net": {"_target_": "pickle_operations"}}, "net calls pickle_operations"),
    ({"net": {"_target_": "@name"}, "name": "os.system"}, "net calls @name"),
    ({"net": {"_target_": "@name"}, "name": "os.system"}, "name names os.system"),
    ({"net": "%elsewhere.json::net"}, "net = %elsewhere.json::net"),
    ({"_meta_": {"a": "$import os"}}, "_meta_#a = $import os"),
    ({"load": LOAD | {"reader": "os.system"}}, "load#reader names os.system"),
    ({"load": LOAD | {"reader": ["open"]}}, "load#reader#0 names open"),
    ({"load": LOAD | {"reader": "pickle_hashing"}}, "load#reader names pickle_hashing"),
    ({"merge": {"_target_": "PatchInferer", "merger_cls": "Own"}}, "merge#merger_cls names Own"),
    ({"data": DATA | {"weights_only": False}}, "data#weights_only = False, which may execute what is in a file"),
    ({"load": LOAD | {"allow_pickle": "@yes"}}, "load#allow_pickle = @yes, which may execute what is in a file"),
]
ELSEWHERE = [
    ({"metadata": {"version": "$__import__('os')"}}, "metadata.json: version = $__import__('os')"),
    ({"metadata": {"version": "1", "more": [SHELL]}}, "metadata.json: more#0 calls monai.utils.run_cmd"),
    ({"rewind": {"method#weight": "$open('a', 'w')"}}, "rewind.json: method#weight = $open('a', 'w')"),
    ({"rewind": {"net#_target_": "os.system"}}, "rewind.json: net calls os.system"),
    ({"rewind": {"+train#handlers": [SHELL]}}, "rewind.json: +train#handlers#0 calls monai.utils.run_cmd"),
    ({"mine": "net:\n  _target_: os.system\n"}, "mine.yaml: net calls os.system"),
    ({"mine": "steps: !!pairs\n- a: $exit()\n"}, "mine.yaml: steps#0#1 = $exit()"),
]


@pytest.mark.parametrize(
    ("configs", "line"), [*(({"train": ids}, f"train.json: {line}") for ids, line in IN_TRAIN), *ELSEWHERE]
)
def test_what_would_be_executed_is_listed(configs, line, bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert line in workflow.code_of(bundle(**configs))
    assert [path.name for path in tmp_path.iterdir()] == ["somebodys"]


def test_what_is_data_or_a_part_is_not_listed(bundle):
    steps = [
        {"_target_": "LoadImaged", "keys": "image", "reader": ["ITKReader", "nibabelreader", "monai.data.PILReader"]},
        {"_target_": "monai.transforms.SaveImaged", "keys": "pred", "writer": "ITKWriter", "allow_pickle": False},
    ]
    parts = {
        "network": {"_target_": "monai.networks.nets.resnet18", "spatial_dims": 2, "weights_only": True},
        "rates": {"_target_": "torch.optim.lr_scheduler.StepLR", "optimizer": {"_target_": "torch.optim.Adam"}},
        "windows": {"_target_": "PatchInferer", "merger_cls": "AvgMerger"},
        "handlers": [{"_target_": "StatsHandler"}, {"_target_": "ignite.metrics.Accuracy"}],
        "steps": {"_target_": "Compose", "transforms": steps},
        "again": "%steps#transforms",
        "file": "models.model.pt, 100 % of it costs $5",
        "epochs": 3,
    }
    assert workflow.code_of(bundle(train=parts)) == []


def test_what_is_taken_from_other_files_is_listed(bundle, tmp_path, monkeypatch):
    """Files are found from the working folder, or as if it were the bundle's; one that takes from itself ends."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.json").write_text(json.dumps({"net": SHELL, "self": "%here.json::net"}))
    folder = bundle(train={"net": "%here.json::net", "loss": "%scripts/there.yaml"})
    (folder / "scripts").mkdir()
    (folder / "scripts" / "there.yaml").write_text("a: $1 + 1\n")
    lines = workflow.code_of(folder)
    assert "here.json: net calls monai.utils.run_cmd" in lines
    assert f"{folder / 'scripts' / 'there.yaml'}: a = $1 + 1" in lines


def test_compiled_modules_and_linked_folders_are_listed(bundle, tmp_path):
    folder = bundle()
    for name in ("a.pyc", "b.cpython-312-x86_64-linux-gnu.so", "c.pyd", "scripts/d.py", "scripts/e.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    (tmp_path / "other").mkdir()
    (folder / "linked").symlink_to(tmp_path / "other")
    names = ["a.pyc", "b.cpython-312-x86_64-linux-gnu.so", "c.pyd", "linked", "scripts/d.py"]
    assert workflow.code_of(folder) == [f"module {name}" for name in names]


def test_a_config_that_cannot_be_read_is_told(bundle):
    with pytest.raises(InputError, match=r"rewind.json' cannot be read as a config, so what it would execute is not"):
        workflow.code_of(bundle(rewind="{broken"))


def test_a_module_of_the_bundle_is_not_imported(bundle, tmp_path):
    folder = bundle(train={"steps": [{"_target_": "own.Step"}, "own.helper"]})
    (folder / "own.py").write_text(f"open({str(tmp_path / 'seen')!r}, 'w')")
    lines = ["train.json: steps#0 calls own.Step", "train.json: steps#1 names own.helper", "module own.py"]
    assert workflow.code_of(folder) == lines
    assert not (tmp_path / "seen").exists()
