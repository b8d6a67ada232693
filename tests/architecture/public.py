"""The public names of safebench: what each package's ``__init__`` exports."""

from __future__ import annotations

import ast
from pathlib import Path

CORE = Path(__file__).parents[2] / "harness" / "safebench"
# where plugins may import from, besides `safebench` itself: these and no module below
PACKAGES = (
    "calibration",
    "classifiers",
    "datasets",
    "evidence",
    "executors",
    "metrics",
    "policies",
    "profiles",
    "results",
    "services",
    "strategies",
    "testing",
    "torch_utils",
    "training",
    "verdict_tree",
)
# of `safebench` itself, for people's scripts and notebooks (docs/python.md): no plugin
# needs them
FOR_SCRIPTS = ("LoadedRun", "judge", "load_run", "run")
MODULES = ("errors", "options", "records", "typing")


def exported(path: Path) -> list[str]:
    """Return ``__all__`` of a file, or else its public definitions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return sorted(ast.literal_eval(node.value))
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node in tree.body:
            names.append(node.name)
        elif isinstance(node, ast.Assign):  # aliases for type checkers too
            names += [ast.unparse(target) for target in node.targets]
    return sorted({name for name in names if name.isidentifier() and name[0] != "_"})


def public_names() -> dict[str, list[str]]:
    """Return the names for plugins by package, `safebench` itself first."""
    own = exported(CORE / "__init__.py")
    found = {"safebench": [name for name in own if name not in FOR_SCRIPTS]}
    for name in PACKAGES:
        found[f"safebench.{name}"] = exported(CORE / name / "__init__.py")
    return found
