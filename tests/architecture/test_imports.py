"""Who may import whom: no circle, plugins use public names, and few of them."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

HERE = Path(__file__).parent


def load(name: str) -> ModuleType:
    """Import a helper that lies beside this file."""
    spec = importlib.util.spec_from_file_location(f"_{name}", HERE / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


source, public = load("imports"), load("public")
HARNESS = source.ROOT / "harness"
# 2 of them are the place where a calibrator joins in: its spec and its base class
# and 7 are requests to services, which several plugins make; 11 are executors,
# and 3 what an engine offers that lists a few tokens; 6 serve training: of several
# processes, in 4 bits, calibrated
MOST_PUBLIC_NAMES = 137
PLUGINS = sorted(path for path in (source.ROOT / "plugins").glob("*/src/safebench_*"))


def exported(module: str) -> set[str]:
    """Return the public names of a public package or module of the core."""
    path = HARNESS.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return set(public.exported(file))


def used_by_plugins() -> dict[str, set[str]]:
    """Return the core's names that our plugins import, by the module they name."""
    used: dict[str, set[str]] = defaultdict(set)
    for package in PLUGINS:
        for found in source.all_imports(package.parent, package.name):
            if found.module.split(".")[0] == "safebench":
                used[found.module].add(found.name)
    return used


def shown_in_guide() -> set[str]:
    """Return what examples of the guide import, and what its text names in full."""
    guide = (source.ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    guide = guide.partition("## Public names")[0]
    shown = set(re.findall(r"`(safebench(?:\.\w+)+)", guide))
    # by its bare name, of `safebench` and where the text speaks of one package
    for name in re.findall(r"`(\w+)(?:\.\w+)*(?:\([^`]*\))?`", guide):
        shown |= {f"{package}.{name}" for package in public.public_names()}
    for block in re.findall(r"```python\n(.*?)```", guide, re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                shown |= {f"{node.module}.{alias.name}" for alias in node.names}
    return shown


@pytest.mark.slow
def test_the_packages_of_the_core_form_no_circle() -> None:
    """Imports for type checkers count, and those inside functions."""
    graph = source.package_graph(source.all_imports(HARNESS, "safebench"), HARNESS)

    assert "cli" in graph
    assert [] == source.cycle_in(graph)


@pytest.mark.slow
@pytest.mark.parametrize(
    "package", [HARNESS / "safebench", *PLUGINS], ids=lambda path: path.name
)
def test_modules_form_no_circle(package: Path) -> None:
    """No two modules need each other, directly or by way of others."""
    assert [] == source.cycle_in(source.module_graph(package))


def test_a_circle_would_be_found() -> None:
    """Two packages that import each other are told, and so is a longer way round."""
    assert ["a", "b", "a"] == source.cycle_in({"a": {"b": None}, "b": {"a": None}})
    longer = {"a": {"b": None}, "b": {"c": None, "d": None}, "d": {"a": None}}
    assert ["a", "b", "d", "a"] == source.cycle_in(longer)


@pytest.mark.slow
@pytest.mark.parametrize("package", PLUGINS, ids=lambda path: path.name)
def test_plugins_import_what_packages_export(package: Path) -> None:
    """Only `safebench`, its public packages, and what another plugin exports."""
    wrong = []
    for found in source.all_imports(package.parent, package.name):
        top, _, rest = found.module.partition(".")
        if top == "safebench":
            allowed = not rest or rest in (*public.PACKAGES, *public.MODULES)
            if not allowed or (found.name and found.name not in exported(found.module)):
                wrong.append(str(found))
        elif top.startswith("safebench_") and top != package.name:
            (other,) = (path for path in PLUGINS if path.name == top)
            if rest or found.name not in public.exported(other / "__init__.py"):
                wrong.append(str(found))

    assert [] == wrong


@pytest.mark.slow
def test_what_is_exported_is_used() -> None:
    """Every public name of a package is imported by a plugin or shown in the guide."""
    shown, used = shown_in_guide(), used_by_plugins()
    unused = [
        f"{package}.{name}"
        for package, names in public.public_names().items()
        for name in names
        if name not in used[package] and f"{package}.{name}" not in shown
    ]

    assert [] == unused


def test_what_scripts_import_is_documented() -> None:
    """What `safebench` exports for scripts is shown in the guide to them."""
    guide = (source.ROOT / "docs" / "python.md").read_text(encoding="utf-8")

    assert set(public.FOR_SCRIPTS) <= exported("safebench")
    assert [] == [name for name in public.FOR_SCRIPTS if f"`{name}" not in guide]


def test_the_surface_fits_on_a_page() -> None:
    """What plugins may import is few names: a new one should replace two."""
    assert sum(map(len, public.public_names().values())) <= MOST_PUBLIC_NAMES


@pytest.mark.slow
def test_no_two_classes_share_a_name() -> None:
    """A class name has one meaning, in the core and in all plugins."""
    places = defaultdict(list)
    for package in [HARNESS / "safebench", *PLUGINS]:
        for path in package.rglob("*.py"):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and node.name[0] != "_":
                    places[node.name].append(str(path.relative_to(source.ROOT)))

    assert {} == {name: paths for name, paths in places.items() if len(paths) > 1}


@pytest.mark.slow
def test_the_core_imports_no_plugin_and_torch_in_one_place() -> None:
    """PyTorch stays behind `torch_utils` and what plugins import."""
    imports = source.all_imports(HARNESS, "safebench")
    heavy = ("torch", "transformers", "peft", "accelerate", "tokenizers")

    assert [] == [str(i) for i in imports if i.module.startswith("safebench_")]
    assert {"torch_utils"} == {
        source.part_of(source.module_name(found.path, HARNESS))
        for found in imports
        if found.module.split(".")[0] in heavy
    }


@pytest.mark.parametrize("package", public.public_names())
def test_every_public_name_can_be_imported(package: str) -> None:
    """Names that are imported on first use are there under the name that is listed."""
    module = importlib.import_module(package)

    for name in public.public_names()[package]:
        assert hasattr(module, name), name


@pytest.mark.slow
def test_all_that_people_read_is_printed_in_one_place() -> None:
    """`console.echo` spells out what would steer a terminal; nothing goes past it."""
    printing = []
    for package in (HARNESS / "safebench", *PLUGINS):
        for path in sorted(package.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                named = {ast.unparse(part) for part in (node.func, *node.args)}
                if {"print", "click.echo", "click.secho"} & named:
                    printing.append(path.relative_to(source.ROOT).as_posix())

    assert {"harness/safebench/console.py"} == set(printing)
