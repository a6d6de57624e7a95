"""Per-case scores, against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader, Dataset
from monai.inferers import SlidingWindowInferer
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from torch import nn

from mu_monai.engine import ScoreSubsets, predict_scores
from mu_monai.engine.curve import epoch_terms
from mu_monai.errors import InputError
from mu_monai.runs.scores import COLUMNS, MASK

P = 1 / (1 + math.exp(-2))  # the probability of logit 2


def case(logits: list[float], label: list[float], name: str = "a") -> dict:
    """A case whose image is its logits, so that the identity is the network."""
    shape = (1, 1, len(logits))
    tensors = {"image": torch.tensor(logits, dtype=torch.float32), "label": torch.tensor(label, dtype=torch.float32)}
    tensors = {name: value.reshape(shape) for name, value in tensors.items()}
    return {**tensors, "case_id": f"case-{name}", "patient_id": f"patient-{name}"}


def score(*cases: dict, batch_size: int = 1, loss: nn.Module | None = None) -> pd.DataFrame:
    loader = DataLoader(Dataset(list(cases)), batch_size=batch_size)
    return predict_scores(nn.Identity(), loader, loss or nn.BCEWithLogitsLoss())


def test_scores_are_those_worked_out_by_hand():
    (row,) = score(case([2, 2, -2, -2], [1, 0, 0, 1])).to_dict("records")
    assert row["case_id"] == "case-a"
    assert row["patient_id"] == "patient-a"
    assert row["dice"] == pytest.approx(2 * 1 / (2 + 2))
    assert row["iou"] == pytest.approx(1 / 3)
    assert row["confidence"] == pytest.approx(P)
    assert row["bce"] == pytest.approx((-2 * math.log(P) - 2 * math.log(1 - P)) / 4)


@pytest.mark.parametrize(
    ("logits", "label", "dice", "iou"),
    [
        ([9, 9, -9, -9], [1, 1, 0, 0], 1, 1),
        ([9, 9, -9, -9], [0, 0, 1, 1], 0, 0),
        ([9, 9, 9, 9], [1, 0, 0, 0], 2 / 5, 1 / 4),
        ([-9, -9, -9, -9], [1, 0, 0, 0], 0, 0),
        ([9, -9, -9, -9], [0, 0, 0, 0], 0, 0),
        ([-9, -9, -9, -9], [0, 0, 0, 0], 1, 1),
        ([0, 0, 0, 0], [0, 0, 0, 0], 1, 1),
    ],
    ids=["same", "apart", "too much", "nothing found", "false alarm", "both empty", "probability 0.5 is background"],
)
def test_dice_and_iou_at_their_limits(logits, label, dice, iou):
    (row,) = score(case(logits, label)).to_dict("records")
    assert row["dice"] == pytest.approx(dice)
    assert row["iou"] == pytest.approx(iou)


@pytest.mark.parametrize(("logit", "expected"), [(0.0, 0.5), (100.0, 1.0), (-100.0, 1.0), (2.0, P), (-2.0, P)])
def test_confidence_is_the_probability_of_the_answer(logit, expected):
    (row,) = score(case([logit] * 4, [0] * 4)).to_dict("records")
    assert row["confidence"] == pytest.approx(expected)


@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_extreme_logits_give_finite_scores(logit):
    (row,) = score(case([logit] * 4, [0, 1, 0, 1])).to_dict("records")
    assert all(math.isfinite(value) for value in row.values() if not isinstance(value, str))
    assert row["bce"] == pytest.approx(5e3)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 8])
def test_scores_belong_to_cases_whatever_the_batch_size(batch_size):
    generator = torch.Generator().manual_seed(0)
    cases = [
        case(
            torch.randn(6, generator=generator).tolist(),
            (torch.rand(6, generator=generator) > 0.5).float().tolist(),
            str(i),
        )
        for i in range(5)
    ]
    loss = DiceCELoss(sigmoid=True, batch=True)  # a loss that mixes the cases of a batch
    pd.testing.assert_frame_equal(
        score(*cases, batch_size=batch_size, loss=loss), score(*cases, loss=loss), check_exact=True
    )


def test_the_loss_is_the_given_loss_of_one_case():
    cases = [case([1.0, -3.0], [1, 0], "a"), case([0.5, 4.0], [0, 1], "b")]
    loss = DiceCELoss(sigmoid=True)
    expected = [loss(c["image"][None], c["label"][None]).item() for c in cases]
    assert score(*cases, batch_size=2, loss=loss)["loss"].tolist() == pytest.approx(expected)


def test_a_volume_is_scored_as_an_image(make_cases):
    flat = case([2, 2, -2, -2], [1, 0, 0, 1])
    volume = {**flat, "image": flat["image"].reshape(1, 2, 1, 2), "label": flat["label"].reshape(1, 2, 1, 2)}
    pd.testing.assert_frame_equal(score(volume), score(flat))


class TestClassifier:
    """Logits `(B, K)`: the image of a case is its logits, so that the identity is the network."""

    @staticmethod
    def case(logits: list[float], label: int, name: str = "a") -> dict:
        ids = {"case_id": f"case-{name}", "patient_id": f"patient-{name}"}
        return {"image": torch.tensor(logits), "label": torch.tensor(label), **ids}

    @staticmethod
    def score(*cases: dict, batch_size: int = 1, **settings) -> pd.DataFrame:
        loader = DataLoader(Dataset(list(cases)), batch_size=batch_size)
        return predict_scores(nn.Identity(), loader, nn.CrossEntropyLoss(label_smoothing=0.1), **settings)

    def test_scores_are_those_worked_out_by_hand(self):
        logits = [math.log(0.2), math.log(0.7), math.log(0.1)]
        table = self.score(self.case(logits, 1, "a"), self.case(logits, 2, "b"), classes=["akiec", "mel", "nv"])
        assert list(table.columns) == [
            *("patient_id", "case_id", "loss", "cross_entropy", "accuracy", "confidence", "true_probability"),
            *("entropy", "modified_entropy", "logit_confidence", "label", "predicted"),
        ]
        assert table["cross_entropy"].tolist() == pytest.approx([-math.log(0.7), -math.log(0.1)])
        smooth = -sum(math.log(p) for p in (0.2, 0.7, 0.1)) / 3
        assert table["loss"].tolist() == pytest.approx([0.9 * c + 0.1 * smooth for c in table["cross_entropy"]])
        assert table["accuracy"].tolist() == [1.0, 0.0]
        assert table["confidence"].tolist() == pytest.approx([0.7, 0.7])
        assert table["true_probability"].tolist() == pytest.approx([0.7, 0.1])
        assert table["label"].tolist() == ["mel", "nv"]
        assert table["predicted"].tolist() == ["mel", "mel"]

    def test_without_names_classes_are_numbers(self):
        (row,) = self.score(self.case([0.0, 3.0], 0)).to_dict("records")
        assert (row["label"], row["predicted"]) == (0, 1)

    @pytest.mark.parametrize("batch_size", [1, 2, 5])
    def test_scores_belong_to_cases_whatever_the_batch_size(self, batch_size):
        generator = torch.Generator().manual_seed(0)
        cases = [self.case(torch.randn(4, generator=generator).tolist(), i % 4, str(i)) for i in range(5)]
        pd.testing.assert_frame_equal(self.score(*cases, batch_size=batch_size), self.score(*cases))

    @pytest.mark.parametrize("logit", [-1e4, 1e4])
    def test_extreme_logits_give_finite_scores(self, logit):
        (row,) = self.score(self.case([logit, 0.0], 0)).to_dict("records")
        assert all(math.isfinite(value) for value in row.values() if not isinstance(value, str))
        assert 0 <= row["true_probability"] <= row["confidence"] <= 1

    def test_other_numbers_of_classes_are_refused(self):
        with pytest.raises(InputError, match=r"has 2 outputs, but there are 3 classes \(a, b, c\); give one name per"):
            self.score(self.case([0.0, 1.0], 0), classes=["a", "b", "c"])
        with pytest.raises(InputError, match="at least 2 outputs, one per class, and this network has 1"):
            self.score(self.case([0.0], 0))

    def test_a_run_records_accuracy_and_writes_class_names(self, tmp_path):
        network = nn.Linear(2, 2).requires_grad_(False)
        network.weight.copy_(torch.eye(2))
        network.bias.zero_()
        cases = [self.case([1.0, 0.0], label, str(label)) for label in (0, 1)]
        datasets = dict.fromkeys(("validation", "test"), Dataset(cases))
        scorer = ScoreSubsets(datasets, nn.CrossEntropyLoss(), classes=["melanoma", "nevus"])
        engine, rows = Trainer(network), []
        scorer.attach(engine)
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: rows.append(epoch_terms(engine)))
        engine.run([0], max_epochs=1)
        assert rows == [{"validation_loss": pytest.approx(math.log(1 + math.e) - 0.5), "validation_accuracy": 0.5}]
        table = scorer.write({"teacher": network}, tmp_path)
        assert set(table["label"]) == {"melanoma", "nevus"}
        assert set(table["predicted"]) == {"melanoma"}
        pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "scores.csv"), table)


def test_scoring_builds_no_graph():
    network = nn.Conv2d(1, 1, 1)
    seen = []
    network.register_forward_hook(lambda module, args, output: seen.append(output.requires_grad))
    predict_scores(network, DataLoader(Dataset([case([1, 1], [1, 1])])), nn.BCEWithLogitsLoss())
    assert seen == [False]


class Trainer(Engine):
    """An engine with a network, which is all that the scorer asks for."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(lambda engine, batch: network.train())
        self.network = network


class TestScoreSubsets:
    """Means into the curve during a run, every case at its end."""

    @pytest.fixture
    def scorer(self, datasets) -> ScoreSubsets:
        return ScoreSubsets(datasets, DiceCELoss(sigmoid=True), batch_size=2)

    def test_a_run_records_means_over_cases_of_every_subset_but_test(self, scorer, make_unet, loaders):
        engine, rows = Trainer(make_unet()), []
        scorer.attach(engine)
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: rows.append(epoch_terms(engine)))
        engine.run([0], max_epochs=1)
        expected = {
            f"{subset}_{column}": predict_scores(make_unet(), loaders[subset], scorer.loss_function)[column].mean()
            for subset in ("retain", "forget", "validation")
            for column in ("loss", "dice")
        }
        assert rows == [pytest.approx(expected)]

    def test_a_run_never_touches_the_test_cases(self, datasets, make_unet):
        class Forbidden(Dataset):
            def __getitem__(self, index):
                raise AssertionError("test cases were read")

        scorer = ScoreSubsets({**datasets, "test": Forbidden(datasets["test"].data)}, DiceCELoss(sigmoid=True))
        engine = Trainer(make_unet())
        scorer.attach(engine)
        engine.run([0], max_epochs=2)
        with pytest.raises(AssertionError, match="test cases were read"):
            predict_scores(engine.network, scorer.loaders["test"], scorer.loss_function)

    @pytest.mark.parametrize(
        ("interval", "epochs", "expected"), [(1, 3, [1, 2, 3]), (2, 5, [2, 4, 5]), (3, 3, [3]), (9, 2, [2])]
    )
    def test_every_interval_and_the_last_epoch_are_scored(self, datasets, make_unet, interval, epochs, expected):
        scorer, engine, scored = (
            ScoreSubsets(datasets, nn.BCEWithLogitsLoss(), interval=interval),
            Trainer(make_unet()),
            [],
        )
        scorer.attach(engine)
        engine.add_event_handler(
            Events.EPOCH_COMPLETED, lambda: scored.extend([engine.state.epoch] * bool(epoch_terms(engine)))
        )
        engine.run([0], max_epochs=epochs)
        assert scored == expected

    @pytest.mark.parametrize("interval", [0, -1])
    def test_an_interval_below_one_is_refused(self, datasets, interval):
        with pytest.raises(InputError, match=f"interval={interval} is not allowed; score after every 1, 2"):
            ScoreSubsets(datasets, nn.BCEWithLogitsLoss(), interval=interval)

    def test_cases_are_scored_in_their_order_whatever_the_batches(self, datasets, make_unet):
        one, three = (
            ScoreSubsets(datasets, DiceCELoss(sigmoid=True), batch_size=size, num_workers=workers)
            for size, workers in ((1, 0), (3, 1))
        )
        found = [scorer.score(make_unet(), scorer.loaders["retain"]) for scorer in (one, three)]
        assert found[0]["case_id"].tolist() == [case["case_id"] for case in datasets["retain"].data]
        pd.testing.assert_frame_equal(*found)

    def test_the_warning_that_nothing_happened_stands_beside_others(self, scorer, make_student):
        engine = Trainer(make_student())
        scorer.attach(engine)
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: setattr(engine.state, "warnings", ["another"]))
        engine.run([0], max_epochs=1)
        first, second = engine.state.warnings
        assert first == "another"
        assert "less than 1 %" in second

    def test_a_class_that_the_teacher_never_finds_is_said(self, scorer, make_student, monkeypatch):
        engine, table = Trainer(make_student()), pd.DataFrame({"dice[organ]": [0.0, 0.5], "dice[lesion]": [0.0, 0.0]})
        monkeypatch.setattr(scorer, "score", lambda *_, **__: table)
        scorer.forget_classes = ("lesion",)
        scorer._warn_where_nothing_happened(engine)
        never, unchanged = engine.state.warnings
        assert never.startswith("the teacher has a Dice of 0 for lesion in every training case")
        assert "less than 1 % (teacher 0.0000, student 0.0000)" in unchanged

    @pytest.mark.parametrize(
        ("dice", "organ", "lesion", "forget_classes", "told"),
        [
            (0.72, 0.75, 0.65, (), None),
            (0.65, 0.75, 0.55, (), "is 0.650, and the original's 0.800"),
            (0.4, 0.8, 0.0, ("lesion",), None),
            (0.4, 0.5, 0.3, ("lesion",), "is 0.500, and the original's 0.800"),
        ],
    )
    def test_a_model_that_lost_what_it_was_to_keep_is_said(
        self, scorer, make_student, monkeypatch, dice, organ, lesion, forget_classes, told
    ):
        engine, columns = Trainer(make_student()), ["dice", "dice[organ]", "dice[lesion]"]
        before, after = ([0.8, 0.8, 0.8], [dice, organ, lesion])
        tables = iter(pd.DataFrame([row, row], columns=columns) for row in (before, after))
        monkeypatch.setattr(scorer, "score", lambda *_, **__: next(tables))
        scorer.forget_classes = forget_classes
        scorer._warn_where_it_is_ruined(engine)
        warnings = getattr(engine.state, "warnings", [])
        assert [f"the mean Dice on validation cases {told}" in warning for warning in warnings] == [True] * bool(told)

    def test_scoring_does_not_change_the_network(self, scorer, make_unet):
        network = make_unet()
        before = {name: value.clone() for name, value in network.state_dict().items()}
        engine = Trainer(network)
        scorer.attach(engine)
        engine.run([0], max_epochs=1)
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())

    def test_an_empty_subset_is_passed_over(self, datasets, make_unet, tmp_path):
        empty = dict.fromkeys(("forget", "validation"), Dataset([]))
        scorer = ScoreSubsets({**datasets, **empty}, DiceCELoss(sigmoid=True))
        engine, rows = Trainer(make_unet()), []
        scorer.attach(engine)
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: rows.append(epoch_terms(engine)))
        engine.run([0], max_epochs=1)
        assert sorted(rows[0]) == ["retain_dice", "retain_loss"]
        assert set(scorer.write({"teacher": make_unet()}, tmp_path)["subset"]) == {"retain", "test"}

    def test_every_case_of_every_subset_is_written_for_every_model(
        self, scorer, make_unet, make_student, tmp_path, loaders
    ):
        student = make_student()
        table = scorer.write({"teacher": student.teacher, "student": student.train()}, tmp_path)
        assert list(table.columns) == [
            *("model", "subset", "patient_id", "case_id"),
            *(column.name for column in COLUMNS if MASK in column.kinds),
        ]
        counts = table.groupby(["model", "subset"]).size().to_dict()
        assert counts == {
            (model, subset): len(loader.dataset)
            for model in ("teacher", "student")
            for subset, loader in loaders.items()
        }
        assert not table.duplicated(["model", "subset", "case_id"]).any()
        pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "scores.csv"), table)

    def test_dropout_and_batch_statistics_are_off_while_cases_are_scored(self, scorer, make_unet, tmp_path):
        table = scorer.write({"teacher": make_unet().train()}, tmp_path)
        other = scorer.write({"teacher": make_unet().eval()}, tmp_path)
        pd.testing.assert_frame_equal(table, other, check_exact=True)

    def test_examples_are_the_first_ids_however_they_look(self, scorer, make_unet, tmp_path):
        scorer.write({"teacher": make_unet()}, tmp_path)
        with np.load(tmp_path / "examples.npz", allow_pickle=False) as examples:
            assert examples["case_id"].tolist() == [f"{s}-{i}" for s in ("retain", "forget") for i in range(3)]
            assert examples["subset"].tolist() == ["retain"] * 3 + ["forget"] * 3

    def test_examples_have_the_documented_shapes_types_and_content(self, scorer, make_student, loaders, tmp_path):
        student = make_student()
        scorer.write({"teacher": student.teacher, "student": student}, tmp_path)
        cases = {item["case_id"]: item for loader in loaders.values() for item in loader.dataset.data}
        with np.load(tmp_path / "examples.npz", allow_pickle=False) as examples:
            assert sorted(examples.files) == ["case_id", "image", "label", "student", "subset", "teacher"]
            assert (examples["image"].dtype, examples["image"].shape) == (np.uint8, (6, 16, 16, 1))
            assert (examples["label"].dtype, examples["label"].shape) == (np.uint8, (6, 16, 16))
            for role in ("teacher", "student"):
                assert (examples[role].dtype, examples[role].shape) == (np.float32, (6, 16, 16))
            for row, name in enumerate(examples["case_id"]):
                assert np.array_equal(examples["label"][row], cases[name]["label"][0])
                assert (examples["image"][row].min(), examples["image"][row].max()) == (0, 255)
            image = torch.stack([cases[name]["image"] for name in examples["case_id"]])
            expected = student.teacher(image).sigmoid()[:, 0].numpy()
            np.testing.assert_allclose(examples["teacher"], expected, atol=1e-6)

    def test_color_images_keep_their_channels_and_flat_images_are_black(self, tmp_path):
        cases = [case([0.0] * 4, [0] * 4, str(index)) for index in range(2)]
        for item in cases:
            item["image"] = torch.zeros(3, 1, 4)
        network = nn.Conv2d(3, 1, 1)
        ScoreSubsets({"retain": Dataset(cases)}, nn.BCEWithLogitsLoss()).write({"teacher": network}, tmp_path)
        with np.load(tmp_path / "examples.npz") as examples:
            assert examples["image"].shape == (2, 1, 4, 3)
            assert not examples["image"].any()

    def test_examples_are_answered_as_the_scores_are(self, tmp_path):
        """A network whose strides do not fit an image answers it through a window alone."""
        image = torch.rand(1, 38, 45, generator=torch.Generator().manual_seed(0))
        cases = [{**case([0.0], [0]), "image": image, "label": torch.zeros(1, 38, 45)}]
        torch.manual_seed(0)
        network, window = UNet(2, 1, 1, channels=(4, 8, 16), strides=(2, 2)).eval(), SlidingWindowInferer((32, 32))
        with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
            network(image[None])
        scorer = ScoreSubsets({"retain": Dataset(cases)}, DiceCELoss(sigmoid=True), inferer=window)
        scorer.write({"teacher": network}, tmp_path)
        with np.load(tmp_path / "examples.npz", allow_pickle=False) as examples, torch.no_grad():
            expected = window(image[None], network).sigmoid()[0]
            np.testing.assert_array_equal(examples["teacher"], expected.numpy())

    def test_without_training_cases_there_are_no_examples(self, datasets, make_unet, tmp_path):
        scorer = ScoreSubsets({"test": datasets["test"]}, DiceCELoss(sigmoid=True))
        scorer.write({"teacher": make_unet()}, tmp_path)
        assert not (tmp_path / "examples.npz").exists()
