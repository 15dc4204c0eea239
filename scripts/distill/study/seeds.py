"""A study over several seeds: everything that depends on chance is there once for each."""

from graphlib import TopologicalSorter
from typing import Any, cast

from distill.program import UserError
from distill.study.references import sources
from distill.study.types import Dataset, Study


def repeat(study: Study) -> Study:
    """Adds the seeds to those of subsets and models; several repeat these and all that is made from them.
    Nothing of an imported model is drawn, unless the images are that it is evaluated on.
    Raises UserError where a model that is not to be repeated is made from something that is."""
    drawn, seeds = _drawn(study), study["seeds"]
    repeated = _repeated(study, drawn)
    new: dict[str, dict[str, Any]] = {"datasets": {}, "models": {}, "labels": {}}

    def named(name: str, seed: int, again: bool = True) -> str:
        return f"{name}-seed{seed}" if again and len(seeds) > 1 else name

    def dataset(name: str, seed: int) -> str:
        return named(name, seed, name in drawn)

    def model(name: str, seed: int) -> str:
        return named(name, seed, name in repeated)

    def put(kind: str, name: str, entry: dict[str, Any]) -> None:
        if name in new[kind]:
            raise UserError(f"{kind}: {name!r} is also the name that another one gets for a seed; rename one")
        new[kind][name] = entry

    for name, spec in study["datasets"].items():
        for seed in seeds if name in drawn else seeds[:1]:
            copy: dict[str, Any] = dict(spec)
            for key in ("of", "exclude"):
                if isinstance(copy.get(key), str):
                    copy[key] = dataset(copy[key], seed)
                elif key in copy:
                    copy[key] = [dataset(source, seed) for source in copy[key]]
            if _draws(spec):
                copy["seed"] = spec["seed"] + seed
            put("datasets", dataset(name, seed), copy)
    for name, entry in study["models"].items():
        for seed in seeds if name in repeated else seeds[:1]:
            copy = {**entry, "labelled": dataset(entry["labelled"], seed)}
            if "seed" in entry and name in repeated:
                copy["seed"] = entry["seed"] + seed
            copy["labels"] = entry["labels"] and (
                named(entry["labels"], seed)
                if entry["labels"] in study["labels"]
                else dataset(entry["labels"], seed)
            )
            copy["init"] = model(entry["init"], seed)
            copy["validation"] = dataset(entry["validation"], seed)
            put("models", model(name, seed), copy)
    for name, labels in study["labels"].items():
        for seed in seeds:
            copy = {**labels, "teachers": [model(teacher, seed) for teacher in labels["teachers"]]}
            copy |= {"teacher": copy["teachers"][0], "together": "+".join(copy["teachers"])}
            copy |= {key: dataset(copy[key], seed) for key in ("dataset", "labelled")}
            put("labels", named(name, seed), copy)
    for table in study["tables"].values():
        for row in table["rows"]:
            row["models"] = [model(row["model"], seed) for seed in seeds]
    on = dict.fromkeys(dataset(name, seed) for name in study["evaluate"]["on"] for seed in seeds)
    return cast(Study, {**study, **new, "evaluate": {**study["evaluate"], "on": list(on)}})


def family(study: Study, name: str) -> str:
    """A name of the repeated study without the suffix that several seeds give it."""
    seeds = study["seeds"] if len(study["seeds"]) > 1 else ()
    return next((name.removesuffix(f"-seed{n}") for n in seeds if name.endswith(f"-seed{n}")), name)


def _draws(spec: Dataset) -> bool:
    return spec["kind"] == "subset" and ("fraction" in spec or "images" in spec)


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
        made_of = (model["labelled"], model["labels"], model["init"], model["validation"])
        if name not in repeated and "import" not in model and (again := own.intersection(made_of)):
            raise UserError(f"models.{name}.repeat: must be true, as each seed has a {min(again)} of its own")
    return repeated


def _drawn(study: Study) -> set[str]:
    """The datasets that depend on a random draw, directly or through what they are made from."""
    datasets = study["datasets"]
    drawn: set[str] = set()
    for name in TopologicalSorter({name: sources(spec) for name, spec in datasets.items()}).static_order():
        if _draws(datasets[name]) or not drawn.isdisjoint(sources(datasets[name])):
            drawn.add(name)
    return drawn
