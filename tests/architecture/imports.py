"""The imports of a source tree, read with `ast`: nothing is imported to find them."""

from __future__ import annotations

import ast
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
CORE = ROOT / "harness" / "safebench"


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name: ``from module import name``, or ``import module``."""

    path: Path
    line: int
    module: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line} {self.module}:{self.name}"


def module_name(path: Path, source: Path) -> str:
    """Return the dotted name of a file below its source folder."""
    parts = path.relative_to(source).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path, source: Path) -> Iterator[Import]:
    """Yield every import of a file: for type checkers and inside functions too."""
    module = module_name(path, source)
    package = (
        module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    )
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(path, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                yield Import(path, node.lineno, base, alias.name)


def all_imports(source: Path, package: str) -> list[Import]:
    """Return the imports of every file of a package below a source folder."""
    files = sorted((source / package).rglob("*.py"))
    return [found for path in files for found in imports_of(path, source)]


def part_of(module: str) -> str:
    """Return the package or top-level module of the core that a module belongs to."""
    pieces = module.split(".")
    return pieces[1] if len(pieces) > 1 else ""


def package_graph(
    imports: list[Import], source: Path
) -> Mapping[str, Mapping[str, Import]]:
    """Return which part of the core imports which, with one import as the witness."""
    graph: dict[str, dict[str, Import]] = defaultdict(dict)
    for found in imports:
        if found.module.split(".")[0] != "safebench":
            continue
        target = found.module if "." in found.module else f"safebench.{found.name}"
        here, there = part_of(module_name(found.path, source)), part_of(target)
        if there and here != there and (CORE / there).with_suffix("").name:
            graph[here].setdefault(there, found)
    return graph


def module_graph(package: Path) -> Mapping[str, Mapping[str, Import]]:
    """Return which module of a package imports which, by whole dotted names."""
    source = package.parent
    modules = {module_name(path, source) for path in package.rglob("*.py")}
    graph: dict[str, dict[str, Import]] = defaultdict(dict)
    for found in all_imports(source, package.name):
        here, whole = module_name(found.path, source), f"{found.module}.{found.name}"
        there = whole if whole in modules else found.module
        # a package may gather what its own modules define
        if there in modules and there != here and not there.startswith(f"{here}."):
            graph[here].setdefault(there, found)
    return graph


def cycle_in(graph: Mapping[str, Mapping[str, Import]]) -> list[str]:
    """Return the parts of one import circle, or nothing."""
    done: set[str] = set()

    def visit(part: str, trail: list[str]) -> list[str]:
        if part in trail:
            return [*trail[trail.index(part) :], part]
        if part in done:
            return []
        for other in graph.get(part, {}):
            if found := visit(other, [*trail, part]):
                return found
        done.add(part)
        return []

    for part in list(graph):
        if found := visit(part, []):
            return found
    return []


def layers() -> list[list[str]]:
    """Return the parts of the core, each in the first line that its imports allow."""
    source = CORE.parent
    graph = package_graph(all_imports(source, "safebench"), source)
    depth: dict[str, int] = {}

    def visit(part: str) -> int:
        if part not in depth:
            depth[part] = 1 + max(map(visit, graph.get(part, {})), default=0)
        return depth[part]

    for part in graph:
        visit(part)
    named = sorted(part for part in depth if part and part != "__main__")
    every = range(1, max(depth.values()) + 1)
    found = [[part for part in named if depth[part] == line] for line in every]
    return [parts for parts in found if parts]
