"""Stands in for yte, by which Snakemake reads configurations and profiles: here nothing of a file is run.

yte runs the expressions of a file that says `__use_yte__: true`, before any code of this project sees it; and
what is wrong with a file Snakemake says without its name and line.
"""

import sys
from typing import IO, Any

import yaml

MOST = 1_000_000  # values of one file, with all that its aliases repeat


def process_yaml(file: IO | str, outfile: Any = None, variables: Any = None, **options: Any) -> dict:
    """The mapping of a YAML file. Ends the program, with one line, where it is none."""
    name = getattr(file, "name", "YAML")
    if outfile is not None or variables is not None:
        sys.exit(f"error: {name}: templates of yte are not run here")
    try:
        loader = yaml.SafeLoader(file)
        node = loader.get_single_node()
        if _size(node, {}) > MOST:
            sys.exit(f"error: {name}: its aliases (*name) stand for more than {MOST} values")
        content = loader.construct_document(node) if node else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        sys.exit(f"error: {name}{line}: not YAML: {' '.join(str(error.problem).split())}")
    except UnicodeDecodeError:
        sys.exit(f"error: {name}: is not in UTF-8; save the file in this encoding")
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        sys.exit(f"error: {name}: not YAML: {' '.join(str(error).split()):.200}")
    if not isinstance(content, dict):
        sys.exit(f"error: {name}: not a configuration; it must be a mapping")
    if "__use_yte__" in content:
        sys.exit(f"error: {name}: __use_yte__ has Snakemake run what the file says; remove it")
    return content


def _size(node: yaml.Node | None, known: dict[int, int]) -> int:
    """Values in a node and below it; a node that several aliases name counts each time."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        known[id(node)] = MOST  # of one that is a part of itself
        pairs = node.value if isinstance(node, yaml.MappingNode) else [node.value]
        known[id(node)] = 1 + sum(_size(each, known) for pair in pairs for each in pair)
    return known[id(node)]
