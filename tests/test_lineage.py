"""What a model comes from, and which datasets are checked against validation images for it."""

from distill.study.lineage import categories_from, lineage, trained_on
from helpers.configs import DRAWN, SMALLEST, study_of


def test_lineage_is_all_that_a_model_comes_from():
    study = study_of(DRAWN)
    assert lineage(study, ["upper"]) == (["upper"], [])
    assert lineage(study, ["student"]) == (["teacher", "student"], ["distilled"])


def test_what_a_model_starts_from_and_learns_from_is_checked_against_validation_images_too():
    extra = """
datasets:
  everything: {kind: coco, images: a, annotations: a.json}
  val: {kind: subset, of: everything, images: 9}
  labelled: {kind: subset, of: everything, exclude: val}
  unlabelled: {kind: folder, images: b}
  others: {kind: coco, images: c, annotations: c.json}
models:
  start: {labelled: others}
  base: {labelled: everything}
  teacher: {init: start}
  student: {labels: distilled}
labels: {distilled: {teacher: base}}
tables: {t: {rows: [teacher, student]}}
"""
    study = study_of(SMALLEST, extra)
    assert trained_on(study, ["teacher"]) == ["others", "labelled"]
    assert trained_on(study, ["student"]) == ["everything", "labelled", "unlabelled"]
    # The categories of a start may be others, those of a teacher not.
    assert set(categories_from(study, "val")) == {"labelled", "everything", "unlabelled"}
