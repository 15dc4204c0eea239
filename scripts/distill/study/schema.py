"""The schemas in config/schemas: validation in one clear line, and the defaults that they hold."""

import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from jsonschema.exceptions import ValidationError
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from distill.program import UserError
from distill.strict import as_list

_DRAFT = jsonschema.Draft202012Validator
# JSON Schema takes 2.0 for a whole number; Python does not where it counts.
_Validator = jsonschema.validators.extend(
    _DRAFT, type_checker=_DRAFT.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
)
_ORDER = {"additionalProperties": 0, "required": 1}


@cache
def documents(root: Path) -> dict[str, dict]:
    """The schemas by `$id`; `study` is that of a whole configuration."""
    loaded = [yaml.safe_load(path.read_text()) for path in sorted((root / "config/schemas").glob("*.yaml"))]
    return {document["$id"]: document for document in loaded}


@cache
def _by_config(root: Path) -> dict[str, Any]:
    return yaml.safe_load((root / "config/models/defaults.yaml").read_text())


def defaults_by_config(root: Path) -> dict[str, Any]:
    """config/models/defaults.yaml: the defaults that depend on the model config."""
    return deepcopy(_by_config(root))


def validate(config: Mapping[str, Any], root: Path) -> None:
    """Raises UserError, one line that names the key, what is wrong with it and what is allowed."""
    schemas = documents(root)
    # By its own word, $schema, a document would be left to the usual validator.
    schemas = {name: {k: doc[k] for k in doc if k != "$schema"} for name, doc in schemas.items()}
    resources = ((name, DRAFT202012.create_resource(doc)) for name, doc in schemas.items())
    validator = _Validator(schemas["study"], registry=Registry().with_resources(resources))
    errors = list(validator.iter_errors(config))
    if errors:  # the one highest up; a misspelt key before the key that is missing for it
        raise UserError(
            _explain(min(errors, key=lambda e: (len(e.absolute_path), _ORDER.get(e.validator, 2))))
        )


def defaults(root: Path, name: str, group: str | None = None) -> dict[str, Any]:
    """The defaults of a schema's properties, or of a group's: of a definition, or of a property with keys of
    its own. They stand nowhere else but in config/models/defaults.yaml, where they depend on the model."""
    document = documents(root)[name]
    groups = {**document.get("properties", {}), **document.get("$defs", {})}
    result = {}
    for key, schema in (groups[group] if group else document)["properties"].items():
        if "default" not in schema and schema.get("$ref", "").startswith("#/$defs/"):
            schema = document["$defs"][schema["$ref"].removeprefix("#/$defs/")]
        if "default" in schema:
            result[key] = deepcopy(schema["default"])
    return result


def with_defaults(
    root: Path, given: Mapping[str, Any], name: str, group: str | None = None
) -> dict[str, Any]:
    """What is given, and the defaults of the rest, as of `defaults`."""
    return {**defaults(root, name, group), **given}


def recipe(root: Path, name: str) -> dict[str, Any]:
    """The options of a model that a recipe sets, as they stand in its schema."""
    recipes: dict[str, dict[str, Any]] = documents(root)["models"]["properties"]["recipe"]["recipes"]
    return deepcopy(recipes[name])


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or what there is, or nothing."""
    known = list(known)
    if close := get_close_matches(name, known, n=1, cutoff=0.6):
        return f"; did you mean {close[0]!r}?"
    return f"; there is {', '.join(known)}" if known else ""


def _number(text: str) -> str:
    """Of a text like 1e-3, which people mean as a number, how YAML has it; else nothing."""
    if not re.fullmatch(r"[0-9.]+[eE][-+]?[0-9]{1,2}", text):
        return ""
    value = float(text)
    return f"{value:.0f}" if value.is_integer() else f"{value!r}"


def _explain(error: ValidationError) -> str:
    where = ".".join(str(part) for part in error.absolute_path) or "config"
    value, allowed = error.instance, error.validator_value
    match error.validator:
        case "additionalProperties":
            known = list(error.schema["properties"])
            unknown = next(key for key in value if key not in known)
            renamed = {option.get("formerly"): key for key, option in error.schema["properties"].items()}
            if unknown in renamed:
                return f"{where}: the key {unknown!r} is now called {renamed[unknown]!r}"
            return f"{where}: unknown key {unknown!r}{suggestion(unknown, known)}"
        case "required":
            missing = [key for key in allowed if key not in value]
            return f"{where}: needs the key {' and '.join(map(repr, missing))}"
        case "pattern" if "propertyNames" in error.absolute_schema_path:
            return f"{where}: {value!r} cannot be a name; names are of letters, digits, - and _"
        case "enum":
            return f"{where}: {value!r} is not one of {', '.join(map(str, allowed))}"
        case "type":
            kinds = " or ".join(as_list(allowed))
            kinds = kinds.replace("object", "mapping").replace("array", "list").replace("string", "text")
            return f"{where}: must be {kinds}, not {value!r}"
        case "pattern":
            if number := _number(value):
                return f"{where}: YAML takes {value} for text; write {number}"
            return f"{where}: {value!r} is not allowed; {error.schema['description'].split('. ')[0]}"
    return f"{where}: {' '.join(error.message.split())}"
