"""Published data sets, made small: each goes from its folder to a split."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mu_monai import workflow
from mu_monai.data import LAYOUTS, Patterns, is_file_label, open_split, read_layout
from mu_monai.data.case_files import image_files
from mu_monai.errors import InputError
from tests.data.conftest import write_image, write_label, write_mask, write_volume

CASES = 8
AFFINE = np.diag([1.5, 1.5, 2, 1])


def pictures(folder, image, mask=None, cases=range(1, CASES + 1)):
    for n in cases:
        write_image(folder / image.format(n=n), n)
        if mask:
            write_mask(folder / mask.format(n=n), n)


def volumes(folder, images, label, cases=range(CASES)):
    for n in cases:
        for number, image in enumerate([images] if isinstance(images, str) else images):
            write_volume(folder / image.format(n=n), 10 * n + number)
        if label:
            write_label(folder / label.format(n=n), AFFINE)


def table(file, *rows):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(rows) + "\n")


def drive(folder):
    pictures(folder, "training/images/{n:02d}_training.tif", "training/1st_manual/{n:02d}_manual1.gif")
    pictures(folder, "training/mask/{n:02d}_training_mask.gif")
    pictures(folder, "test/images/{n:02d}_test.tif", cases=(31, 32))


def stare(folder):
    pictures(folder, "im{n:04d}.ppm", "labels-ah/im{n:04d}.ah.ppm")
    pictures(folder, "labels-vk/im{n:04d}.vk.ppm")


def hrf(folder):
    for kind, part in (("dr", range(1, 4)), ("g", range(1, 4)), ("h", range(1, 3))):
        for n in part:
            seed = n + 10 * ord(kind[0])
            write_image(folder / f"images/{n:02d}_{kind}.JPG", seed)
            write_mask(folder / f"manual1/{n:02d}_{kind}.tif", seed)
            write_mask(folder / f"mask/{n:02d}_{kind}_mask.tif", seed)


def ph2(folder):
    place = "PH2 Dataset images/IMD{n:03d}/"
    pictures(
        folder, place + "IMD{n:03d}_Dermoscopic_Image/IMD{n:03d}.bmp", place + "IMD{n:03d}_lesion/IMD{n:03d}_lesion.bmp"
    )
    pictures(folder, place + "IMD{n:03d}_roi/IMD{n:03d}_roi1.bmp")


def busi(folder):
    for kind, part in (("benign", (1, 2, 3)), ("malignant", (1, 2, 3)), ("normal", (1, 2))):
        for n in part:
            write_image(folder / f"{kind}/{kind} ({n}).png", n + 10 * ord(kind[0]))
            write_mask(folder / f"{kind}/{kind} ({n})_mask.png", n)


def busi_with_two_masks(folder):
    busi(folder)
    write_image(folder / "benign/benign (4).png", 4)
    for name in ("mask", "mask_1"):
        write_mask(folder / f"benign/benign (4)_{name}.png", 4)


def nnunet_v2(folder):
    volumes(folder, ["imagesTr/a_{n:03d}_0000.nii.gz", "imagesTr/a_{n:03d}_0001.nii.gz"], "labelsTr/a_{n:03d}.nii.gz")
    volumes(folder, "imagesTs/b_{n:03d}_0000.nii.gz", None, range(2))
    content = {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "organ": 1, "lesion": 2}}
    (folder / "dataset.json").write_text(json.dumps(content | {"numTraining": CASES, "file_ending": ".nii.gz"}))
    folds = [{"train": ["a_000"], "val": [f"a_{n:03d}" for n in range(CASES) if n % 2 == fold]} for fold in (0, 1)]
    (folder / "splits_final.json").write_text(json.dumps(folds))


def nnunet_v1(folder):
    volumes(folder, "imagesTr/a_{n:03d}_0000.nii.gz", "labelsTr/a_{n:03d}.nii.gz")
    entries = [{"image": f"./imagesTr/a_{n:03d}.nii.gz", "label": f"./labelsTr/a_{n:03d}.nii.gz"} for n in range(CASES)]
    content = {"labels": {"0": "background", "1": "organ", "2": "lesion"}, "training": entries, "test": []}
    (folder / "dataset.json").write_text(json.dumps(content))


def nnunet_png(folder):
    for n in range(CASES):
        write_image(folder / f"imagesTr/a_{n}_0000.png", n)
        (folder / "labelsTr").mkdir(exist_ok=True)
        mask = np.zeros((20, 24), np.uint8)
        mask[4:9, 3 : 9 + n] = 1
        Image.fromarray(mask).save(folder / f"labelsTr/a_{n}.png")
    content = {"channel_names": {"0": "R", "1": "G", "2": "B"}, "labels": {"background": 0, "road": 1}}
    (folder / "dataset.json").write_text(json.dumps(content | {"file_ending": ".png"}))


def kits(folder):
    volumes(folder, "case_{n:05d}/imaging.nii.gz", "case_{n:05d}/segmentation.nii.gz")


def lits(folder):
    volumes(folder, "Training Batch 1/volume-{n}.nii", "Training Batch 1/segmentation-{n}.nii", range(4))
    volumes(folder, "Training Batch 2/volume-{n}.nii", "Training Batch 2/segmentation-{n}.nii", range(4, CASES))


def btcv(folder):
    volumes(folder, "RawData/Training/img/img{n:04d}.nii.gz", "RawData/Training/label/label{n:04d}.nii.gz")
    volumes(folder, "RawData/Testing/img/img{n:04d}.nii.gz", None, (90, 91))


def amos(folder):
    volumes(folder, "imagesTr/amos_{n:04d}.nii.gz", "labelsTr/amos_{n:04d}.nii.gz", range(1, 7))
    volumes(folder, "imagesVa/amos_{n:04d}.nii.gz", "labelsVa/amos_{n:04d}.nii.gz", (7, 8))


def totalsegmentator(folder):
    volumes(folder, "s{n:04d}/ct.nii.gz", "s{n:04d}/segmentations/liver.nii.gz")
    volumes(folder, "s{n:04d}/segmentations/spleen.nii.gz", None)


def brats_2023(folder):
    case = "BraTS-GLI-0000{n}-00{t}/BraTS-GLI-0000{n}-00{t}"
    for n in range(CASES // 2):
        for t in (0, 1):
            place = case.format(n=n, t=t)
            for number, name in enumerate(("t1c", "t1n", "t2f", "t2w")):
                write_volume(folder / f"{place}-{name}.nii.gz", 100 * n + 10 * t + number)
            write_label(folder / f"{place}-seg.nii.gz", AFFINE)


def brats_2020(folder):
    case = "BraTS20_Training_{n:03d}/BraTS20_Training_{n:03d}_"
    volumes(folder, [case + f"{name}.nii" for name in ("flair", "t1", "t1ce", "t2")], case + "seg.nii")
    (folder / "name_mapping.csv").write_text("Grade,BraTS_2020_subject_ID\nHGG,BraTS20_Training_001\n")


def bids(folder):
    for n in range(CASES // 2):
        for session in ("pre", "post"):
            name = f"sub-0{n}_ses-{session}"
            seed = 100 * n + len(session)
            place = f"sub-0{n}/ses-{session}/anat"
            write_volume(folder / place / f"{name}_T1w.nii.gz", seed)
            write_label(folder / "derivatives/manual" / place / f"{name}_desc-lesion_dseg.nii.gz", AFFINE)
            (folder / place / f"{name}_T1w.json").write_text("{}")
    (folder / "participants.tsv").write_text("participant_id\tage\nsub-01\t30\n")


def ham10000(folder):
    for n in range(CASES):
        write_image(folder / f"HAM10000_images_part_{1 + n // 4}/ISIC_{n:07d}.jpg", n)
    rows = [f"HAM_{n // 2},ISIC_{n:07d},{('nv', 'mel')[n // 2 % 2]},histo,50.0,male,back" for n in range(CASES)]
    table(folder / "HAM10000_metadata.csv", "lesion_id,image_id,dx,dx_type,age,sex,localization", *rows)


def isic_2018(folder):
    pictures(folder, "ISIC2018_Task3_Training_Input/ISIC_{n:07d}.jpg")
    rows = [f"ISIC_{n:07d},{n % 2}.0,{1 - n % 2}.0,0.0" for n in range(1, CASES + 1)]
    table(
        folder / "ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_GroundTruth.csv",
        "image,MEL,NV,BCC",
        *rows,
    )
    lesions = [f"ISIC_{n:07d},HAM_{(n + 1) // 2},histo" for n in range(1, CASES + 1)]
    table(folder / "ISIC2018_Task3_Training_LesionGroupings.csv", "image,lesion_id,diagnosis_confirm_type", *lesions)


def isic_2019(folder):
    pictures(folder, "ISIC_2019_Training_Input/ISIC_2019_Training_Input/ISIC_{n:07d}.jpg")
    rows = [f"ISIC_{n:07d},{n % 2}.0,{1 - n % 2}.0,0.0" for n in range(1, CASES + 1)]
    table(folder / "ISIC_2019_Training_GroundTruth.csv", "image,MEL,NV,UNK", *rows)
    more = [
        f"ISIC_{n:07d},55.0,anterior torso,{f'MSK4_{n // 2}' if n < 7 else ''},female,{n % 2}"
        for n in range(1, CASES + 1)
    ]
    table(
        folder / "ISIC_2019_Training_Metadata.csv", "image,age_approx,anatom_site_general,lesion_id,sex,smoker", *more
    )


def isic_archive(folder):
    pictures(folder, "ISIC_{n:07d}.jpg")
    rows = [f"ISIC_{n:07d},CC-0,45,{('Benign', 'Malignant')[n % 2]},IL_{n},IP_{n // 2}" for n in range(1, CASES + 1)]
    table(folder / "metadata.csv", "isic_id,copyright_license,age_approx,diagnosis_1,lesion_id,patient_id", *rows)
    (folder / "attribution.txt").write_text("many people")


MADE = {  # how it is made; layout, label set, files of an image, patients, a column and a value of the first case
    "drive": (drive, "drive", None, 1, CASES, ("part", "training")),
    "stare": (stare, "stare", "ah", 1, CASES, None),
    "hrf": (hrf, "hrf", None, 1, CASES, ("group", "dr")),
    "ph2": (ph2, "ph2", None, 1, CASES, None),
    "nnunet v2": (nnunet_v2, "nnunet", None, 2, CASES, ("fold", 0)),
    "nnunet v1": (nnunet_v1, "nnunet", None, 1, CASES, None),
    "nnunet png": (nnunet_png, "nnunet", None, 1, CASES, None),
    "kits": (kits, "kits", "segmentation", 1, CASES, None),
    "lits": (lits, "lits", None, 1, CASES, None),
    "btcv": (btcv, "btcv", None, 1, CASES, None),
    "amos": (amos, "amos", None, 1, CASES, ("part", "Tr")),
    "brats 2023": (brats_2023, "brats", None, 4, CASES // 2, None),
    "brats 2020": (brats_2020, "brats", None, 4, CASES, None),
    "bids": (bids, "bids", "manual", 1, CASES // 2, None),
    "ham10000": (ham10000, "ham10000", "dx", 1, CASES // 2, ("dx_type", "histo")),
    "isic 2018": (isic_2018, "isic-2018-task3", None, 1, CASES // 2, ("diagnosis_confirm_type", "histo")),
    "isic 2019": (isic_2019, "isic-2019", None, 1, 6, ("sex", "female")),
    "isic archive": (isic_archive, "isic-archive", "diagnosis_1", 1, 5, ("age_approx", 45)),
}


def split(folder, **options):
    out = folder.parent / "split.json"
    workflow.split(folder, out=out, validation=0.2, test=0.2, force=True, **options)
    return open_split(out)


@pytest.mark.parametrize("name", MADE)
def test_a_published_data_set_is_recognized_and_split(tmp_path, name):
    make, layout, label_set, files, patients, column = MADE[name]
    make(tmp_path / "data")
    found = split(tmp_path / "data")
    assert (found.provenance.layout, found.provenance.label_set) == (layout, label_set)
    table = found.table.sort_values("case_id")
    assert len(table) == CASES
    assert {len(image) if isinstance(image, list) else 1 for image in table["image"]} == {files}
    assert table["patient_id"].nunique() == patients
    if column:
        assert table[column[0]].iloc[0] == column[1]


@pytest.mark.parametrize(
    ("layout", "cases", "first"), [("busi-classes", 8, "benign"), ("busi-masks", 8, "data/benign/benign (1)_mask.png")]
)
def test_busi_is_masks_or_classes_as_the_user_says(tmp_path, caplog, layout, cases, first):
    busi_with_two_masks(tmp_path / "data")
    with pytest.raises(ValueError, match="several layouts fit") as caught:
        split(tmp_path / "data")
    assert [problem.partition(":")[0] for problem in caught.value.problems[1:]] == [
        "--layout busi-classes",
        "--layout busi-masks",
    ]
    found = split(tmp_path / "data", layout=layout)
    assert found.table.sort_values("case_id")["label"].iloc[0] == first
    assert len(found.table) == (9 if layout == "busi-classes" else 8)
    assert ("1 images have several label files" in caplog.text) == (layout == "busi-masks")


@pytest.mark.parametrize("structure", ["liver", "spleen", "heart"])
def test_one_structure_of_totalsegmentator_is_chosen(tmp_path, structure):
    totalsegmentator(tmp_path / "data")
    for n in range(CASES):
        write_label(tmp_path / "data" / f"s{n:04d}" / "segmentations" / "spleen.nii.gz", AFFINE)
    with pytest.raises(ValueError, match="choose one with --label-set: liver, spleen"):
        split(tmp_path / "data")
    if structure == "heart":
        with pytest.raises(ValueError, match="label set 'heart' does not exist in layout 'totalsegmentator'"):
            split(tmp_path / "data", label_set=structure)
    else:
        labels = split(tmp_path / "data", label_set=structure).table["label"]
        assert {Path(label).name for label in labels} == {f"{structure}.nii.gz"}


def test_every_layout_of_a_published_data_set_is_made_here():
    made = {layout for _, layout, *_ in MADE.values()} | {"busi-classes", "busi-masks", "totalsegmentator"}
    others = {"manifest", "isic", "chase", "class-folders", "decathlon", "volumes", "dicom"}
    assert made == set(LAYOUTS) - others


SETTINGS = {
    "chase": ["network_def#channels=[4, 8, 16]", "network_def#strides=[2, 2]", "image_size=[32, 32]"],
    "isic_classification": [
        *("network_def#layers=[1, 1, 1, 1]", "network_def#block_inplanes=[4, 8, 16, 32]", "image_size=[32, 32]")
    ],
    "volume3d": [
        *("network_def#channels=[4, 8, 16]", "network_def#strides=[2, 2]", "patch_size=[16, 16, 16]"),
        'classes=["background", "organ", "lesion"]',
    ],
}


@pytest.mark.parametrize("name", [*MADE, "busi-classes", "busi-masks", "totalsegmentator", "patterns"])
def test_a_published_data_set_is_trained_on_and_reported(tmp_path, name):
    options = {}
    if name in MADE:
        MADE[name][0](tmp_path / "data")
    elif name == "totalsegmentator":
        totalsegmentator(tmp_path / "data")
        options = {"label_set": "liver"}
    elif name == "patterns":
        kits(tmp_path / "data")
        options = {"patterns": Patterns(images="{case}/imaging{ext}", labels="{case}/segmentation{ext}")}
    else:
        busi(tmp_path / "data")
        options = {"layout": name}
    found = split(tmp_path / "data", **options)
    case = found.rows["retain"][0]
    files = image_files(case["image"])
    bundle = (
        "volume3d"
        if ".nii" in files[0]
        else "chase"
        if is_file_label(found.table["label"]).all()
        else "isic_classification"
    )
    settings = [*SETTINGS[bundle], "max_epochs=1"]
    if bundle == "volume3d":
        settings.append(f"network_def#in_channels={len(files)}")
    elif bundle == "isic_classification":
        settings.append(f"classes={json.dumps(found.provenance.classes)}")
    run = workflow.train(bundle, split=found.path, out=tmp_path / "run", settings=settings, quiet=True)
    assert set(pd.read_csv(run / "scores.csv", dtype=str)["case_id"]) == set(found.table["case_id"])
    assert workflow.report([run], out=tmp_path / "report").is_file()


def test_the_weights_of_a_challenge_are_not_classes(tmp_path):
    pictures(tmp_path, "ISIC_2019_Test_Input/ISIC_{n:07d}.jpg")
    rows = [f"ISIC_{n:07d},{n % 2}.0,{1 - n % 2}.0,0.0,1.0,{n % 2}.0" for n in range(1, CASES + 1)]
    table(tmp_path / "ISIC_2019_Test_GroundTruth.csv", "image,MEL,NV,UNK,score_weight,validation_weight", *rows)
    assert sorted(set(read_layout(tmp_path).manifest["label"])) == ["MEL", "NV"]


@pytest.mark.parametrize("name", ["HAM10000_metadata", "HAM10000_metadata.tab", "HAM10000_metadata.csv"])
def test_ham10000_as_the_dataverse_gives_it(tmp_path, name):
    """Its table has tabs and quotes, and masks and the pictures of the challenge's test lie beside it."""
    ham10000(tmp_path)
    rows = (tmp_path / "HAM10000_metadata.csv").read_text().splitlines()
    (tmp_path / "HAM10000_metadata.csv").unlink()
    table(tmp_path / name, rows[0].replace(",", "\t"), *('"' + row.replace(",", '"\t"') + '"' for row in rows[1:]))
    write_mask(tmp_path / "HAM10000_segmentations_lesion_tschandl/ISIC_0000000_segmentation.png", 0)
    write_image(tmp_path / "ISIC2018_Task3_Test_Images/ISIC_0034524.jpg", 99)
    manifest = read_layout(tmp_path).manifest
    assert sorted(set(manifest["label"])) == ["mel", "nv"]
    assert manifest["patient_id"].nunique() == CASES // 2 == len(manifest) // 2


@pytest.mark.parametrize("column", ["diagnosis_4", "diagnosis_5"])
def test_every_level_of_the_archives_diagnoses_can_be_chosen(tmp_path, column):
    pictures(tmp_path, "ISIC_{n:07d}.jpg")
    table(
        tmp_path / "metadata.csv", f"isic_id,diagnosis_1,{column}", *(f"ISIC_{n:07d},B,x{n % 2}" for n in range(1, 9))
    )
    assert sorted(set(read_layout(tmp_path, label_set=column).manifest["label"])) == ["x0", "x1"]


def test_a_case_of_brats_2020_whose_label_has_another_name_is_left_out_and_counted(tmp_path, caplog):
    brats_2020(tmp_path)
    label = tmp_path / "BraTS20_Training_005/BraTS20_Training_005_seg.nii"
    label.rename(label.with_name("W39_1998.09.19_Segm.nii"))
    assert len(read_layout(tmp_path).manifest) == CASES - 1
    assert "1 images have no label, such as" in caplog.text
    assert "1 images or label files that belong to no case" in caplog.text


def test_older_brats_in_folders_by_grade(tmp_path):
    for grade, n in (("HGG", 1), ("LGG", 2), ("HGG", 3)):
        case = f"{grade}/Brats18_2013_{n}_1/Brats18_2013_{n}_1_"
        for number, name in enumerate(("flair", "t1", "t1ce", "t2")):
            write_volume(tmp_path / f"{case}{name}.nii.gz", 10 * n + number)
        write_label(tmp_path / f"{case}seg.nii.gz", AFFINE)
    manifest = read_layout(tmp_path).manifest
    assert manifest["patient_id"].tolist() == [f"Brats18_2013_{n}_1" for n in (1, 2, 3)]


def test_drive_with_the_labels_of_its_test_images(tmp_path):
    drive(tmp_path)
    for n in (31, 32):
        for folder, name in (("1st_manual", "manual1.gif"), ("2nd_manual", "manual2.gif"), ("mask", "test_mask.gif")):
            write_mask(tmp_path / f"test/{folder}/{n}_{name}", n)
    manifest = read_layout(tmp_path).manifest
    assert len(manifest) == CASES + 2
    assert set(manifest["part"]) == {"training", "test"}


def test_kits_23_and_21_beside_what_they_were_made_from(tmp_path):
    kits(tmp_path)
    for name in ("instances/tumor_instance-1_annotation-1.nii.gz", "aggregated_MAJ_seg.nii.gz"):
        write_label(tmp_path / "case_00000" / name, AFFINE)
    with pytest.raises(InputError, match="aggregated_MAJ_seg, segmentation"):
        read_layout(tmp_path)
    assert len(read_layout(tmp_path, label_set="segmentation").manifest) == CASES
