"""The reference of the configuration is made from the schemas."""

from distill.study import schema
from distill.study.config_reference import reference
from helpers import ROOT


def test_every_key_of_the_schemas_is_documented():
    def undocumented(node, where):
        if not isinstance(node, dict):
            return
        for key, option in node.get("properties", {}).items():
            if not {"const", "$ref"} & set(option) and not {"description", "unit"} <= set(option):
                yield f"{where}.{key}"
        for key, child in node.items():
            for item in child if isinstance(child, list) else [child]:
                yield from undocumented(item, f"{where}.{key}")

    assert not [
        key for name, document in schema.documents(ROOT).items() for key in undocumented(document, name)
    ]


def test_the_reference_of_the_configuration_is_that_of_the_schemas():
    """Otherwise: python scripts/document_config.py"""
    page = reference(ROOT)
    assert (ROOT / "config/README.md").read_text() == page
    by_config = page.index("### Defaults that depend on the model config")
    keyed = page[:by_config] + page[page.index("\n## ", by_config) :]
    rows = [line.split(" | ") for line in keyed.splitlines() if line.startswith("| `")]
    assert ["| `score`", "`id`", "name", "6 |"] in [[row[0], *row[2:]] for row in rows]
    assert ["| `of`", "*required*", "datasets", " |"] in [[row[0], *row[2:]] for row in rows]

    def keys(node):
        if isinstance(node, dict):
            named = node.get("properties", {})
            yield from (key for key, option in named.items() if "const" not in option)
            for child in node.values():
                yield from keys(child)
        elif isinstance(node, list):
            for child in node:
                yield from keys(child)

    every = sorted(key for document in schema.documents(ROOT).values() for key in keys(document))
    documented = [row[0].strip("| `") for row in rows if len(row) == 5]
    assert sorted(documented) == every
