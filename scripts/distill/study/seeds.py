"""A study over several seeds: everything that depends on chance is there once for each."""

from collections.abc import Mapping
from graphlib import TopologicalSorter
from typing import Any

from distill.program import UserError
from distill.study.references import sources


def repeat(study: dict[str, Any]) -> None:
    """Adds the seeds to those of subsets and models; several repeat these and all that is made from them.
    Nothing of an imported model is drawn, unless the images are that it is evaluated on.
    Raises UserError where a model that is not to be repeated is made from something that is."""
    drawn, seeds = _drawn(study), study["seeds"]
    repeated = _repeated(study, drawn)
    old = {key: study[key] for key in ("datasets", "models", "labels")}
    new: dict[str, dict[str, Any]] = {key: {} for key in old}

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

    for name, spec in old["datasets"].items():
        for seed in seeds if name in drawn else seeds[:1]:
            copy = dict(spec)
            for key in ("of", "exclude"):
                if isinstance(copy.get(key), str):
                    copy[key] = dataset(copy[key], seed)
                elif key in copy:
                    copy[key] = [dataset(source, seed) for source in copy[key]]
            if draws(spec) and spec.get("seed", 0) + seed:
                copy["seed"] = spec.get("seed", 0) + seed
            put("datasets", dataset(name, seed), copy)
    for name, entry in old["models"].items():
        for seed in seeds if name in repeated else seeds[:1]:
            copy = {**entry, "labelled": dataset(entry["labelled"], seed)}
            if "seed" in entry and name in repeated:
                copy["seed"] = entry["seed"] + seed
            copy["labels"] = entry["labels"] and (
                named(entry["labels"], seed)
                if entry["labels"] in old["labels"]
                else dataset(entry["labels"], seed)
            )
            copy["init"] = model(entry["init"], seed)
            copy["validation"] = dataset(study["evaluate"]["on"][entry["task"]], seed)
            put("models", model(name, seed), copy)
    for name, entry in old["labels"].items():
        for seed in seeds:
            copy = {**entry, "teachers": [model(teacher, seed) for teacher in entry["teachers"]]}
            copy |= {"teacher": copy["teachers"][0], "together": "+".join(copy["teachers"])}
            copy |= {key: dataset(entry[key], seed) for key in ("dataset", "labelled")}
            put("labels", named(name, seed), copy)
    for table in study["tables"].values():
        for row in table["rows"]:
            row["models"] = [model(row["model"], seed) for seed in seeds]
    on = {entry["task"]: study["evaluate"]["on"][entry["task"]] for entry in old["models"].values()}
    study["evaluate"]["on"] = list(dict.fromkeys(dataset(on[task], seed) for task in on for seed in seeds))
    study |= new


def family(study: Mapping[str, Any], name: str) -> str:
    """A name of the repeated study without the suffix that several seeds give it."""
    seeds = study["seeds"] if len(study["seeds"]) > 1 else ()
    return next((name.removesuffix(f"-seed{n}") for n in seeds if name.endswith(f"-seed{n}")), name)


def draws(spec: Mapping[str, Any]) -> bool:
    """Whether a dataset depends on a seed of the study."""
    return spec["kind"] == "subset" and ("fraction" in spec or "images" in spec)


def _repeated(study: Mapping[str, Any], drawn: set[str]) -> set[str]:
    """The models that several seeds repeat."""
    models, on = study["models"], study["evaluate"]["on"]
    repeated = {
        name
        for name, model in models.items()
        if (on[model["task"]] in drawn if "import" in model else model["repeat"])
    }
    own = drawn.union(study["labels"], repeated)
    for name, model in models.items():
        made_of = (model["labelled"], model["labels"], model["init"], on[model["task"]])
        if name not in repeated and "import" not in model and (again := own.intersection(made_of)):
            raise UserError(f"models.{name}.repeat: must be true, as each seed has a {min(again)} of its own")
    return repeated


def _drawn(study: Mapping[str, Any]) -> set[str]:
    """The datasets that depend on a random draw, directly or through what they are made from."""
    datasets = study["datasets"]
    drawn: set[str] = set()
    for name in TopologicalSorter({name: sources(spec) for name, spec in datasets.items()}).static_order():
        if draws(datasets[name]) or not drawn.isdisjoint(sources(datasets[name])):
            drawn.add(name)
    return drawn
