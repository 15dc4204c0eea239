"""A study over several seeds, or folds: everything that depends on chance is there once for each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any, TypeVar, cast

from distill.program import UserError
from distill.study.references import sources
from distill.study.types import Dataset, Labels, Model, Study, Table

T = TypeVar("T")


def repeat(study: Study) -> Study:
    """Adds the seeds to those of subsets and models; several repeat these and all that is made from them. So
    do folds, which add their number too, but not to the seed of the parts that images fall into.
    Nothing of an imported model is drawn, unless the images are that it is evaluated on.
    Raises UserError where a model that is not to be repeated is made from something that is."""
    drawn = _drawn(study)
    names = _Names(repetitions(study), drawn, _repeated(study, drawn), set(study["labels"]))
    on = dict.fromkeys(names.dataset(name, run) for name in study["evaluate"]["on"] for run in names.runs)
    return {
        **study,
        "datasets": names.each("datasets", study["datasets"], names.dataset, _dataset),
        "models": names.each("models", study["models"], names.model, _model),
        "labels": names.each("labels", study["labels"], names.labels, _label_set),
        "tables": {name: _table(names, table) for name, table in study["tables"].items()},
        "evaluate": {**study["evaluate"], "on": list(on)},
    }


def family(study: Study, name: str) -> str:
    """A name of the repeated study without the suffix that several seeds, or folds, give it."""
    suffixes = (run.suffix for run in repetitions(study) if run.suffix and name.endswith(run.suffix))
    return name.removesuffix(next(suffixes, ""))


@dataclass(frozen=True)
class Repetition:
    """suffix: of the names of what it has of its own. seed: is added to those of draws and trainings.
    partition: is added to those of folds. fold: [k, K], the k-th of K."""

    suffix: str
    seed: int
    partition: int
    fold: list[int]


def repetitions(study: Study) -> list[Repetition]:
    """One for each seed, or for each fold."""
    seeds, folds = study["seeds"], study.get("folds", 1)
    if folds > 1:
        return [Repetition(f"-fold{n}", seeds[0] + n, seeds[0], [n, folds]) for n in range(folds)]
    return [Repetition(f"-seed{n}" if len(seeds) > 1 else "", n, n, [0, 1]) for n in seeds]


@dataclass(frozen=True)
class _Names:
    """What datasets, models and label sets are called in each repetition.

    Of the datasets `drawn`, of the models `repeated` and of all label sets, `sets`, each has its own.
    """

    runs: list[Repetition]
    drawn: set[str]
    repeated: set[str]
    sets: set[str]

    def dataset(self, name: str, run: Repetition) -> str:
        return self._named(name, run, name in self.drawn)

    def model(self, name: str, run: Repetition) -> str:
        return self._named(name, run, name in self.repeated)

    def labels(self, name: str, run: Repetition) -> str:
        """Of a label set, or of a dataset in its place."""
        return self._named(name, run, name in self.sets | self.drawn)

    def _named(self, name: str, run: Repetition, own: bool) -> str:
        return name + run.suffix if own else name

    def each(
        self,
        kind: str,
        entries: Mapping[str, T],
        named: Callable[[str, Repetition], str],
        copy: Callable[["_Names", str, T, Repetition], T],
    ) -> dict[str, T]:
        """Each entry as `copy` makes it for a repetition, under the name that it then has."""
        result: dict[str, T] = {}
        for name, entry in entries.items():
            mine = [(named(name, run), run) for run in self.runs]
            for new, run in mine if mine[0][0] != name else mine[:1]:  # that all share
                if new in result:
                    taken = f"{new!r} is also the name that another one gets for a seed or fold; rename one"
                    raise UserError(f"{kind}: {taken}")
                result[new] = copy(self, name, entry, run)
        return result


def _dataset(names: _Names, name: str, spec: Dataset, run: Repetition) -> Dataset:
    copy: dict[str, Any] = dict(spec)
    for key in {"of", "exclude"} & set(copy):
        value = copy[key]
        one = isinstance(value, str)
        copy[key] = names.dataset(value, run) if one else [names.dataset(each, run) for each in value]
    if "fold" in spec:
        copy |= {"folds": run.fold, "seed": copy["seed"] + run.partition}
    elif draws(spec):
        copy["seed"] += run.seed
    if isinstance(copy.get("ids"), str):
        number = run.fold[0] if run.fold[1] > 1 else run.seed
        copy["ids"] = copy["ids"].replace("{seed}", str(number))
    return cast(Dataset, copy)


def _model(names: _Names, name: str, model: Model, run: Repetition) -> Model:
    copy: Model = {
        **model,
        "labelled": names.dataset(model["labelled"], run),
        "labels": model["labels"] and names.labels(model["labels"], run),
        "init": names.model(model["init"], run) if isinstance(model["init"], str) else model["init"],
        "validation": names.dataset(model["validation"], run),
    }
    if "boxes" in copy:
        copy["boxes"] = names.model(copy["boxes"], run)
    if name in names.repeated and "seed" in copy:  # an imported one has none
        copy["seed"] += run.seed
    return copy


def _label_set(names: _Names, name: str, entry: Labels, run: Repetition) -> Labels:
    copy: Labels = {
        **entry,
        "dataset": names.dataset(entry["dataset"], run),
        "labelled": names.dataset(entry["labelled"], run),
    }
    if teachers := [names.model(teacher, run) for teacher in entry["teachers"]]:
        copy |= {"teacher": teachers[0], "teachers": teachers, "together": "+".join(teachers)}
    return copy


def _table(names: _Names, table: Table) -> Table:
    models = ([names.model(row["model"], run) for run in names.runs] for row in table["rows"])
    rows = zip(table["rows"], models, strict=True)
    over: dict[str, Any] = {"over": "folds"} if names.runs[0].fold[1] > 1 else {}
    return cast(Table, {**table, **over, "rows": [{**row, "models": repeated} for row, repeated in rows]})


def draws(spec: Mapping[str, Any]) -> bool:
    """Whether a dataset depends on a seed or fold of the study."""
    listed = "{seed}" in str(spec.get("ids"))
    return spec["kind"] == "subset" and (listed or not {"fraction", "images", "fold"}.isdisjoint(spec))


def _repeated(study: Study, drawn: set[str]) -> set[str]:
    """The models that several seeds or folds repeat."""
    models = study["models"]
    repeated = {
        name
        for name, model in models.items()
        if (model["validation"] in drawn if "import" in model else model["repeat"])
    }
    # An imported pose estimator predicts in the boxes of another model, which may be repeated.
    imported = {name: model for name, model in models.items() if "import" in model}
    repeated |= {name for name, model in imported.items() if model.get("boxes") in repeated}
    sets, each = drawn.union(study["labels"]), "fold" if "folds" in study else "seed"
    for name, model in models.items():
        start = model["init"] if isinstance(model["init"], str) else None
        shared = drawn.intersection((model["labelled"], model["validation"]))
        shared |= sets.intersection((model["labels"],)) | repeated.intersection((start, model.get("boxes")))
        if name not in repeated and "import" not in model and shared:
            own_ones = f"each {each} has a {min(shared)} of its own"
            raise UserError(f"models.{name}.repeat: must be true, as {own_ones}")
    return repeated


def _drawn(study: Study) -> set[str]:
    """The datasets that depend on a random draw, directly or through what they are made from."""
    datasets = study["datasets"]
    drawn: set[str] = set()
    for name in TopologicalSorter({name: sources(spec) for name, spec in datasets.items()}).static_order():
        if draws(datasets[name]) or not drawn.isdisjoint(sources(datasets[name])):
            drawn.add(name)
    return drawn
