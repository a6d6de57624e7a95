"""What the bundle for volumes promises: patches, whole volumes, and answers in the geometry of the files."""

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigParser

from mu_monai import workflow
from mu_monai.bundle import shipped_bundles
from mu_monai.bundle.config import read_config
from mu_monai.data.layouts.listing import stem_of
from mu_monai.errors import InputError
from mu_monai.files import read_json

CONFIGS = shipped_bundles()["volume3d"] / "configs"
HALF = {"classes": ["background", "organ", "lesion"], "patch_size": [16, 16, 16], "spacing": [4.0, 4.0, 4.0]}


@pytest.fixture(scope="module")
def split(phantom_splits) -> str:
    return phantom_splits["volume3d"]


def parsed(name: str, **overrides) -> ConfigParser:
    parser = read_config([str(CONFIGS / f"{name}.json")])
    parser.update(HALF | {key.replace("__", "::"): value for key, value in overrides.items()})
    return parser


def test_volumes_are_turned_to_ras_resampled_and_scaled(split):
    parser = parsed("train", split=split)
    whole = parser.get_parsed_content("datasets")["retain"]
    for case, volume in zip(parser.get_parsed_content("cases")["retain"], whole, strict=True):
        header = nibabel.load(case["image"])
        image, label = volume["image"], volume["label"]
        assert image.shape == label.shape
        assert image.dtype == torch.float32
        assert label.dtype == torch.uint8
        assert 0 <= image.min() < image.max() <= 1
        assert set(label.unique().tolist()) <= {0, 1, 2}
        extent = nibabel.as_closest_canonical(header).shape * np.asarray(
            nibabel.as_closest_canonical(header).header.get_zooms()
        )
        assert (np.asarray(image.shape[1:]) * 4 <= extent + 8).all()  # cropped to the body, never larger


def batches(parser: ConfigParser, id: str) -> list:
    return list(parser.get_parsed_content(id))


def test_every_forget_patch_holds_what_is_to_be_forgotten(split):
    for forget, wanted in (([], {1, 2}), (["lesion"], {2})):
        parser = parsed("unlearn", split=split, forget_classes=forget)
        for batch in batches(parser, "method::forget_loader"):
            assert tuple(batch["image"].shape[1:]) == (1, 16, 16, 16)
            for label in batch["label"]:
                assert wanted & set(label.unique().tolist())


def test_a_class_to_forget_is_background_in_the_trainers_labels_and_stays_in_the_forget_labels(split):
    parser = parsed("unlearn", split=split, forget_classes=["organ"])
    trained = {value for batch in batches(parser, "train::dataloader") for value in batch["label"].unique().tolist()}
    forgotten = {
        value for batch in batches(parser, "method::forget_loader") for value in batch["label"].unique().tolist()
    }
    assert 1 not in trained
    assert 1 in forgotten
    cases = parser.get_parsed_content("cases")
    dataset = parser.get_parsed_content("train::dataset")
    assert len(dataset) == len(cases["retain"]) + len(cases["forget"])  # a class is forgotten on every volume


def test_a_volume_smaller_than_a_patch_is_padded(split):
    parser = parsed("train", split=split, patch_size=[64, 64, 64])
    batch = next(iter(parser.get_parsed_content("train::dataloader")))
    assert tuple(batch["image"].shape[1:]) == (1, 64, 64, 64)


def test_patches_differ_between_epochs_and_agree_between_runs(split):
    from monai.data.utils import set_rnd

    def draw(seed: int) -> torch.Tensor:
        dataset = parsed("train", split=split).get_parsed_content("train::dataset")
        set_rnd(dataset, seed)
        return torch.stack([patch["image"] for patch in dataset[0]])

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


@pytest.fixture(scope="module")
def teacher(teachers) -> Path:
    return teachers["volume3d"]


def test_scores_are_of_whole_volumes_with_every_class_in_mm_and_ml(teacher, split):
    scores = pd.read_csv(teacher / "scores.csv")
    cases = [case for subset in ("retain", "forget", "validation", "test") for case in read_json(split)[subset]]
    assert len(scores) == len(cases)
    measured = {f"{name}[{part}]" for name in ("dice", "hd95", "volume", "true_volume") for part in ("organ", "lesion")}
    assert measured <= set(scores.columns)
    assert np.isfinite(scores[sorted(measured)]).all().all()
    assert scores["dice"].to_numpy() == pytest.approx(scores[["dice[organ]", "dice[lesion]"]].mean(axis=1).to_numpy())
    folder = Path(split).parent
    for case, volume in zip(scores["case_id"], scores["true_volume[organ]"], strict=True):
        (path,) = [folder / entry["label"] for entry in cases if entry["case_id"] == case]
        label = nibabel.load(path)
        exact = (np.asarray(label.dataobj) == 1).sum() * np.prod(label.header.get_zooms()) / 1000
        assert volume == pytest.approx(exact, rel=0.25)  # resampled to 4 mm


def test_a_sliding_window_over_one_patch_is_the_network_itself(teacher, split):
    parser = parsed("evaluate", split=split, patch_size=[64, 64, 64])
    network = torch.nn.Conv3d(1, 3, 1)
    image = torch.rand(1, 1, 20, 30, 40)
    torch.testing.assert_close(parser.get_parsed_content("inferer")(image, network), network(image))


def test_evaluation_takes_classes_spacing_and_patches_from_the_run(teacher, tmp_path):
    before = pd.read_csv(teacher / "scores.csv")
    workflow.evaluate(teacher)
    pd.testing.assert_frame_equal(pd.read_csv(teacher / "scores.csv"), before)


def test_segmentations_lie_in_the_geometry_of_their_files(teacher, split, tmp_path):
    folder, cases = Path(split).parent, read_json(split)["test"]
    images = [(folder / case["image"]).resolve() for case in cases]
    elsewhere = tmp_path / "elsewhere" / images[0].name  # the same name in another folder
    elsewhere.parent.mkdir()
    shutil.copy(images[0], elsewhere)
    out = workflow.predict(teacher, [*images, elsewhere], out=tmp_path / "out")
    written = sorted(out.rglob("*.nii.gz"))
    assert len(written) == len(images) + 1
    for path in images:
        image = nibabel.load(path)
        (answer,) = [file for file in written if file.parent.name == "images" and file.name.startswith(stem_of(path))]
        found = nibabel.load(answer)
        assert found.shape == image.shape
        np.testing.assert_allclose(found.affine, image.affine, atol=1e-3)
        assert found.get_data_dtype() == np.uint8
        assert set(np.unique(found.dataobj)) <= {0, 1, 2}


def test_two_answers_of_one_name_and_what_is_not_there_are_refused(teacher, tmp_path):
    (tmp_path / "1.2.3").mkdir()
    (tmp_path / "1.2.4").mkdir()
    with pytest.raises(InputError) as error:
        workflow.predict(teacher, [tmp_path / "1.2.3", tmp_path / "1.2.4", tmp_path / "gone.nii"], out=tmp_path / "out")
    for text in ("to the same file", "gone.nii' does not exist"):
        assert text in str(error.value)
    assert not (tmp_path / "out").exists()


def test_mr_volumes_are_scaled_by_percentiles(split):
    parser = read_config([str(CONFIGS / "train.json"), str(CONFIGS / "mr.json")])
    parser.update(HALF | {"split": split})
    volume = parser.get_parsed_content("datasets")["retain"][0]["image"]
    assert 0 <= volume.min() < volume.max() <= 1
    window = parsed("train", split=split).get_parsed_content("datasets")["retain"][0]["image"]
    assert volume.shape != window.shape or not torch.equal(volume, window)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ('classes=["background", "organ"]', "holds the values"),
        ("spacing=[1, 0, 1]", "spacing="),
        ("spacing=4", "spacing=4 is not allowed"),
        ("spacing=[4, 4]", "spacing with one number per axis"),
        ("patch_size=[18, 18, 18]", "patch_size that the network's strides divide"),
        ("window=[240, -160]", "the lower first"),
        ("patches_per_volume=0", "use a whole number of at least 1"),
        ("window=[2000, 3000]", "no voxel above 0"),
        ("classes=background", "classes='background' is not allowed"),
        ('classes=["background", "organ", "organ"]', "two different names"),
        ('modality="PET"', "modality='PET' is unknown"),
        ('forget_classes=["lesoin"]', "did you mean 'lesion'"),
        ('forget_classes=["background"]', "is the background"),
    ],
)
def test_what_does_not_fit_the_volumes_is_wrong_input(split, tmp_path, setting, expected):
    small = [text for text in ("patch_size=[16, 16, 16]", "spacing=[4, 4, 4]") if text[:5] != setting[:5]]
    with pytest.raises(InputError) as error:
        workflow.train("volume3d", split=split, out=tmp_path / "run", settings=[*small, setting], quiet=True)
    assert expected in str(error.value)
    assert not (tmp_path / "run" / "model.pt").exists()


def test_names_that_the_source_gives_its_classes_are_to_be_used(split, tmp_path):
    content = read_json(split)
    content["provenance"]["classes"] = ["background", "anterior", "posterior"]
    folder = Path(split).parent
    for case in (case for subset in ("retain", "forget", "validation", "test") for case in content[subset]):
        case |= {key: str(folder / case[key]) for key in ("image", "label")}
    digests = content["provenance"]["sha256"]
    content["provenance"]["sha256"] = {str(folder / file): digest for file, digest in digests.items()}
    (tmp_path / "split.json").write_text(json.dumps(content))
    for verb, extra in ((workflow.train, {}), (workflow.unlearn, {"teacher": None})):
        with pytest.raises(InputError, match=r"give --set classes='.*anterior"):
            verb("volume3d", split=tmp_path / "split.json", out=tmp_path / "run", quiet=True, **extra)


def test_it_warns_where_no_class_was_forgotten_also_without_forget_cases(teacher, split, tmp_path):
    request = read_json(split)
    folder = Path(split).parent
    request["retain"] += request.pop("forget")
    request["forget"] = []
    for case in (case for subset in ("retain", "validation", "test") for case in request[subset]):
        case |= {key: str(folder / case[key]) for key in ("image", "label")}
    digests = request["provenance"]["sha256"]
    request["provenance"]["sha256"] = {str(folder / file): digest for file, digest in digests.items()}
    (tmp_path / "split.json").write_text(json.dumps(request))
    run = workflow.unlearn(
        "volume3d",
        split=tmp_path / "split.json",
        teacher=teacher,
        forget_classes=["organ"],
        settings=["max_epochs=1", "learning_rate=1e-12"],
        out=tmp_path / "run",
        quiet=True,
    )
    assert any("Dice of organ" in text and "less than 1 %" in text for text in read_json(run / "run.json")["warnings"])
