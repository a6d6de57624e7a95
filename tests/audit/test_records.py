"""Records of utility: references, gaps, the paper's criterion, and tables that must be refused."""

import math

import numpy as np
import pandas as pd
import pytest

from mu_monai.audit import Sample, independent_gap, mean_interval, paired_gap, records_table, utility_records
from mu_monai.errors import InputError

SUBSETS = ("retain", "forget", "validation", "test")


def make_scores(*models: str, patients: int = 4, subsets: tuple[str, ...] = SUBSETS) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for model in models:
        for subset in subsets:
            for patient in range(patients):
                for case in range(2):
                    dice = rng.uniform(0.5, 1)
                    name = f"{subset}{patient}"
                    row = {"model": model, "subset": subset, "patient_id": name, "case_id": f"{name}_{case}"}
                    rows.append(row | {"dice": dice, "iou": dice / (2 - dice), "loss": 1 - dice})
    return pd.DataFrame(rows)


def by_key(scores, **settings):
    records = utility_records(scores, n_resamples=100, **settings)
    return {(record.metric, record.model, record.subset): record for record in records}


def sample(scores, model, subset, metric="dice"):
    rows = scores[(scores["model"] == model) & (scores["subset"] == subset)].sort_values("case_id")
    return Sample(rows[metric], rows["patient_id"])


def test_with_a_retrained_model_every_gap_is_to_it_and_paired():
    scores = make_scores("teacher", "retrained", "student")
    records = by_key(scores)
    for subset in SUBSETS:
        record = records["dice", "student", subset]
        gap = paired_gap(sample(scores, "student", subset), sample(scores, "retrained", subset), n_resamples=100)
        assert record.reference == f"retrained/{subset}"
        assert (record.gap, record.gap_low, record.gap_high) == (gap.value, gap.low, gap.high)
        assert record.ideal == records["dice", "retrained", subset].value
        assert records["dice", "teacher", subset].reference == f"retrained/{subset}"
    assert records["dice", "retrained", "forget"].reference == "retrained/test"
    assert records["dice", "retrained", "retain"].reference == ""


def test_without_one_forget_goes_to_unseen_cases_and_the_rest_to_the_teacher():
    scores = make_scores("teacher", "student")
    records = by_key(scores)
    forget = records["dice", "student", "forget"]
    gap = independent_gap(sample(scores, "student", "forget"), sample(scores, "student", "test"), n_resamples=100)
    assert forget.reference == "student/test"
    assert (forget.gap, forget.gap_low, forget.gap_high) == (gap.value, gap.low, gap.high)
    assert forget.ideal == records["dice", "student", "test"].value
    for subset in ("retain", "validation", "test"):
        assert records["dice", "student", subset].reference == f"teacher/{subset}"
        assert records["dice", "teacher", subset].reference == ""
        assert math.isnan(records["dice", "teacher", subset].gap)


def test_a_student_alone_without_unseen_cases_has_no_reference():
    record = by_key(make_scores("student", subsets=("retain", "forget")))["dice", "student", "forget"]
    assert record.reference == ""
    assert math.isnan(record.ideal)


@pytest.mark.parametrize("models", [("teacher", "student"), ("teacher", "retrained", "student")])
def test_the_papers_criterion_stands_beside_the_gap(models):
    scores = make_scores(*models)
    records = by_key(scores)
    for subset in SUBSETS:
        drop = records["dice_drop", "student", subset]
        expected = paired_gap(sample(scores, "teacher", subset), sample(scores, "student", subset), n_resamples=100)
        assert (drop.value, drop.low, drop.high) == (expected.value, expected.low, expected.high)
        assert drop.reference == f"teacher/{subset}"
        assert math.isnan(drop.ideal) if subset == "forget" else drop.ideal == 0


def test_means_intervals_and_counts():
    scores = make_scores("student")
    record = by_key(scores, seed=5)["loss", "student", "test"]
    mean = mean_interval(sample(scores, "student", "test", "loss"), n_resamples=100, seed=5)
    assert (record.value, record.low, record.high) == (mean.value, mean.low, mean.high)
    assert (record.n_patients, record.n_cases) == (4, 8)


def test_the_order_of_the_rows_does_not_matter():
    scores = make_scores("teacher", "retrained", "student")
    shuffled = scores.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(
        records_table(utility_records(scores, n_resamples=50)), records_table(utility_records(shuffled, n_resamples=50))
    )


def test_one_patient_has_a_value_but_no_interval():
    record = by_key(make_scores("student", patients=1))["dice", "student", "forget"]
    assert math.isfinite(record.value)
    assert math.isnan(record.low)
    assert math.isnan(record.gap_low)


def changed(column, value, row=0):
    scores = make_scores("teacher", "student")
    scores[column] = scores[column].astype(object)
    scores.loc[row, column] = value
    return scores


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (make_scores("student").drop(columns=["dice", "iou"]), "no column 'dice', 'iou'"),
        (make_scores("student").head(0), "has no rows"),
        (changed("model", "referee"), "model 'referee' .*allowed: teacher"),
        (changed("subset", "training"), "subset 'training' .*allowed: retain"),
        (changed("subset", "test"), "disagree on the subset of 1 cases \\('retain0_0'\\)"),
        (changed("patient_id", "somebody"), "disagree on the patient_id of 1 cases \\('retain0_0'\\)"),
        (changed("loss", math.nan), "1 rows have missing or infinite scores \\(cases 'retain0_0'\\)"),
        (changed("loss", math.inf), "1 rows have missing or infinite scores"),
        (changed("dice", "high"), "1 rows have missing or infinite scores"),
        (make_scores("teacher", "student").tail(-8), "the teacher has no scores of 8 cases .* and more"),
        (pd.concat([make_scores("student")] * 2), "32 cases have several rows of one model \\('student: retain0_0'"),
    ],
)
def test_refused(scores, message):
    with pytest.raises(InputError, match=message):
        utility_records(scores)


def test_all_problems_come_at_once():
    scores = changed("loss", math.nan)
    scores.loc[3, "subset"] = "test"
    with pytest.raises(InputError, match=r"(?s)2 problems:.*infinite scores.*disagree on the subset"):
        utility_records(scores)


def of_classes(scores):
    """Masks of an organ and a lesion; the lesion is half as well drawn."""
    table = scores.assign(**{"dice[organ]": scores["dice"], "dice[lesion]": scores["dice"] / 2})
    table["dice"] = 0.75 * scores["dice"]
    for name, size in {"organ": 40.0, "lesion": 4.0}.items():
        drawn = size * table[f"dice[{name}]"]
        table = table.assign(
            **{f"hd95[{name}]": 10 - drawn / 4, f"volume[{name}]": drawn, f"true_volume[{name}]": size}
        )
    return table


class TestClassesOfMasks:
    def test_every_class_and_quantity_is_compared_like_the_mean(self):
        scores = of_classes(make_scores("teacher", "retrained", "student"))
        records = by_key(scores)
        for metric in ("dice[organ]", "hd95[lesion]", "volume[organ]", "volume_error[lesion]"):
            record = records[metric, "student", "forget"]
            assert (record.reference, record.n_patients, record.n_cases) == ("retrained/forget", 4, 8)
            assert record.low < record.value < record.high
            assert record.ideal == records[metric, "retrained", "forget"].value
        error = records["volume_error[organ]", "student", "test"].value
        assert error == pytest.approx(40 - records["volume[organ]", "student", "test"].value)
        assert not any(metric.endswith("]_drop") for metric, _, _ in records)
        assert ("dice_drop", "student", "forget") in records

    def test_volumes_of_other_cases_are_no_reference(self):
        records = by_key(of_classes(make_scores("teacher", "student")))
        assert records["volume[organ]", "student", "forget"].reference == ""
        assert records["volume_error[organ]", "student", "forget"].reference == "student/test"
        assert records["volume[organ]", "student", "test"].reference == "teacher/test"

    def test_a_forgotten_class_without_a_retrained_model_should_be_at_zero(self):
        scores = of_classes(make_scores("teacher", "student"))
        records = by_key(scores, forget_classes=["lesion"])
        gone = records["dice[lesion]", "student", "retain"]
        assert (gone.reference, gone.ideal) == ("", 0.0)
        assert math.isnan(records["hd95[lesion]", "student", "retain"].ideal)
        assert math.isnan(records["dice[lesion]", "teacher", "retain"].ideal)
        for subset in SUBSETS:
            assert records["dice[organ]", "student", subset].reference == f"teacher/{subset}"
            assert records["dice", "student", subset].value == records["dice[organ]", "student", subset].value
        assert not any(metric in ("dice_drop", "iou", "iou_drop") for metric, _, _ in records)

    def test_with_one_it_should_be_where_the_retrained_model_is(self):
        records = by_key(of_classes(make_scores("teacher", "retrained", "student")), forget_classes=["lesion"])
        gone = records["dice[lesion]", "student", "retain"]
        assert gone.reference == "retrained/retain"
        assert gone.ideal == records["dice[lesion]", "retrained", "retain"].value
        assert records["dice", "retrained", "forget"].reference == ""

    def test_what_is_refused(self):
        scores = of_classes(make_scores("student"))
        with pytest.raises(
            InputError, match="forgotten class 'nose' has no scores; the score table has 'organ', 'lesi"
        ):
            utility_records(scores, forget_classes=["nose", "lesion"])
        with pytest.raises(InputError, match=r"the forgotten class .*the score table has no class"):
            utility_records(make_scores("student"), forget_classes=["lesion"])
        scores.loc[3, "true_volume[organ]"] = np.nan
        with pytest.raises(InputError, match="1 rows have missing or infinite scores"):
            utility_records(scores)
