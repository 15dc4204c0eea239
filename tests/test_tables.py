import numpy as np
import pytest

from distill.evaluation.table_text import describe, markdown
from distill.evaluation.tables import PAPER_GAP, build
from distill.program import UserError
from helpers.options import table_spec
from helpers.tabled import APS, GAP, evaluation, study


def test_numbers_by_hand():
    spec, evaluations = study(reference={"teacher": 54.9})
    frame = build(spec, evaluations).frame.set_index("row")
    assert frame.loc["teacher", "AP"] == pytest.approx(40)
    assert frame.loc["teacher", "AP sd"] == pytest.approx(2)  # √((2² + 0 + 2²) / 2)
    assert frame.loc["long", "AP sd"] == pytest.approx(np.sqrt((2**2 + 1**2 + 3**2) / 2))
    assert frame.loc["teacher", ["views", "seeds"]].tolist() == ["plain", 3]
    assert frame.loc["teacher", "AP reference"] == 54.9
    assert frame.loc["teacher", "AP difference"] == pytest.approx(40 - 54.9)
    assert frame.loc["student", ["AP reference", "AP difference"]].isna().all()
    beside = ["AP", "AP sd", "AP low", "AP high", "AP reference", "AP difference", "AP50", "AP50 sd", "AP75"]
    assert frame.columns.tolist()[2:11] == beside
    assert frame[["AP low", "AP high"]].isna().all(axis=None)  # of evaluations that were not resampled
    assert "APS" in frame


def test_keypoint_tables_have_box_ap_beside_and_no_aps():
    table = build(*study("keypoints"))
    assert table.metrics == ["AP", "AP50", "AP75", "APM", "APL", "box AP"]
    assert table.frame["box AP"].tolist() == pytest.approx([70] * 4)
    assert table.frame["AP"].iloc[0] == pytest.approx(40)
    assert build(*study(metrics=["AP75"])).metrics == ["AP75"]


def test_a_single_seed_has_no_spread():
    spec = table_spec(task="boxes", rows=[{"name": "a", "views": "plain", "evaluations": ["a.json"]}])
    table = build(spec, {"a.json": evaluation(0.12345)})
    assert np.isnan(table.frame["AP sd"].iloc[0])
    assert "| a | plain | 1 | 12.3 | 12.3 |" in markdown(table)
    assert "±" not in markdown(table)


def test_what_no_evaluation_gave_stays_empty():
    spec, evaluations = study(metrics=["AP", "APS"])
    evaluations["teacher-1.json"]["boxes"] |= {"APS": None}
    table = build(spec, evaluations)
    assert table.frame["APS"].isna().tolist() == [True, False, False, False]
    assert "| teacher | plain | 3 | 40.0 ± 2.0 |  |" in markdown(table)


def test_gap_closed_by_hand():
    table = build(*study(gap=GAP))
    shares = [100 * 3 / 6, 100 * 3 / 7, 100 * 1 / 2]  # above "long", whose mean is the higher
    [gap] = table.gaps
    assert gap.baseline == "long"
    assert gap.shares == pytest.approx(shares)
    assert gap.of_means == pytest.approx(100 * (145 / 3 - 46) / (51 - 46))
    frame = table.frame.set_index("row")
    assert frame.loc["student", "gap closed"] == pytest.approx(np.mean(shares))
    assert frame.loc["student", "gap closed sd"] == pytest.approx(np.std(shares, ddof=1))
    assert frame.loc["student", "gap closed in the paper"] == PAPER_GAP == pytest.approx(51.96, abs=0.01)
    assert frame["gap closed"].count() == 1
    assert (
        "Share of the gap from long to upper that student closes: 48% ± 4 "
        "(seeds: 50%, 43%, 50%; of the mean APs: 47%; paper: 52%)."
    ) in markdown(table)


def test_intervals_are_paired_over_images_and_seeds():
    """What makes an image or a seed easy for all rows is in no gain, and in no share of the gap."""
    spec, evaluations = study(gap=GAP, gains={"student": {"over": "long"}})
    rng = np.random.default_rng(0)
    easy, lucky = rng.normal(0, 0.05, 1000), rng.normal(0, 0.03, 3)
    for name, ap in {"teacher": 0.3, "long": 0.4, "student": 0.45, "upper": 0.5}.items():
        for seed in range(3):
            block = evaluations[f"{name}-{seed}.json"]["boxes"]
            block["resampled"] = (ap + easy + lucky[seed]).tolist()
    table = build(spec, evaluations)
    frame = table.frame.set_index("row")
    low, high = frame.loc["student", ["AP low", "AP high"]]
    assert high - low > 100 * 4 * 0.04
    assert frame.loc["student", ["gain low", "gain high"]].tolist() == pytest.approx([5, 5])
    assert frame.loc["student", ["gap closed low", "gap closed high"]].tolist() == pytest.approx([50, 50])
    text = markdown(table)
    assert " [+5.0, +5.0] |" in text
    assert "of the mean APs: 47% [50%, 50%]; paper: 52%" in text
    assert "[95% interval over images and seeds, paired in gains and shares]" in text


def share(row, evaluations):
    """All seeds have the model of the first."""
    first, *others = row["evaluations"]
    row["evaluations"] = [first] * (1 + len(others))
    for path in others:
        del evaluations[path]


def test_a_model_that_all_seeds_share_is_one():
    spec, evaluations = study(gains={"student": {"over": "teacher"}})
    share(spec["rows"][0], evaluations)
    frame = build(spec, evaluations).frame.set_index("row")
    assert frame.loc["teacher", ["seeds", "AP"]].tolist() == pytest.approx([1, 38])
    assert np.isnan(frame.loc["teacher", "AP sd"])
    assert frame.loc["student", "gain"] == pytest.approx(np.mean(APS["student"]) * 100 - 38)
    assert frame.loc["student", "gain sd"] == pytest.approx(100 * np.std(APS["student"], ddof=1))
    share(spec["rows"][2], evaluations)
    frame = build(spec, evaluations).frame.set_index("row")
    assert frame.loc["student", "gain"] == pytest.approx(APS["student"][0] * 100 - 38)
    assert np.isnan(frame.loc["student", "gain sd"])  # one difference, not three that agree


def test_a_share_of_models_that_all_seeds_share_is_one():
    spec, evaluations = study(gap={"baseline": "teacher", "student": "student", "upper": "upper"})
    (gap,) = build(spec, evaluations).gaps
    assert len(gap.shares) == 3
    share(spec["rows"][0], evaluations)
    (gap,) = build(spec, evaluations).gaps
    assert len(gap.shares) == 3  # the baseline of one, students of three
    for row in spec["rows"][1:]:
        share(row, evaluations)
    (gap,) = build(spec, evaluations).gaps
    assert gap.shares == pytest.approx([gap.of_means])
    assert "seeds:" not in describe(gap)


def test_the_interval_of_a_shared_model_is_that_of_its_images():
    """As many resamples of one model as of three that are the same would say that there are no seeds."""
    low, high, gain = [], [], []
    for seeds in (1, 2, 3):
        spec, evaluations = study(gains={"student": {"over": "teacher"}})
        for row, ap, half in ((spec["rows"][0], 0.38, 0.08), (spec["rows"][2], APS["student"][0], 0.12)):
            share(row, evaluations)
            row["evaluations"] = row["evaluations"][:1] * seeds
            resampled = np.linspace(ap - half, ap + half, 1000).tolist()
            evaluations[row["evaluations"][0]]["boxes"]["resampled"] = resampled
        frame = build(spec, evaluations).frame.set_index("row")
        low, high = [*low, frame.loc["teacher", "AP low"]], [*high, frame.loc["teacher", "AP high"]]
        gain.append(frame.loc["student", ["gain low", "gain high"]].tolist())
    assert low == pytest.approx([30.4] * 3, abs=0.1)
    assert high == pytest.approx([45.6] * 3, abs=0.1)
    middle = 100 * APS["student"][0] - 38
    for ends in gain:
        assert ends == pytest.approx([middle - 3.8, middle + 3.8], abs=0.1)


def test_folds_are_resampled_each_by_itself():
    """What makes an image easy for all rows is in no gain. It cancels between folds, not between seeds."""
    spec, evaluations = study(gap=GAP, gains={"student": {"over": "long"}})
    easy = np.random.default_rng(0).normal(0, 0.05, 1000)
    for name, ap in {"teacher": 0.3, "long": 0.4, "student": 0.45, "upper": 0.5}.items():
        for fold in range(3):
            evaluations[f"{name}-{fold}.json"]["boxes"]["resampled"] = (ap + easy).tolist()

    def spread(table):
        low, high = table.frame.set_index("row").loc["student", ["AP low", "AP high"]]
        return high - low

    seeds, folds = build(spec, evaluations), build({**spec, "over": "folds"}, evaluations)
    assert spread(folds) < 0.7 * spread(seeds)
    student = folds.frame.set_index("row").loc["student"]
    assert student[["folds", "gain low", "gain high"]].tolist() == pytest.approx([3, 5, 5])
    text = markdown(folds)
    assert text.startswith("| row | views | folds | AP |")
    assert "over the folds; [95% interval over images and folds, paired" in text
    assert "(folds: 50%, 43%, 50%; of the mean APs: 47% [50%, 50%]" in text


def test_each_of_several_students_closes_a_share():
    table = build(*study(gap={**GAP, "student": ["student", "teacher"]}))
    assert [(gap.student, round(gap.of_means)) for gap in table.gaps] == [("student", 47), ("teacher", -120)]
    assert table.frame["gap closed"].notna().tolist() == [True, False, True, False]
    assert "that teacher closes: -174%" in markdown(table)


def test_references_of_several_metrics_stand_beside_them():
    reference = {"teacher": {"AP": 39.0, "APM": 43.7}, "student": {"APM": 45.5}}
    table = build(*study(reference=reference))
    frame = table.frame.set_index("row")
    assert frame.loc["teacher", "APM difference"] == pytest.approx(40 - 43.7)
    assert frame.loc["student", "AP reference":"AP difference"].isna().all()
    assert "AP50 reference" not in frame
    assert "| APM | APM reference | APM difference | APL |" in markdown(table)


def test_what_others_have_published_stands_beside():
    table = build(*study(published={"STAC": {"student": 24.38}, "Soft Teacher": {"teacher": 20.9}}))
    assert table.frame["AP of STAC"].isna().tolist() == [True, True, False, True]
    text = markdown(table)
    assert text.splitlines()[0].endswith("| AP of STAC | AP of Soft Teacher |")
    assert text.splitlines()[4].endswith("| 24.4 |  |")


def test_gains_by_hand():
    gains = {
        "student": {"over": "long", "reference": [1.7, 2.0]},
        "upper": {"over": "student", "reference": 1.0},
        "long": {"over": "teacher"},
    }
    table = build(*study(gains=gains))
    frame = table.frame.set_index("row")
    assert frame.loc["student", "gain"] == pytest.approx(np.mean([3, 3, 1]))
    assert frame.loc["student", "gain sd"] == pytest.approx(np.std([3, 3, 1], ddof=1))  # of pairs of one seed
    assert frame.loc["student", "gain difference"] == pytest.approx(7 / 3 - 2.0)  # from the range's end
    assert frame.loc["upper", "gain"] == pytest.approx(np.mean([3, 4, 1]))
    assert frame.loc["long", "gain"] == pytest.approx(6)
    assert frame.loc["long", "gain reference low":"gain difference"].isna().all()
    assert np.isnan(frame.loc["teacher", "gain"])
    text = markdown(table)
    assert text.splitlines()[0].endswith("| gain | gain reference | gain difference |")
    assert "| +2.3 ± 1.2 | +1.7 to +2.0 | +0.3 |" in text
    assert "| +2.7 ± 1.5 | +1.0 | +1.7 |" in text
    assert "gain in AP: long over teacher, student over long, upper over student." in text
    within = build(*study(gains={"student": {"over": "long", "reference": [2.0, 3.0]}})).frame
    assert within["gain difference"].tolist()[2] == 0


def test_a_place_on_the_axis_is_a_number_or_the_ap_of_a_row():
    spec, evaluations = study()
    spec["rows"][0]["x"], spec["rows"][2]["x"] = 0.25, "teacher"
    table = build(spec, evaluations)
    assert table.frame["x"].tolist()[::2] == pytest.approx([0.25, 40])
    assert table.frame["x"].isna().tolist() == [False, True, False, True]
    assert "| teacher | plain | 3 | 0.25 | 40.0" in markdown(table)


def test_a_published_range_may_be_written_either_way():
    gains = [
        build(*study(gains={"student": {"over": "teacher", "reference": ends}})) for ends in ([1, 3], [3, 1])
    ]
    assert gains[0].frame.equals(gains[1].frame)


def test_no_gap_to_close_is_said():
    table = build(*study(gap={"baseline": "upper", "student": "student", "upper": "long"}))
    assert np.isnan(table.frame["gap closed"]).all()
    assert "in 3 of 3 seeds long is not 1 AP above upper" in markdown(table)


def test_a_tiny_gap_has_no_share():
    spec, evaluations = study(gap=GAP)
    evaluations["upper-1.json"] = evaluation(APS["long"][1] + 0.009)
    table = build(spec, evaluations)
    assert np.isnan(table.gaps[0].shares).tolist() == [False, True, False]
    assert "closes: of the mean APs 79%; in 1 of 3 seeds upper is not 1 AP above long" in markdown(table)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gap": {**GAP, "upper": "oracle"}}, "oracle must be the name of one row"),
        ({"reference": {"oracle": 1.0}}, "oracle must be the name of one row"),
        ({"reference": {"teacher": {"AP90": 1.0}}}, "of teacher is of AP90, which is no column"),
        ({"gains": {"teacher": {"over": "oracle"}}}, "oracle must be the name of one row"),
        ({"metrics": ["AP", "AP90"]}, "row teacher: no AP90 in teacher-0.json"),
        ({"task": "keypoints"}, "teacher-0.json has no evaluation of keypoints"),
        ({"rows": [{"name": "teacher", "evaluations": []}]}, "is in no row"),
    ],
)
def test_refused(change, message):
    spec, evaluations = study()
    with pytest.raises(UserError, match=message):
        build(spec | change, evaluations)


def test_evaluations_are_exactly_those_of_the_rows():
    spec, evaluations = study()
    with pytest.raises(UserError, match=r"other.json is in no row"):
        build(spec, evaluations | {"other.json": evaluation(0.9)})
    del evaluations["upper-2.json"]
    with pytest.raises(UserError, match=r"upper-2.json is missing"):
        build(spec, evaluations)
    spec["rows"][-1]["evaluations"].pop()
    with pytest.raises(UserError, match="same seeds"):
        build(spec | {"gap": GAP}, evaluations)


def test_a_gap_of_one_ap_has_a_share():
    spec, evaluations = study(gap=GAP)
    for row, ap in {"teacher": 0.25, "long": 0.5, "student": 0.505, "upper": 0.51}.items():
        evaluations |= {f"{row}-{n}.json": evaluation(ap) for n in range(3)}
    assert build(spec, evaluations).gaps[0].shares.tolist() == pytest.approx([50] * 3)
