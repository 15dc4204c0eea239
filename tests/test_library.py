"""The floor plan of the library: packages in a strict order; what is slow to import is in one of them."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from helpers import SCRIPTS

LIBRARY = SCRIPTS / "distill"
# Each level imports earlier ones only; packages of the same level know nothing of each other.
ORDER = [
    {"forks", "program", "requeue", "files", "strict"},
    {"datasets"},
    {"predictions"},
    {"labels", "evaluation"},
    {"study"},
    {"cluster", "report"},
    {"models"},
    {"inspection"},
]
LEVEL = {package: level for level, packages in enumerate(ORDER) for package in packages}
MODULES = {
    ".".join(path.relative_to(SCRIPTS).with_suffix("").parts).removesuffix(".__init__"): path
    for path in LIBRARY.rglob("*.py")
}
FRAMEWORKS = {"torch", "torchvision", "mmcv", "mmdet", "mmengine", "mmpose"}


def imports(path: Path) -> set[str]:
    """The modules that a file imports anywhere in it; of the library, the files themselves."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = inner & set(MODULES)
            found |= modules
            if modules != inner:
                found.add(node.module)
    return found


GRAPH = {name: imports(path) for name, path in MODULES.items()}


def package(module: str) -> str:
    return module.split(".")[1]


def test_every_module_is_in_a_package_of_the_order():
    assert {package(name) for name in MODULES if "." in name} == set(LEVEL)


@pytest.mark.parametrize("module", [name for name in MODULES if "." in name])
def test_a_module_imports_its_own_package_and_earlier_ones(module):
    mine = package(module)
    others = {package(name) for name in GRAPH[module] if name.startswith("distill.")} - {mine}
    late = {other for other in others if LEVEL[other] >= LEVEL[mine] and LEVEL[mine] > 0}
    assert not late, f"{module} imports {late}"
    if LEVEL[mine] == 0:
        assert others <= ORDER[0]


def test_no_module_imports_itself_by_a_detour():
    """Nor does a package within a package: the models know models/published, not the other way round."""
    graph = {name: {other for other in used if other in MODULES} for name, used in GRAPH.items()}
    list(TopologicalSorter(graph).static_order())  # raises CycleError
    inner = {name for name, path in MODULES.items() if path.name == "__init__.py" and name.count(".") > 1}
    whole = {name: next((p for p in inner if f"{name}.".startswith(f"{p}.")), name) for name in graph}
    packages: dict[str, set[str]] = {name: set() for name in whole.values()}
    for name, used in graph.items():
        packages[whole[name]] |= {whole[other] for other in used} - {whole[name]}
    list(TopologicalSorter(packages).static_order())


def test_only_models_import_the_frameworks():
    users = {name for name, used in GRAPH.items() if FRAMEWORKS & {module.split(".")[0] for module in used}}
    assert users
    assert {package(name) for name in users} == {"models"}


def test_no_two_modules_packages_or_programs_have_one_name():
    names = [name.rpartition(".")[2] for name in MODULES] + [path.stem for path in SCRIPTS.glob("*.py")]
    assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)
