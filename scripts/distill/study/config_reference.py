"""The reference of the configuration as Markdown: a table for each group of keys of the schemas.

A schema's property gives a row: its description, the values it may have, its default and its `unit`; `paper`
names the section of Data Distillation (arXiv 1712.04440) that it is of. Properties that are mappings of fixed
keys of their own get a table of their own.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from distill.study.schema import defaults_by_config, documents

Schema = Mapping[str, Any]
TOP = """# Every key of a study

One YAML file is one study; the smallest is in the [README](../README.md#your-own-images).
A wrong key or value is one line, before anything runs; a dataset's missing file is one from the first job.
*Required* keys have to be written; a dash is a key without a default of its own.
Sections are those of the [paper](https://arxiv.org/abs/1712.04440).

This page is made from [schemas](schemas) by `python scripts/document_config.py`.
"""


def reference(root: Path) -> str:
    """The page. root: the project's folder, for config/schemas and config/models/defaults.yaml."""
    schemas = documents(root)
    parts = [TOP]
    for name in ("study", "datasets", "views", "models", "labels", "tables"):
        document = schemas[name]
        title = {"study": "The study", "models": "`model`, and each of `models`"}.get(
            name, f"Each of `{name}`"
        )
        parts.append(f"## {title}\n\n{document['description']}\n")
        for heading, schema in _groups(document):
            parts += [f"### {heading}\n"] if heading else []
            parts.append(_table(schema, schemas, document))
        if name == "models":
            parts.append(_by_config(root))
    return "\n".join(parts)


def _groups(schema: Schema, heading: str | None = None) -> Iterator[tuple[str | None, Schema]]:
    """(heading or None, schema) of what gets a table: the schema, and the groups of keys within it."""
    if "properties" in schema:
        yield heading, schema
    for name, inner in schema.get("properties", {}).items():
        each = inner.get("items") or inner.get("additionalProperties") or {}
        if "properties" in inner:
            yield from _groups(inner, f"`{name}`")
        elif "properties" in each:
            yield from _groups(each, f"Each of `{name}`")
    for name, inner in schema.get("$defs", {}).items():
        about = f": {inner['description']}" if "description" in inner else ""
        yield from _groups(inner, None if name == schema["$id"] else f"`{name}`{about}")


def _table(schema: Schema, schemas: Mapping[str, Schema], document: Schema) -> str:
    lines = ["| key | what | default | unit | paper |", "| --- | --- | --- | --- | --- |"]
    for key, option in schema["properties"].items():
        if "const" in option:  # the kind of a dataset, which the heading says
            continue
        option = {**_resolved(option, schemas, document), **option}
        what = " ".join(option["description"].split())
        if values := option.get("enum"):
            what += f" One of {', '.join(f'`{value}`' for value in values)}."
        default = "*required*" if key in schema.get("required", ()) else "–"
        if "default" in option:
            default = f"`{_yaml(option['default'])}`"
        cells = (f"`{key}`", what, default, option["unit"], option.get("paper", ""))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _resolved(option: Schema, schemas: Mapping[str, Schema], document: Schema) -> Schema:
    """The definition that an option refers to, of its own document or of another one."""
    if "$ref" not in option:
        return {}
    name, _, definition = option["$ref"].partition("#/$defs/")
    document = schemas[name] if name else document
    return document["$defs"][definition] if definition else {}


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=1000).strip().removesuffix("\n...").strip()


def _by_config(root: Path) -> str:
    """The defaults that depend on the model config."""
    table = defaults_by_config(root)
    usual, *special = names = [name for name in table if name != "crops"]
    lines = [
        "### Defaults that depend on the model config\n",
        "A config takes the last value whose column fits its name.\n",
    ]
    patterns = {name: name if "_" in name else f"*_{name}" for name in special} | {"outside": "*.py"}
    columns = ["all", *(f"`{patterns[name]}`" for name in special)]
    lines += ["| key | " + " | ".join(columns) + " |", "| --- |" + " --- |" * len(columns)]
    for group, values in table[usual].items():
        for key in values:
            names_of = {"model": f"`{key}`", "iterations": f"`{key}`'s `{group}`"}
            label = names_of.get(group, f"`{group}.{key}`")
            cells = [table[name].get(group, {}).get(key) for name in names]
            lines.append(
                f"| {label} | " + " | ".join("" if c is None else f"`{_yaml(c)}`" for c in cells) + " |"
            )
    lines.append(
        f"\n`views.crops`, of pose estimators, is `{_yaml(table['crops'])}` at the scale of `plain`."
    )
    return "\n".join(lines) + "\n"
