"""Artifacts that were cut off or overwritten: every program that reads one says which, in a line."""

import pytest

from distill.inspection.words import describe
from fuzz.harness import judge, no_file, outcome
from helpers.artifacts import (
    BOXES,
    DATASET,
    EVALUATION,
    HEATMAPS,
    HISTORY,
    LABELS,
    MERGED,
    RUN,
    SHARD,
    SPLITS,
    TABLE,
    THRESHOLDS,
    USES,
)

DAMAGES = {
    "empty": lambda t: b"",
    "cut in half": lambda t: t[: len(t) // 2],
    "the end missing": lambda t: t.rstrip()[:-1],
    "zeros": lambda t: bytes(len(t)),
    "something behind it": lambda t: t + b"x,,,[",
    "twice": lambda t: t + t,
    "null": lambda t: b"null",
    "a number": lambda t: b"3",
    "text": lambda t: b'"x"',
    "a list": lambda t: b"[]",
    "an object": lambda t: b"{}",
    "a list of numbers": lambda t: b"[1, 2]",
    "a list of nothing": lambda t: b"[null]",
    "deep": lambda t: b"[" * 100_000,
    "UTF-16": lambda t: t.decode("latin-1").encode("utf-16"),
    "Latin-1": lambda t: b"\xe9" + t,
    "a page": lambda t: b"<!DOCTYPE html><html>404</html>",
    "nan": lambda t: t.replace(b": 1", b": NaN", 1) if b": 1" in t else b"[NaN]",
}
# (artifact, damage) that leave something sound, as the comment says.
SOUND = {
    (MERGED, "a list"),  # no predictions
    (BOXES, "a list"),  # no boxes
    (HEATMAPS, "something behind it"), (HEATMAPS, "twice"),  # HDF5 knows its end
    (THRESHOLDS, "UTF-16"),  # as some editors save
    (RUN, "an object"),  # nothing is said
    (TABLE, "the end missing"), (HISTORY, "the end missing"),  # of the last number, or of an empty field
}  # fmt: skip
TEXTS = (HISTORY, TABLE)


@pytest.mark.parametrize("name", USES)
def test_the_sound_ones_are_read(study, name):
    message, result = outcome(lambda: study.use(name))
    assert message is None, message
    assert result is not None


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", USES)
def test_damage(study, spoil, name, damage):
    path = spoil(name, DAMAGES[damage](study.path(name).read_bytes()))
    message, result = outcome(lambda: study.use(name))
    if (name, damage) in SOUND:
        assert message is None, message
    elif name in TEXTS and message is None:  # a table of numbers, still
        assert not result.empty
        assert damage in ("cut in half", "the end missing", "twice")
    else:
        assert message, f"accepted as {str(result)[:300]}"
        assert str(path) in message


@pytest.mark.parametrize("name", USES)
@pytest.mark.parametrize("what", ["pipe", "folder", "device", "loop"])
def test_what_is_no_file(study, spoil, name, what):
    path = spoil(name, None)
    no_file(path, what)
    expected = "cannot be read" if what == "loop" else "is not a file"
    if what == "loop" and name in (LABELS, RUN, SPLITS):
        expected = "ok"  # as if it were not there: the report leaves it out
    judge(expected, lambda: study.use(name), str(path) if expected != "ok" else "")


@pytest.mark.parametrize("name", [DATASET, LABELS, THRESHOLDS, MERGED, EVALUATION, SHARD, SPLITS])
@pytest.mark.parametrize(
    "damage", ["empty", "null", "a list", "an object", "a list of nothing", "cut in half"]
)
def test_words_about_damaged_artifacts(study, spoil, name, damage):
    """`inspect_artifact` describes what it can, and says what it cannot."""
    path = spoil(name, DAMAGES[damage](study.path(name).read_bytes()))
    message, lines = outcome(lambda: describe(path))
    assert str(path) in (message or lines[0])
