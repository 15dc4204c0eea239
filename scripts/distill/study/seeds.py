"""A study over several seeds: everything that depends on chance is there once for each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any, TypeVar, cast

from distill.program import UserError
from distill.study.references import sources
from distill.study.types import Dataset, Labels, Model, Study, Table

T = TypeVar("T")


def repeat(study: Study) -> Study:
    """Adds the seeds to those of subsets and models; several repeat these and all that is made from them.
    Nothing of an imported model is drawn, unless the images are that it is evaluated on.
    Raises UserError where a model that is not to be repeated is made from something that is."""
    drawn = _drawn(study)
    names = _Names(study["seeds"], drawn, _repeated(study, drawn), set(study["labels"]))
    on = dict.fromkeys(names.dataset(name, seed) for name in study["evaluate"]["on"] for seed in names.seeds)
    return {
        **study,
        "datasets": names.each("datasets", study["datasets"], names.dataset, _dataset),
        "models": names.each("models", study["models"], names.model, _model),
        "labels": names.each("labels", study["labels"], names.labels, _label_set),
        "tables": {name: _table(names, table) for name, table in study["tables"].items()},
        "evaluate": {**study["evaluate"], "on": list(on)},
    }


def family(study: Study, name: str) -> str:
    """A name of the repeated study without the suffix that several seeds give it."""
    seeds = study["seeds"] if len(study["seeds"]) > 1 else ()
    return next((name.removesuffix(f"-seed{n}") for n in seeds if name.endswith(f"-seed{n}")), name)


@dataclass(frozen=True)
class _Names:
    """What datasets, models and label sets are called for each of the seeds.

    Of the datasets `drawn`, of the models `repeated` and of all label sets, `sets`, each seed has its own.
    """

    seeds: list[int]
    drawn: set[str]
    repeated: set[str]
    sets: set[str]

    def dataset(self, name: str, seed: int) -> str:
        return self._named(name, seed, name in self.drawn)

    def model(self, name: str, seed: int) -> str:
        return self._named(name, seed, name in self.repeated)

    def labels(self, name: str, seed: int) -> str:
        """Of a label set, or of a dataset in its place."""
        return self._named(name, seed, name in self.sets | self.drawn)

    def _named(self, name: str, seed: int, own: bool) -> str:
        return f"{name}-seed{seed}" if own and len(self.seeds) > 1 else name

    def each(
        self,
        kind: str,
        entries: Mapping[str, T],
        named: Callable[[str, int], str],
        copy: Callable[["_Names", str, T, int], T],
    ) -> dict[str, T]:
        """Each entry as `copy` makes it for a seed, under the name that it then has."""
        result: dict[str, T] = {}
        for name, entry in entries.items():
            mine = [(named(name, seed), seed) for seed in self.seeds]
            for new, seed in mine if mine[0][0] != name else mine[:1]:  # that all share
                if new in result:
                    taken = f"{new!r} is also the name that another one gets for a seed; rename one"
                    raise UserError(f"{kind}: {taken}")
                result[new] = copy(self, name, entry, seed)
        return result


def _dataset(names: _Names, name: str, spec: Dataset, seed: int) -> Dataset:
    copy: dict[str, Any] = dict(spec)
    for key in {"of", "exclude"} & set(copy):
        value = copy[key]
        one = isinstance(value, str)
        copy[key] = names.dataset(value, seed) if one else [names.dataset(each, seed) for each in value]
    if draws(spec):
        copy["seed"] += seed
    if isinstance(copy.get("ids"), str):
        copy["ids"] = copy["ids"].replace("{seed}", str(seed))
    return cast(Dataset, copy)


def _model(names: _Names, name: str, model: Model, seed: int) -> Model:
    copy: Model = {
        **model,
        "labelled": names.dataset(model["labelled"], seed),
        "labels": model["labels"] and names.labels(model["labels"], seed),
        "init": names.model(model["init"], seed) if isinstance(model["init"], str) else model["init"],
        "validation": names.dataset(model["validation"], seed),
    }
    if "boxes" in copy:
        copy["boxes"] = names.model(copy["boxes"], seed)
    if name in names.repeated and "seed" in copy:  # an imported one has none
        copy["seed"] += seed
    return copy


def _label_set(names: _Names, name: str, entry: Labels, seed: int) -> Labels:
    copy: Labels = {
        **entry,
        "dataset": names.dataset(entry["dataset"], seed),
        "labelled": names.dataset(entry["labelled"], seed),
    }
    if teachers := [names.model(teacher, seed) for teacher in entry["teachers"]]:
        copy |= {"teacher": teachers[0], "teachers": teachers, "together": "+".join(teachers)}
    return copy


def _table(names: _Names, table: Table) -> Table:
    models = ([names.model(row["model"], seed) for seed in names.seeds] for row in table["rows"])
    rows = zip(table["rows"], models, strict=True)
    return {**table, "rows": [{**row, "models": repeated} for row, repeated in rows]}


def draws(spec: Mapping[str, Any]) -> bool:
    """Whether a dataset depends on a seed of the study."""
    listed = "{seed}" in str(spec.get("ids"))
    return spec["kind"] == "subset" and ("fraction" in spec or "images" in spec or listed)


def _repeated(study: Study, drawn: set[str]) -> set[str]:
    """The models that several seeds repeat."""
    models = study["models"]
    repeated = {
        name
        for name, model in models.items()
        if (model["validation"] in drawn if "import" in model else model["repeat"])
    }
    own = drawn.union(study["labels"], repeated)
    for name, model in models.items():
        start = model["init"] if isinstance(model["init"], str) else None
        made_of = (model["labelled"], model["labels"], start, model["validation"])
        if name not in repeated and "import" not in model and (again := own.intersection(made_of)):
            raise UserError(f"models.{name}.repeat: must be true, as each seed has a {min(again)} of its own")
    return repeated


def _drawn(study: Study) -> set[str]:
    """The datasets that depend on a random draw, directly or through what they are made from."""
    datasets = study["datasets"]
    drawn: set[str] = set()
    for name in TopologicalSorter({name: sources(spec) for name, spec in datasets.items()}).static_order():
        if draws(datasets[name]) or not drawn.isdisjoint(sources(datasets[name])):
            drawn.add(name)
    return drawn
