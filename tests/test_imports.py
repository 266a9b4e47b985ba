"""No module imports itself in the end, at the top of a file or inside a function.

``lint-imports`` guards the same between packages; imports for type checking alone do not count.
"""

import sys

import grimp
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def cycles(package: str) -> list[list[str]]:
    """The modules that import each other, group by group."""
    graph = grimp.build_graph(package, exclude_type_checking_imports=True, cache_dir=None)
    modules = sorted(graph.modules)
    edges = [
        (importer, modules.index(imported))
        for importer, module in enumerate(modules)
        for imported in graph.find_modules_directly_imported_by(module)
    ]
    rows, columns = zip(*edges, strict=True)
    shape = (len(modules), len(modules))
    matrix = coo_array(([1] * len(edges), (rows, columns)), shape=shape)
    count, group = connected_components(matrix, directed=True, connection="strong")
    groups = [
        [module for module, g in zip(modules, group, strict=True) if g == i] for i in range(count)
    ]
    return [members for members in groups if len(members) > 1]


def test_no_cycle_in_the_toolkit():
    assert cycles("gliodistill") == []


@pytest.mark.parametrize("inside_a_function", [False, True])
def test_a_cycle_is_found(tmp_path, monkeypatch, inside_a_function):
    package = tmp_path / "rounds"
    package.mkdir()
    indent = "def later():\n    " if inside_a_function else ""
    files = {
        "__init__": "",
        "a": "from rounds import b",
        "b": "from rounds import c",
        "d": "import rounds.a",
    }
    files["c"] = f"{indent}from rounds import a"
    for name, text in files.items():
        (package / f"{name}.py").write_text(text + "\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert cycles("rounds") == [["rounds.a", "rounds.b", "rounds.c"]]
