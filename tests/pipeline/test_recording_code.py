"""Which files of a plugin record, and how another version of them is named."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

import pytest

from safebench.evidence import Scores
from safebench.pipeline.recording_code import (
    format_other_code,
    other_code_notes,
    recording_code,
)
from safebench.plugins import Plugin
from safebench.specs import ClassifierSpec, MetricSpec, StrategySpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    CodeOf = Callable[[str], dict[str, str]]

FILES = {
    "__init__.py": "",
    "plugin.py": "import safebench\n",
    "guard.py": "from . import shared\nfrom .parts.words import count\n",
    "options.py": "",
    "shared.py": "",
    "parts/__init__.py": "",
    "parts/words.py": "def late():\n    import odd_pkg.parts.later\n",
    "parts/later.py": "",
    "template.jinja": "{{ text }}",
    "strategy.py": "from odd_pkg import formulas, shared\n",
    "formulas.py": "",
    "metric.py": "",
    "broken.py": "def (:\n",
    "__pycache__/guard.cpython-311.pyc": "",
}
READERS = {"strategy.py", "formulas.py", "metric.py"}
NO_CODE = {"__pycache__/guard.cpython-311.pyc"}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a package that Python finds."""
    folder = tmp_path / "odd_pkg"
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def files_of(load: str = "odd_pkg.guard:Guard") -> dict[str, str]:
    """Return the recording code of a plugin with a guard, a strategy and a metric."""
    spec = ClassifierSpec(name="g", load=load, provides=frozenset({Scores}))
    needs = frozenset({Scores})
    components = [
        spec,
        StrategySpec(name="s", load="odd_pkg.strategy:judge", needs=needs),
        MetricSpec(name="m", load="odd_pkg.metric:f", higher_is_better=True),
    ]
    entry_point = EntryPoint("odd", "odd_pkg.plugin", "safebench")
    code = recording_code(spec, Plugin("odd", entry_point, components))
    return code["files"] if code else {}


def test_what_only_strategies_and_metrics_import_does_not_record(package: Path) -> None:
    """Imports are followed, also those within functions; data files count."""
    assert set(FILES) - READERS - NO_CODE == set(files_of())


@pytest.mark.parametrize("name", sorted(set(FILES) - NO_CODE))
def test_an_edit_is_seen_where_it_may_record_something_else(
    package: Path, name: str
) -> None:
    """By the file's name, and nothing else changes."""
    before = files_of()
    (package / name).write_text(FILES[name] + "\n# edited\n")

    after = files_of()

    changed = {n for n in before.keys() | after.keys() if before.get(n) != after.get(n)}
    assert changed == ({name} - READERS)


def test_a_guard_that_imports_a_strategy_records_with_it(package: Path) -> None:
    """Then the strategy's module is no mere reader."""
    (package / "guard.py").write_text("from .strategy import helper\n")

    assert {"strategy.py", "formulas.py"} <= set(files_of())
    assert "metric.py" not in files_of()


def test_a_module_that_is_no_package_is_its_own_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a package that is not there has none."""
    (tmp_path / "lone_guard.py").write_text("x = 1\n")
    (tmp_path / "neighbour.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)

    assert ["lone_guard.py"] == list(files_of("lone_guard:Guard"))
    assert {} == files_of("no_such_package.guard:Guard")


def test_many_files_are_counted() -> None:
    """Three are named; a stored value of another form names none."""
    now = {"plugin": "odd", "files": {f"{i}.py": "a" for i in range(5)}}
    before = {"plugin": "odd", "files": {}}

    assert "recorded by other code of odd (0.py, 1.py, 2.py and 2 more)" == (
        format_other_code(before, now)
    )
    assert "recorded by other code of odd" == format_other_code({"files": 3}, now)


@pytest.mark.parametrize(
    ("stored", "notes"),
    [
        ({"files": {"a.py": "1"}}, []),  # before they were stored
        ({"files": {"a.py": "1"}, "model_files": {"tokenizer.json": "5"}}, []),
        (
            {"files": {"a.py": "1"}, "model_files": {"tokenizer.json": "6"}},
            ["recorded with other files of the model (tokenizer.json)"],
        ),
        (
            {"files": {"a.py": "2"}, "model_files": {"config.json": "5"}},
            [
                "recorded by other code of odd (a.py)",
                "recorded with other files of the model (config.json, tokenizer.json)",
            ],
        ),
    ],
)
def test_files_of_a_model_that_its_key_does_not_hold_are_noted(
    stored: dict[str, object], notes: list[str]
) -> None:
    """Of a folder whose evidence says which they were."""
    odd = {"plugin": "odd"}
    now = {"files": {"a.py": "1"}, "model_files": {"tokenizer.json": "5"}}

    assert notes == other_code_notes(odd | stored, odd | now)
