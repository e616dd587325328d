"""Who may import whom, and what an import costs.

The rules are read from the source (no module is run for them), so a failure names the file and the line.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path

import pytest

import uva_edge

# --- the source, as imports -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Import:
    """One imported module, by its full name."""

    module: str
    line: int
    at_module_level: bool
    for_types_only: bool


def _sources() -> dict[str, Path]:
    """Module -> file, of all of uva_edge, be it installed or a checkout whose rooms lie side by side."""
    found: dict[str, Path] = {}
    for package in ("uva_edge", "uva_edge.runtimes", "uva_edge.export"):
        file = import_module(package).__file__
        assert file is not None, package
        root = Path(file).parent
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join((package, *(part for part in parts if part != "__init__")))
            found.setdefault(name, path)
    return found


SOURCES = _sources()


def _imports(name: str) -> Iterator[Import]:
    path = SOURCES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]

    def visit(node: ast.AST, in_function: bool, for_types: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, not in_function, for_types)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([node.module] if node.module else [])])
            for alias in node.names:
                submodule = f"{base}.{alias.name}"
                found = submodule if submodule in SOURCES else base
                yield Import(found, node.lineno, not in_function, for_types)
        for child in ast.iter_child_nodes(node):
            function = in_function or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            guarded = (
                isinstance(node, ast.If) and child in node.body and "TYPE_CHECKING" in ast.dump(node.test)
            )
            yield from visit(child, function, for_types or guarded)

    yield from visit(ast.parse(path.read_text("utf-8"), str(path)), False, False)


IMPORTS = {name: tuple(_imports(name)) for name in SOURCES}


def _is_in(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _place(name: str, found: Import) -> str:
    return f"{SOURCES[name]}:{found.line} imports {found.module}"


ENGINES = {
    "cuda",
    "cv2",
    "onnxruntime",
    "openvino",
    "tensorrt",
    "tensorrt_rtx_bindings",
    "torch",
    "onnx",
    "av",
    "click",
    "rich",
}

TORCH_ROOMS = ("uva_edge.models", "uva_edge.data", "uva_edge.training", "uva_edge.export")
# The synthetic scene is drawn with numpy, so that a runtime installation can render the demo.
SCENE = tuple(f"uva_edge.data.{name}" for name in ("synthetic", "layout", "movers", "terrain"))
LIGHT = tuple(
    name
    for name in SOURCES
    if not _is_in(name, "uva_edge.cli", "uva_edge.__main__")
    and (not _is_in(name, *TORCH_ROOMS) or _is_in(name, *SCENE))
)

# What the runtimes may use of the rest: the modules that need no torch.
FOR_RUNTIMES = (
    "archive",
    "bundle",
    "environment",
    "errors",
    "golden",
    "gpu",
    "manifest",
    "metrics",
    "preprocess",
)
FOR_RUNTIMES += ("kernel_files", "saliency", "strict_json", "toml_files", "whole_files")
EXCEPTIONS = {
    ("uva_edge.runtimes.torch", "uva_edge.models.families"): "the reference is the network itself",
    ("uva_edge.runtimes.fastest", "uva_edge"): "what was measured is remembered by version",
}


def test_the_source_was_found() -> None:
    for name in (
        "uva_edge.bundle",
        "uva_edge.runtimes.torch",
        "uva_edge.export.onnx",
        "uva_edge.models.blocks",
    ):
        assert name in SOURCES
    assert any(
        found.module == "uva_edge.runtimes.backend" for found in IMPORTS["uva_edge.runtimes.selection"]
    )
    assert any(
        found.module == "torch" and not found.at_module_level for found in IMPORTS["uva_edge.runtimes.torch"]
    )
    assert set(SCENE) <= set(SOURCES)
    assert {f"uva_edge.{name}" for name in FOR_RUNTIMES} <= set(SOURCES)


def test_the_runtimes_use_what_needs_no_torch() -> None:
    allowed = {f"uva_edge.{name}" for name in FOR_RUNTIMES}
    used = set()
    for name in SOURCES:
        if not _is_in(name, "uva_edge.runtimes"):
            continue
        for found in IMPORTS[name]:
            if not _is_in(found.module, "uva_edge") or _is_in(found.module, "uva_edge.runtimes"):
                continue
            if found.module in allowed:
                continue
            assert (name, found.module) in EXCEPTIONS, _place(name, found)
            used.add((name, found.module))
            if found.module != "uva_edge":
                assert not found.at_module_level, f"{_place(name, found)} outside a function"
    assert used == set(EXCEPTIONS), "an exception that nothing needs"


def test_only_the_command_line_trains() -> None:
    for name, imports in IMPORTS.items():
        if not _is_in(name, "uva_edge.training", "uva_edge.cli"):
            for found in imports:
                assert not _is_in(found.module, "uva_edge.training"), _place(name, found)
        for found in imports if _is_in(name, "uva_edge.cli") else ():
            if _is_in(found.module, "uva_edge.training"):
                assert found.for_types_only or not found.at_module_level, _place(name, found)


def test_torch_is_imported_where_networks_are() -> None:
    for name, imports in IMPORTS.items():
        if _is_in(name, *TORCH_ROOMS) and not _is_in(name, *SCENE):
            continue
        for found in imports:
            if _is_in(found.module, "torch"):
                assert not found.at_module_level or found.for_types_only, _place(name, found)


@pytest.mark.parametrize("name", LIGHT)
def test_light_modules_need_numpy_at_most(name: str) -> None:
    for found in IMPORTS[name]:
        if not found.at_module_level or found.for_types_only or _is_in(found.module, "uva_edge"):
            continue
        top = found.module.partition(".")[0]
        assert top in sys.stdlib_module_names or top == "numpy", _place(name, found)


@pytest.mark.parametrize("name", LIGHT)
def test_light_modules_lead_to_light_ones(name: str) -> None:
    for found in IMPORTS[name]:
        if found.at_module_level and not found.for_types_only and _is_in(found.module, "uva_edge"):
            assert found.module in LIGHT, _place(name, found)


def test_no_package_is_used_that_is_not_declared() -> None:
    """What works here only because another package brought it fails elsewhere."""
    names = (re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in metadata.requires("uva-edge") or ())
    declared = {name.lower().replace("_", "-") for name in names}
    providers = metadata.packages_distributions()
    for name, imports in IMPORTS.items():
        for found in imports:
            top = found.module.partition(".")[0]
            if top == "uva_edge" or top in sys.stdlib_module_names:
                continue
            if top in providers:  # an extra may be absent
                distributions = {item.lower().replace("_", "-") for item in providers[top]}
                assert distributions & declared, f"{_place(name, found)}, of {distributions}"


# --- what an import loads, and costs --------------------------------------------------------------------


def _run(code: str) -> str:
    """The output of a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_import_loads_no_engine() -> None:
    code = "import sys, uva_edge; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = set(_run(code).split())
    assert "uva_edge" in loaded
    assert not loaded & (ENGINES | {"scipy", "packaging", "typing_extensions"})


def test_the_class_loads_no_engine_either() -> None:
    code = (
        "import sys, uva_edge; uva_edge.SaliencyPredictor, uva_edge.Bundle, uva_edge.probe, uva_edge.Saliency;"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    loaded = set(_run(code).split())
    assert "numpy" in loaded
    assert not loaded & (ENGINES | {"scipy", "packaging", "typing_extensions"})


@pytest.mark.parametrize("statement", ["import uva_edge", "from uva_edge import SaliencyPredictor"])
def test_the_import_is_cheap(statement: str) -> None:
    """Less than three times `import numpy`, which it needs; the best of five, for other work can only add."""
    code = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"
    ratios = []
    for _ in range(5):
        ratios.append(float(_run(code.format(statement))) / float(_run(code.format("import numpy"))))
        if ratios[-1] < 3:
            break
    assert min(ratios) < 3, f"{statement}: {min(ratios):.1f} times import numpy"


def test_the_public_names() -> None:
    names = uva_edge.__all__
    assert names == sorted(names)
    assert len(set(names)) == len(names)
    assert dir(uva_edge) == names
    assert {"SaliencyPredictor", "Stream", "Saliency", "Bundle", "UvaEdgeError", "probe"} <= set(names)
    for name in names:
        value = getattr(uva_edge, name)
        if isinstance(value, type):
            assert value.__name__ == name
            assert value.__module__.startswith("uva_edge.")
    assert uva_edge.__version__ == metadata.version("uva-edge")
    with pytest.raises(AttributeError, match="module 'uva_edge' has no attribute 'Predictor'"):
        uva_edge.Predictor  # noqa: B018


def test_the_public_names_are_those_for_type_checkers() -> None:
    """What `if TYPE_CHECKING` imports is what __all__ promises, and what __getattr__ loads."""
    tree = ast.parse(SOURCES["uva_edge"].read_text("utf-8"))
    typed = {
        (alias.name, node.module)
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    loaded = {(name, module) for name, module in uva_edge._ROOMS.items()} | {("errors", "uva_edge")}
    assert typed == loaded
    assert {name for name, _ in typed} | {"__version__"} == set(uva_edge.__all__)


def test_everything_can_be_imported_by_name() -> None:
    code = "from uva_edge import *; print(*sorted(name for name in dir() if name != '__builtins__'))"
    exported = set(_run(code).split())
    assert set(uva_edge.__all__) <= exported
