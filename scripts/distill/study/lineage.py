"""What the results of a resolved study come from."""

from collections.abc import Iterable

from distill.strict import as_list
from distill.study.references import boxes_of
from distill.study.types import Study


def lineage(study: Study, models: Iterable[str]) -> tuple[list[str], list[str]]:
    """All models and labels that the given models come from, themselves included."""
    wanted, labels, todo = {}, {}, list(models)
    while todo:
        name = todo.pop()
        if name in wanted or name not in study["models"]:
            continue
        model = wanted[name] = study["models"][name]
        todo.append(boxes_of(study["models"], name))
        if isinstance(model["init"], str):
            todo.append(model["init"])
        if model["labels"] in study["labels"]:
            labels[model["labels"]] = study["labels"][model["labels"]]
            todo += labels[model["labels"]]["teachers"]
    return [name for name in study["models"] if name in wanted], [n for n in study["labels"] if n in labels]


def trained(study: Study, models: Iterable[str]) -> list[str]:
    """Those that are trained here, not imported."""
    return [name for name in models if "import" not in study["models"][name]]


def trained_on(study: Study, models: Iterable[str]) -> list[str]:
    """The datasets whose images these models are trained on here, and all they come from: what they start
    from, the teachers of their labels, and those whose boxes they need."""
    return training_datasets(study, lineage(study, models)[0])


def categories_from(study: Study, validation: str) -> list[str]:
    """The datasets whose categories have to be those of a validation set: those that models which may be
    evaluated on it, in tables and as teachers, have learned from, and not only what these start from."""
    rows = (row for table in study["tables"].values() for row in table["rows"])
    names = [model for row in rows for model in row["models"]]
    names += [teacher for entry in study["labels"].values() for teacher in entry["teachers"]]
    names = [name for name in names if study["models"][name]["validation"] == validation] or names
    return training_datasets(
        study, [model for name in names for model in (name, boxes_of(study["models"], name))]
    )


def training_datasets(study: Study, models: Iterable[str]) -> list[str]:
    """The datasets whose images these models themselves are trained on here."""
    of = [study["models"][name] for name in trained(study, dict.fromkeys(models))]
    used = [model["labelled"] for model in of]
    for labels in (model["labels"] for model in of if model["labels"]):
        used.append(study["labels"][labels]["dataset"] if labels in study["labels"] else labels)
    return list(dict.fromkeys(used))


def annotated_for(study: Study, models: Iterable[str]) -> list[str]:
    """The datasets whose annotations these models, and all that they come from, learn from."""
    of = [study["models"][name] for name in trained(study, lineage(study, models)[0])]
    used = [name for model in of for name in (model["labelled"], model["labels"]) if name]
    return [name for name in dict.fromkeys(used) if name not in study["labels"]]


def merged_file(study: Study, labels: str) -> str:
    """The merged predictions that labels are made of, below the results folder: those of their teachers, or
    of other programs."""
    entry = study["labels"][labels]
    if not entry["teachers"]:
        return f"labels/{labels}/predictions.json"
    return f"merged/{entry['together']}/{entry['dataset']}/{entry['merged']}.json"


def origins(study: Study, dataset: str) -> list[str]:
    """The datasets that a dataset's images come from: they may have the labels that it hides."""
    direct = as_list(study["datasets"][dataset].get("of", []))
    return [*direct, *(origin for name in direct for origin in origins(study, name))]
