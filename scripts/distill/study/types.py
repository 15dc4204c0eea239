"""What a resolved study holds, key by key: `resolve.resolve` makes it, and it is kept as study.json.

Options are described in config/schemas; here they are all given. With several seeds, models, labels and
randomly drawn datasets are there once for each, as {name}-seed{n}; with folds, as {name}-fold{n}.
"""

from typing import Any, Literal, NotRequired, Required, TypedDict

Task = Literal["boxes", "keypoints"]


class Dataset(TypedDict, total=False):
    """The options of its kind. Paths start from the project's folder."""

    kind: Required[str]
    of: str | list[str]
    exclude: str | list[str]
    images: str | int  # a folder, or how many
    annotations: str
    keypoint_origin: str
    split: str
    videos: str
    frames: int
    at: str
    ids: str | list[str | int]
    fraction: float
    fold: str
    folds: list[int]  # of a subset with `fold`, [k, K]: the k-th of K
    range: list[float]
    annotated: bool
    size: list[int]
    style: str
    seed: int
    strip_annotations: bool
    unreadable: float
    share_predictions: bool  # until the study is resolved: then in `selected`


class Merge(TypedDict):
    """How the predictions under the views of a set become one."""

    nms: float
    vote: float
    score: str
    beta: float
    max_per_image: int
    boxes: str
    average: str
    size_dependent: float | None
    upsample: bool


class MergeOfViews(Merge):
    """plain: the scale of the study's plain view."""

    plain: int


class Merged(TypedDict):
    """views: the view set that is merged."""

    views: str
    options: MergeOfViews


class Training(TypedDict):
    """What a training is given. ratio: of students."""

    iterations: int | str
    batch: int
    lr: float | str
    warmup: int
    milestones: list[float]
    scales: list[int]
    max_side: int
    init: "str | Import"
    seed: int
    unposed: str
    freeze_rpn: bool
    background: str
    amp: bool
    augment: str | dict[str, Any]  # none, or by kind of image (labelled; generated, of students)
    balance: float | None
    weight: str
    regress: bool
    ema: float | None
    validate: int
    keep: str
    checkpoint_every: int | str
    tracking: list[str]
    ratio: NotRequired[list[float]]


class Import(TypedDict):
    """A published checkpoint. categories, keypoints: their names in its order."""

    format: str
    checkpoint: str
    categories: NotRequired[list[str]]
    keypoints: NotRequired[list[str]]


Imported = TypedDict("Imported", {"import": Import}, total=False)


class Model(Training, Imported):
    """task: what it predicts. boxes: the model in whose boxes a pose estimator does. labels: a label set, or
    a dataset in its place, or None: a teacher. validation: the dataset that it is evaluated on. One with
    `import` has no options of trainings but `init`, none."""

    config: str
    boxes: NotRequired[str]
    task: Task
    labelled: str
    labels: str | None
    validation: str
    gpus: int
    nodes: int
    repeat: bool


class Calibrate(TypedDict):
    """How many merged predictions become labels."""

    instances: float | None
    aim: str
    per: str
    keypoints: float | None
    score_floor: float
    agnostic_nms: float | None
    ignore: float | None
    rare: int


class Labels(TypedDict):
    """teachers: the models that predict; teacher: the first; together: the name of all, a+b. labelled: the
    dataset that the first is trained on, and whose instances are the aim. merged: what the labels are made
    of, a key of the study's `merged`.

    With `predictions`, files of other programs, there are no teachers, and none of the keys that say how they
    predict; posed: whether a keypoint model learns from the labels."""

    teacher: NotRequired[str]
    teachers: list[str]
    together: NotRequired[str]
    predictions: NotRequired[list[str]]
    posed: NotRequired[bool]
    dataset: str
    labelled: str
    views: NotRequired[str]
    merge: Merge
    merged: NotRequired[str]
    calibrate: Calibrate


class FixedBoxes(TypedDict):
    """Which boxes of keypoint models get heatmaps."""

    min_score: float
    per_image: int
    per_label: float | None


class Evaluate(TypedDict):
    """on: the validation datasets of all tasks and seeds. views: view sets."""

    on: list[str]
    views: list[str]


class Row(TypedDict):
    """name, model: as they are without seeds. models, evaluations: of each seed; the latter are paths. x: a
    number, or the name of a row."""

    name: str
    model: str
    models: list[str]
    views: str
    evaluations: list[str]
    x: NotRequired[float | str]


class Gain(TypedDict):
    over: str
    reference: NotRequired[float | list[float]]


class Gap(TypedDict):
    baseline: str | list[str]
    student: str | list[str]
    upper: str


class Plot(TypedDict):
    x: str
    baseline: NotRequired[str]


class Table(TypedDict):
    """task: what all of its models predict. over: folds, where the study is repeated over those, not seeds.
    reference, gains: by the name of a row."""

    task: Task
    over: NotRequired[str]
    rows: list[Row]
    reference: dict[str, float | dict[str, float]]
    published: dict[str, dict[str, float]]
    gains: dict[str, Gain]
    metrics: NotRequired[list[str]]
    gap: NotRequired[Gap]
    plot: NotRequired[Plot]


class Archive(TypedDict):
    """A zip archive that `snakemake download` gets."""

    url: str
    md5: str
    contents: list[str]
    size: NotRequired[int]


class Study(TypedDict):
    """Everything that the workflow is to make, by name, and how it is run.

    views: the names of a set's views. selected: a dataset → the one that it is a subset of, and shares the
    predictions of. merged: each view set, and {views}~{labels} for labels with merge options of their own.
    """

    results: str
    data: str
    device: str
    predict_amp: bool
    shards: int
    threads: int
    seeds: list[int]
    folds: NotRequired[int]
    unreadable: float
    keep_heatmaps: str | list[int]
    fixed_boxes: FixedBoxes
    evaluate: Evaluate
    downloads: dict[str, Archive]
    datasets: dict[str, Dataset]
    views: dict[str, list[str]]
    selected: dict[str, str]
    merged: dict[str, Merged]
    models: dict[str, Model]
    labels: dict[str, Labels]
    tables: dict[str, Table]
