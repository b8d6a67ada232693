"""What a model learnt while recording: handed on whole, or not at all."""

from __future__ import annotations

import json
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from safebench.checksums import sealed, unsealed
from safebench.cli import cli
from safebench.evidence.store import EvidenceStore
from safebench.plugins import ENTRY_POINT_GROUP, Plugins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

LEARNER = '''
"""A classifier that counts its shards over all runs, and knows the last one's size."""
import numpy as np

from safebench import ClassifierSpec, hookimpl
from safebench.classifiers import Classifier, Recording, Trace
from safebench.evidence import Scores

META = {"labels": ["unsafe"], "scale": "probability", "exclusive": False}


class Learner(Classifier):
    shards, size = 0, 0

    @property
    def state(self):
        return {"shards": self.shards, "size": self.size}

    def restore(self, state):
        self.shards = state["shards"]
        self.size = state["size"]

    def record(self, samples, kinds, on_progress):
        self.shards, self.size = self.shards + 1, len(samples)
        values = np.full((len(samples), 1), 0.5)
        scores = Scores({"values": values}, meta=META)
        return Recording(evidence={Scores: scores}, traces=[Trace() for _ in samples])


@hookimpl
def safebench_classifiers():
    return [ClassifierSpec(
        name="learner", load="learner_plugin:Learner", provides={Scores},
        tasks={"prompt_harm"}, default_strategy="score", summary="learns",
    )]
'''
ROWS = [{"prompt": f"text {i}", "label": i % 2} for i in range(30)]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return what runs the learner on the first n rows, ten a shard."""
    (tmp_path / "learner_plugin.py").write_text(LEARNER, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    learner = EntryPoint("learner", "learner_plugin", ENTRY_POINT_GROUP)
    plugins = Plugins([*entry_points(group=ENTRY_POINT_GROUP), learner])

    def on_rows(count: int) -> Result:
        text = "".join(json.dumps(row) + "\n" for row in ROWS[:count])
        Path("rows.jsonl").write_text(text, encoding="utf-8")
        args = ["run", "-c", "learner", "-d", "rows.jsonl", "--shard-size", "10"]
        args += ["--calibration-fraction", "0", "--out", "run"]
        return CliRunner().invoke(cli, args, obj=plugins)

    yield on_rows
    sys.modules.pop("learner_plugin", None)


def state_file() -> Path:
    """Return where the state is."""
    (path,) = Path("run/evidence").glob("*/state.json")
    return path


def stored_state() -> dict[str, Any]:
    """Return the stored state; a checksum stands in it."""
    content = json.loads(state_file().read_text(encoding="utf-8"))
    assert "checksum" in content
    return unsealed(content)


def changed(text: str) -> str:
    """Return a state with one digit changed."""
    return text.replace('"shards": 2', '"shards": 7')


@pytest.mark.parametrize("count", [20, 30])
def test_a_state_is_handed_on(run: Callable[[int], Result], count: int) -> None:
    """Two shards in the first run, and as many more as there are rows for."""
    assert 0 == run(20).exit_code
    assert {"shards": 2, "size": 10} == stored_state()

    result = run(count)

    assert 0 == result.exit_code, result.output
    assert "set aside" not in result.output
    assert {"shards": count // 10, "size": 10} == stored_state()


def test_a_state_of_an_early_version_is_handed_on(run: Callable[[int], Result]) -> None:
    """It has no checksum."""
    assert 0 == run(20).exit_code
    state_file().write_text('{"shards": 7, "size": 10}')

    assert 0 == run(30).exit_code
    assert {"shards": 8, "size": 10} == stored_state()


@pytest.mark.parametrize(
    "damage",
    [
        changed,
        lambda text: text[:-9],
        lambda text: "",
        lambda text: "[]",
        lambda text: "null",
        lambda text: "[" * 100_000,
        # half of it is taken over before the plugin fails
        lambda text: json.dumps(sealed({"shards": 7})),
        lambda text: json.dumps({"shards": 7}),
    ],
)
def test_a_damaged_state_is_set_aside(
    run: Callable[[int], Result], damage: Callable[[str], str]
) -> None:
    """The model starts anew, and the line says so; rows are what they are without."""
    assert 0 == run(20).exit_code
    path = state_file()
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")

    result = run(30)

    assert 0 == result.exit_code, result.output
    (line,) = (line for line in result.output.splitlines() if "set aside" in line)
    assert "state.json.set-aside" in line
    assert "starts without what it learnt" in line
    assert {"shards": 1, "size": 10} == stored_state()
    assert "set aside" not in run(30).output


def test_a_state_is_stored_before_what_was_recorded_under_it(
    run: Callable[[int], Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the two, a run records the shard again, and nothing is lost."""
    add, added = EvidenceStore.add, []

    def interrupted(self: EvidenceStore, *args: Any, **named: Any) -> None:
        if added:
            raise KeyboardInterrupt
        added.append(add(self, *args, **named))

    with monkeypatch.context() as patch:
        patch.setattr(EvidenceStore, "add", interrupted)
        assert 130 == run(30).exit_code

    assert {"shards": 2, "size": 10} == stored_state()
    assert 0 == run(30).exit_code
    assert {"shards": 4, "size": 10} == stored_state()
