"""Imports go downwards only, nothing imports in circles, and every outside library has one home.

Read from the source, not from what happens to be imported: an import inside a function counts like one at the
top; only imports under `TYPE_CHECKING`, which never run, are free.
"""

from __future__ import annotations

import ast
import functools
import graphlib
import pathlib
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = pathlib.Path(__file__).parent.parent / "actorsched"

# From the ground up. A module may import its own layer and those below.
LAYERS: tuple[tuple[str, ...], ...] = (
    (
        *("cgroups", "checks", "durations", "events", "exceptions", "messages", "options", "sizes"),
        *("specifications", "status"),
    ),
    ("_core",),
    ("_kernel",),
    ("_hosting",),
    ("_system",),
    ("*",),  # what users hold: every module that is not named here; and `observe`, to which it has doors
    ("cli", "demo", "frontends", "simulate", "testing"),
    ("__init__", "__main__"),
)

# Where each library from outside may be imported: modules, or whole layers.
# Built on the public face alone: nothing of these may import a private module of the others.
PUBLIC_ONLY = ("frontends", "observe")

HOMES: dict[str, tuple[str, ...]] = {
    "aiologger": ("observe.log_sink",),
    "anyio": (
        *("_kernel", "_hosting", "_system", "flow", "frontends", "pipeline", "running", "runtime_end"),
        *("observe.log_actor", "observe.timeline", "scope", "sleeping", "spawning", "testing"),
    ),
    "cloudpickle": ("_hosting.by_value",),
    "hypothesis": ("testing.plugin",),
    "joblib": ("integrations.joblib",),
    "msgspec": (
        *(
            "events",
            "explaining",
            "latencies",
            "messages",
            "options",
            "_core",
            "_hosting",
            "_system",
            "actor",
            "task",
        ),
        *("observe.records", "observe.tally", "simulate", "stats", "tree"),
    ),
    "numpy": ("_hosting.reducers",),
    "prometheus_client": ("frontends.realtime.metrics", "observe.prometheus"),
    "psutil": ("_hosting.load_probe",),
    "pytest": ("testing.plugin", "testing.seeds", "testing.staging", "testing.wanted"),
    "rich": ("cli", "demo", "observe.picture", "observe.progress"),
    "trio": (
        *("_kernel", "_hosting.child_loop", "frontends.manager.places"),
        *("testing._loops", "testing.remains"),
    ),
    "uvloop": ("_kernel", "_hosting.child_loop"),
}

# What the core may use of the standard library: nothing that reads a clock, draws randomness, waits, logs or
# acts.
PURE = {
    "__future__",
    "abc",
    "bisect",
    "collections",
    "difflib",
    "enum",
    "functools",
    "graphlib",
    "heapq",
    "itertools",
    "math",
    "operator",
    "types",
    "typing",
    "weakref",
    "zlib",
}


class Import(NamedTuple):
    """One import statement's target, where it stands, and whether it runs when the module is imported."""

    target: str
    where: str
    at_once: bool


# ---------------------------------------------------------------------------------------- reading the package


@functools.cache
def modules() -> tuple[str, ...]:
    """Every module of the package, named from inside it: `runtime`, `_core.mailbox`."""
    names = [".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in PACKAGE.rglob("*.py")]
    return tuple(sorted(name.removesuffix(".__init__") for name in names))


@functools.cache
def known_modules() -> frozenset[str]:
    return frozenset(modules())


def path_of(module: str) -> pathlib.Path:
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@functools.cache
def imports_of(module: str) -> tuple[Import, ...]:
    """What a module imports when it runs, wherever in it."""
    tree = ast.parse(path_of(module).read_text(encoding="utf-8"))
    where = path_of(module).relative_to(PACKAGE.parent)
    return tuple(
        Import(target, f"{where}:{node.lineno}", node.col_offset == 0)
        for node in running_nodes(tree)
        for target in targets_of(node)
    )


def running_nodes(tree: ast.AST) -> Iterator[ast.stmt]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from running_nodes(ast.Module([other], []))
            continue
        if isinstance(node, ast.stmt):
            yield node
        yield from running_nodes(node)


def targets_of(node: ast.stmt) -> Iterator[str]:
    """The modules that an import statement names; `from package import module` names the module."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert not node.level, f"line {node.lineno}: imports are absolute here"
        assert node.module
        inside = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name if is_ours(name) else node.module for name in inside)


def is_ours(dotted: str) -> bool:
    return dotted.startswith("actorsched.") and dotted.removeprefix("actorsched.") in known_modules()


def ours(module: str) -> list[Import]:
    """The imports of a module that stay within the package, named from inside it."""
    return [
        found._replace(target=found.target.removeprefix("actorsched."))
        for found in imports_of(module)
        if found.target.startswith("actorsched.")
    ]


def foreign(module: str) -> list[Import]:
    """The imports of a module that leave the package, by their topmost name."""
    return [
        found._replace(target=found.target.partition(".")[0])
        for found in imports_of(module)
        if found.target.partition(".")[0] != "actorsched"
    ]


def layer_of(module: str) -> int:
    top = module.partition(".")[0]
    named = {name: height for height, layer in enumerate(LAYERS) for name in layer}
    return named.get(top, named["*"])


# -------------------------------------------------------------------------------------------------- the rules


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_its_own_layer_and_those_below(module: str) -> None:
    upwards = [
        f"{found.where} imports {found.target}"
        for found in ours(module)
        if layer_of(found.target) > layer_of(module)
    ]
    assert not upwards


@pytest.mark.parametrize("module", [name for name in modules() if name.partition(".")[0] in PUBLIC_ONLY])
def test_what_is_built_on_the_public_face_imports_nothing_private(module: str) -> None:
    package = module.partition(".")[0]
    private = [
        f"{found.where} imports {found.target}"
        for found in ours(module)
        if any(part.startswith("_") for part in found.target.split("."))
        and found.target.split(".")[0] != package
    ]
    assert not private


@pytest.mark.parametrize("module", modules())
def test_nobody_inside_imports_the_public_face(module: str) -> None:
    roots = [found.where for found in imports_of(module) if found.target == "actorsched"]
    assert not roots, "import the module that defines the thing instead"


def test_no_modules_import_each_other_in_a_circle() -> None:
    # Within a layer, an import inside a function may close a circle: what it names is there when it runs.
    graph = {module: {found.target for found in ours(module) if found.at_once} for module in modules()}
    try:
        tuple(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


@pytest.mark.parametrize("module", modules())
def test_an_outside_library_is_imported_at_home_only(module: str) -> None:
    strays = [
        f"{where} imports {library}, whose home is {' and '.join(HOMES.get(library, ('not in HOMES',)))}"
        for library, where, _ in foreign(module)
        if library not in sys.stdlib_module_names
        and not any(module == home or module.startswith(f"{home}.") for home in HOMES.get(library, ()))
    ]
    assert not strays


@pytest.mark.parametrize("library", HOMES)
def test_every_library_with_a_home_is_used_there(library: str) -> None:
    assert any(found.target == library for module in modules() for found in foreign(module))


@pytest.mark.parametrize("module", [name for name in modules() if name.partition(".")[0] == "_core"])
def test_the_core_uses_nothing_that_acts(module: str) -> None:
    acting = [
        f"{found.where} imports {found.target}"
        for found in foreign(module)
        if found.target in sys.stdlib_module_names and found.target not in PURE
    ]
    assert not acting


def test_every_layer_that_is_named_exists() -> None:
    tops = {name.partition(".")[0] for name in modules()}
    missing = [name for layer in LAYERS for name in layer if name not in tops and name != "*"]
    assert not missing


# -------------------------------------------------------------------------------------------- the price of it


@pytest.mark.process
def test_importing_the_package_loads_nothing_but_its_face() -> None:
    script = (
        "import __future__, sys, typing; before = set(sys.modules);"
        "import actorsched; print(*set(sys.modules) - before)"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["actorsched"]
