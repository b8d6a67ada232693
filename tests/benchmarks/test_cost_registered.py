"""The script that compares cost models as they were registered."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """Return the script as a module."""
    path = ROOT / "benchmarks" / "cost_registered.py"
    spec = importlib.util.spec_from_file_location("cost_registered_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_work_of_another_registration_is_not_gone_on_with(
    script: Any, tmp_path: Path
) -> None:
    """Costs that another recipe left there would be taken for those of this one."""
    script.check_work(tmp_path / "new", "a")
    (tmp_path / "new" / "costs.json").touch()
    script.check_work(tmp_path / "new", "a")
    with pytest.raises(SystemExit, match="holds work of another registration"):
        script.check_work(tmp_path / "new", "b")
    (tmp_path / "unmarked").mkdir()
    (tmp_path / "unmarked" / "costs.json").touch()
    with pytest.raises(SystemExit, match="holds work of another registration"):
        script.check_work(tmp_path / "unmarked", "a")
