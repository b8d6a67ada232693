"""Let a checkout be measured as it is, without installing it.

Plugins are found by entry points, and those by what an installer leaves beside the
code: the same is written into a folder for what is not installed.
"""

from __future__ import annotations

import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[3]


def use_checkout(folder: Path) -> list[str]:
    """Import from the checkout; return the packages described in `folder`."""
    sources = [ROOT / "harness", *sorted(ROOT.glob("plugins/*/src"))]
    here = [ROOT / "benchmarks", ROOT / "benchmarks/speed", ROOT / "benchmarks/gpu"]
    sys.path[:0] = [str(path) for path in (*here, *sources)]
    files = [ROOT / "pyproject.toml", *sorted(ROOT.glob("plugins/*/pyproject.toml"))]
    missing = [name for path in files if (name := _describe(path, folder))]
    if missing:
        sys.path.insert(0, str(folder))
    return missing


def _describe(pyproject: Path, folder: Path) -> str | None:
    """Write name, version and entry points of a package that is not installed."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    name = project["name"]
    try:
        version(name)
    except PackageNotFoundError:
        info = folder / f"{name.replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir()
        facts = f"Metadata-Version: 2.1\nName: {name}\nVersion: {project['version']}\n"
        (info / "METADATA").write_text(facts, encoding="utf-8")
        lines = []
        for group, entries in project.get("entry-points", {}).items():
            lines += [f"[{group}]", *(f"{k} = {v}" for k, v in entries.items())]
        (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
        return str(name)
    return None
