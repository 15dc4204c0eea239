"""Sound files with anything in the place of anything: refused in one line, or sound still."""

import copy
import json

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill.datasets.stats import describe
from distill.evaluation.metrics import read_evaluation
from distill.evaluation.table_text import markdown
from distill.evaluation.tables import build as tabulate
from distill.labels.corrections import corrected
from distill.labels.exchange import to_cvat, to_label_studio
from distill.strict import read_yaml
from distill.study.needs import margins, needs
from distill.study.resolve import resolve
from fuzz.harness import outcome, text_of
from helpers import ROOT, answers, artifacts
from helpers.annotated import made
from helpers.configs import SOUND

EXAMPLES = settings(
    max_examples=150,
    deadline=None,  # `outcome` has one
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
NUMBERS = st.sampled_from(
    [0, 1, -1, 2, 3, 7, 0.5, 1.0, 2.5, 1e300, -1e-300, 10**400, 2**63, -(2**63), float("nan"), float("inf")]
)
TEXTS = st.sampled_from(
    [
        "",
        " ",
        "hand",
        "1",
        "a\nb",
        "\0",
        "\ud800",
        "é",
        "\u202e",
        "<b>",
        "../x",
        "/etc/passwd",
        "x" * 3000,
        "auto",
        "none",
    ]
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS, st.text(max_size=5), st.integers(), st.floats())
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def places(data, holder=None, key=None):
    """(holder, key) of all values in JSON data but the whole."""
    if holder is not None:
        yield holder, key
    if isinstance(data, dict | list):
        for inner in list(data) if isinstance(data, dict) else range(len(data)):
            yield from places(data[inner], data, inner)


@st.composite
def mutated(draw, data):
    """JSON data in which some values are others, gone, doubled, or values from elsewhere in it."""
    data = copy.deepcopy(data)
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(data))
        if not found:
            break
        holder, key = found[draw(st.integers(0, len(found) - 1))]
        match draw(
            st.sampled_from(["value", "value", "value", "gone", "elsewhere", "doubled", "another key"])
        ):
            case "value":
                holder[key] = draw(VALUES)
            case "gone":
                del holder[key]
            case "elsewhere":
                other, at = found[draw(st.integers(0, len(found) - 1))]
                holder[key] = copy.deepcopy(other[at])
            case "doubled" if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[key]))
            case _ if isinstance(holder, dict):
                holder[draw(st.text(max_size=5))] = holder.pop(key)
    return data


@EXAMPLES
@given(st.data())
def test_annotations(sound, data):
    content = data.draw(mutated(sound.data))
    outcome(made(sound, text_of(content)))  # which looks at what is accepted


@EXAMPLES
@given(st.data())
def test_texts_of_annotations(sound, data):
    """Pieces of the text gone, doubled, or of other characters."""
    text = text_of(sound.data)
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        stop = min(len(text), start + data.draw(st.integers(0, 40)))
        text = (
            text[:start]
            + data.draw(st.sampled_from(["", text[start:stop] * 2, "]", "{", '"', ",", "\0", "9" * 400]))
            + text[stop:]
        )
    outcome(made(sound, text))


@EXAMPLES
@given(mutated(answers.COCO))
def test_corrected_coco_files(content):
    check_corrected(content)


@EXAMPLES
@given(mutated(answers.TASKS))
def test_corrected_tasks(content):
    check_corrected(content)


def check_corrected(content):
    message, result = outcome(lambda: corrected(answers.LABELS, {"a.json": content}))
    if message is not None:
        assert message.startswith("a.json: ")
        return
    json.dumps(result, allow_nan=False)
    sizes = {image["id"]: (image["width"], image["height"]) for image in result["images"]}
    kinds = {category["id"]: category for category in result["categories"]}
    for a in result["annotations"]:
        (x, y, w, h), (width, height) = a["bbox"], sizes[a["image_id"]]
        assert min(w, h) > 0
        assert max(x, y, -x - w, -y - h) < max(width, height)
        points = a.get("keypoints")
        assert points is None or len(points) == 3 * len(kinds[a["category_id"]]["keypoints"])


def of_artifact(name, use):
    """A test that mutates one artifact of a finished study."""

    @EXAMPLES
    @given(st.data())
    def test(study, data):
        path = study.path(name)
        before = path.read_bytes()
        content = data.draw(mutated(json.loads(before)))
        path.write_text(text_of(content))
        try:
            message, result = outcome(lambda: study.use(name))
            assert message is not None or result is not None
            if message is None:
                use(result)
        finally:
            path.write_bytes(before)

    return test


def use_dataset(dataset):
    json.dumps(describe(dataset), allow_nan=False)
    to_cvat(dataset)
    json.dumps(to_label_studio(dataset, ""), allow_nan=False)


test_labels = of_artifact(artifacts.LABELS, use_dataset)
test_datasets = of_artifact(artifacts.DATASET, describe)
test_thresholds = of_artifact(artifacts.THRESHOLDS, use_dataset)
test_evaluations = of_artifact(artifacts.EVALUATION, lambda frame: frame.to_csv())
test_merged = of_artifact(artifacts.MERGED, lambda found: json.dumps(found, allow_nan=False))
test_prediction_shards = of_artifact(artifacts.SHARD, lambda found: json.dumps(found, allow_nan=False))
test_boxes = of_artifact(artifacts.BOXES, vars)
test_runs = of_artifact(artifacts.RUN, lambda found: json.dumps(found, allow_nan=False))
test_split_checks = of_artifact(artifacts.SPLITS, lambda found: json.dumps(found, allow_nan=False))


@EXAMPLES
@given(mutated(yaml.safe_load(SOUND)))
def test_configurations_resolve_or_not(config):
    message, study = outcome(lambda: resolve(config, ROOT))
    if message is None:
        json.dumps(study, allow_nan=False)
        assert resolve(config, ROOT) == study
        needs(study, [row for table in study["tables"].values() for row in table["rows"]])
        margins(study)


@EXAMPLES
@given(st.data())
def test_texts_of_configurations(tmp_path_factory, data):
    """What is read is what YAML reads."""
    text = SOUND
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        what = data.draw(
            st.sampled_from(
                [
                    "\n",
                    "\t",
                    " ",
                    ":",
                    "- ",
                    "&a ",
                    "*a",
                    "!",
                    "{",
                    "}",
                    "[",
                    "]",
                    "'",
                    '"',
                    "#",
                    "?",
                    "|",
                    ">",
                    "%",
                    "@",
                    "`",
                    "<<: ",
                    ".nan",
                    "010",
                    "\0",
                    "é",
                ]
            )
        )
        text = text[:at] + what + text[at + data.draw(st.integers(0, 3)) :]
    path = tmp_path_factory.getbasetemp() / "mutated.yaml"
    path.write_text(text)
    message, config = outcome(lambda: read_yaml(path))
    if message is None:
        assert config == yaml.safe_load(text)


def test_a_table_of_what_is_accepted(study):
    """The numbers that the mutations of evaluations go into."""
    table = tabulate(
        study.of_row,
        {str(study.path(artifacts.EVALUATION)): read_evaluation(study.path(artifacts.EVALUATION))},
    )
    assert "student" in markdown(table)
