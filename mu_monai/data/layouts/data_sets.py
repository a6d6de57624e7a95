"""Published data sets, each by the patterns of its file names."""

from __future__ import annotations

from mu_monai.data.layouts.patterns import Arrangement

_ISIC_PARTS = r"Training|Validation|Test"

ISIC = Arrangement(
    images=(
        "images/{case}{ext}",
        f"ISIC2018_Task1-2_{{_:{_ISIC_PARTS}}}_Input/{{case}}{{ext}}",
        f"ISIC-2017_{{_:{_ISIC_PARTS}_v2}}_Data/{{case}}{{ext}}",
    ),
    labels=(
        "masks/{case}{_:(?:_segmentation)?}{ext}",
        f"ISIC2018_Task1_{{_:{_ISIC_PARTS}}}_GroundTruth/{{case}}{{_:(?:_segmentation)?}}{{ext}}",
        f"ISIC-2017_{{_:{_ISIC_PARTS}_v2}}_Part1_GroundTruth/{{case}}{{_:(?:_segmentation)?}}{{ext}}",
    ),
    aside=("*/*_superpixels.png",),
    expected="<image id>_segmentation.png",
    complete=True,
)
CHASE = Arrangement(
    images=("{case:Image_(?P<patient>[0-9]+)(?P<eye>[LR])}.jpg",),
    labels=("{case:Image_[0-9]+[LR]}_{set:1stHO|2ndHO}.png",),
    label_sets=("1stHO", "2ndHO"),
    expected="<image>_{set}.png",
    complete=True,
)

ARRANGEMENTS: dict[str, tuple[Arrangement, str]] = {
    "drive": (
        Arrangement(
            images=("{part:training|test}/images/{case:[0-9]+}_{_:training|test}{ext}",),
            labels=("{part:training|test}/1st_manual/{case:[0-9]+}_manual1{ext}",),
            aside=("*/mask/*", "*/2nd_manual/*"),
        ),
        "DRIVE: training/images/21_training.tif with training/1st_manual/21_manual1.gif",
    ),
    "stare": (
        Arrangement(
            images=("**/{case:im[0-9]{4}}{ext}",),
            labels=("**/{case:im[0-9]{4}}.{set:ah|vk}{ext}",),
            label_sets=("ah", "vk"),
        ),
        "STARE: im0001.ppm with im0001.ah.ppm, in one folder or several",
    ),
    "hrf": (
        Arrangement(
            images=("images/{case:[0-9]+_(?P<group>dr|g|h)}{ext}",),
            labels=("manual1/{case:[0-9]+_(?:dr|g|h)}{ext}",),
            aside=("mask/*",),
        ),
        "HRF: images/01_dr.jpg with manual1/01_dr.tif",
    ),
    "ph2": (
        Arrangement(
            images=("**/{case}/{case}_Dermoscopic_Image/{case}{ext}",),
            labels=("**/{case}/{case}_lesion/{case}_lesion{ext}",),
            aside=("**/*_roi*/*",),
        ),
        "PH2: IMD002/IMD002_Dermoscopic_Image/IMD002.bmp with IMD002/IMD002_lesion/IMD002_lesion.bmp",
    ),
    "busi-classes": (
        Arrangement(
            images=(r"{class:benign|malignant|normal}/{case:(?:benign|malignant|normal) \([0-9]+\)}{ext}",),
            aside=("*/*_mask{_:(?:_[0-9]+)?}{ext}",),
        ),
        "BUSI, its three folders as classes: 'benign/benign (1).png' beside 'benign/benign (1)_mask.png'",
    ),
    "busi-masks": (
        Arrangement(
            images=(r"{group:benign|malignant|normal}/{case:(?:benign|malignant|normal) \([0-9]+\)}{ext}",),
            labels=("{group:benign|malignant|normal}/{case}_mask{_:(?:_[0-9]+)?}{ext}",),
            several=True,
        ),
        "BUSI with its masks; images with several masks are left out",
    ),
    "nnunet": (
        Arrangement(
            images=("imagesTr/{case}_{channel:[0-9]{4}}{ext}",),
            labels=("labelsTr/{case}{ext}",),
            aside=("{_:images|labels}Ts/*",),
        ),
        "nnU-Net's raw format: imagesTr/a_0000.nii.gz (or PNG) with labelsTr/a.nii.gz",
    ),
    "kits": (
        Arrangement(
            images=("{case:case_[0-9]+}/imaging{ext}",),
            labels=("{case:case_[0-9]+}/{set:segmentation|aggregated_(?:MAJ|AND|OR)_seg}{ext}",),
            aside=("*/{_:instances|segmentations|raw}/**/*",),
        ),
        "KiTS: case_00000/imaging.nii.gz with case_00000/segmentation.nii.gz",
    ),
    "lits": (
        Arrangement(images=("**/volume-{case:[0-9]+}{ext}",), labels=("**/segmentation-{case:[0-9]+}{ext}",)),
        "LiTS: volume-0.nii with segmentation-0.nii, in one folder or several",
    ),
    "btcv": (
        Arrangement(images=("**/img/img{case:[0-9]+}{ext}",), labels=("**/label/label{case:[0-9]+}{ext}",)),
        "BTCV: Training/img/img0001.nii.gz with Training/label/label0001.nii.gz",
    ),
    "amos": (
        Arrangement(
            images=("images{part:Tr|Va}/{case:amos_[0-9]+}{ext}",),
            labels=("labels{part:Tr|Va}/{case:amos_[0-9]+}{ext}",),
        ),
        "AMOS without its dataset.json: imagesTr/amos_0001.nii.gz with labelsTr/amos_0001.nii.gz",
    ),
    "totalsegmentator": (
        Arrangement(images=("{case:s[0-9]+}/{_:ct|mri}{ext}",), labels=("{case:s[0-9]+}/segmentations/{set}{ext}",)),
        "TotalSegmentator: s0001/ct.nii.gz with s0001/segmentations/liver.nii.gz; the label set is the structure",
    ),
    "brats": (
        Arrangement(
            images=(
                "**/{case:(?P<patient>BraTS[^/]*?)(?:-[0-9]{3})?}/{case}{_:[_-]}{channel:flair|t1|t1ce|t1c|t1n|t2|t2f|t2w}{ext}",
            ),
            labels=("**/{case:BraTS[^/]*}/{case}{_:[_-]}seg{ext}",),
        ),
        "BraTS: a folder per case with its sequences, BraTS2021_00000/BraTS2021_00000_t1.nii.gz, and ..._seg.nii.gz",
    ),
    "bids": (
        Arrangement(
            images=(
                "{patient:sub-[^_/]+}/{_:(?:ses-[^_/]+/)?}{_:anat|ct|dwi|perf}/"
                "{case:sub-[^_/]+(?:_ses-[^_/]+)?(?:_(?:acq|run|rec|ce)-[^_/]+)*}_{channel:[A-Za-z0-9]+}{ext}",
            ),
            labels=(
                "derivatives/{set:[^/]+}/**/{case:sub-[^_/]+(?:_ses-[^_/]+)?(?:_(?:acq|run|rec|ce)-[^_/]+)*}"
                "{_:(?:_[a-z]+-[^_/]+)*}_{_:dseg|mask|label|seg}{ext}",
            ),
        ),
        "BIDS: sub-01/anat/sub-01_T1w.nii.gz with derivatives/<label set>/sub-01/anat/sub-01_dseg.nii.gz",
    ),
}
