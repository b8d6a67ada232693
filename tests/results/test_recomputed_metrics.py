"""Every metric in results follows from the stored predictions alone."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from safebench.cli import cli
from safebench.metrics.catalog import SPECS
from safebench.metrics.compute import compute
from safebench.metrics.intervals import can_compare
from safebench.plugins import Plugins
from safebench.results.outcomes import to_outcome
from safebench.results.prediction_reading import read_prediction_file

if TYPE_CHECKING:
    from types import ModuleType

COMPARED = [spec for spec in SPECS if can_compare(spec)]
HERE = Path(__file__).parent
GUARDS = {
    "llamaguard": "safebench_llamaguard_marginal",
    "keyword": "safebench",
}
PUBLIC = {
    "openai_moderation": "mmathys/openai-moderation-api-evaluation",
    "beavertails:30k_test": "PKU-Alignment/BeaverTails",
    "pku_safe_rlhf:test": "PKU-Alignment/PKU-SafeRLHF",
}
# of all predictions of a set; each is about something that the others lack
EXPECTED = {
    "openai_moderation": {"auroc", "ece", "micro_auroc", "macro_f1", "gap_p95"},
    "beavertails:30k_test": {"auroc", "micro_auprc", "gap_mean_categories", "mcc"},
    "pku_safe_rlhf:test": {"ranking_accuracy", "sign_accuracy", "aurc"},
    "built": {"micro_auroc", "gap_mean_uncertainty", "error_auroc", "e_aurc"},
    "pairs": {"kendall_tau_b", "ranking_accuracy", "sign_accuracy"},
}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """Return the script; it imports nothing of safebench."""
    path = HERE / "recompute.py"
    imports = [s for s in path.read_text("utf-8").splitlines() if "import " in s]
    assert not [line for line in imports if "safebench" in line.split()]
    spec = importlib.util.spec_from_file_location("recompute", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(folder: Path, dataset: str, *words: str) -> Path:
    """Run both guards with all strategies; return the run folder."""
    command = ["run", "-d", dataset, "-s", "all", "--out", str(folder / "run"), *words]
    for guard, module in GUARDS.items():
        if importlib.util.find_spec(module):
            command += ["-c", guard]
    plugins = Plugins()
    plugins.add_commands(cli)
    result = CliRunner().invoke(cli, command, obj=plugins)
    assert 0 == result.exit_code, result.output
    return folder / "run"


def assert_recomputed(script: ModuleType, folder: Path) -> set[str]:
    """Compare each file with the rows about it; return the metrics that had values.

    What `compare` reads of a file has the values of the rows, too.
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for line in (folder / "results.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        key = (row["classifier"], row["strategy"])
        rows.setdefault(key, {})[row["metric"]] = row["value"]
    seen: set[str] = set()
    paths = sorted(folder.glob("predictions/*/*/*.jsonl"))
    assert len(rows) == len(paths)
    for path in paths:
        lines = script.read(path)
        expected = script.recompute(lines)
        stored = rows[lines[0]["classifier"], lines[0]["strategy"]]
        valued = {name: value for name, value in stored.items() if value is not None}
        assert expected.keys() == valued.keys(), path
        for name, value in valued.items():
            assert expected[name] == pytest.approx(value, rel=1e-9, abs=1e-12), (
                f"{path}: {name}"
            )
        for spec, value in compute(to_outcome(read_prediction_file(path)), COMPARED):
            assert stored[spec.name] == pytest.approx(value.value), (
                f"{path}: {spec.name}"
            )
        seen |= valued.keys()
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("dataset", PUBLIC)
def test_results_follow_from_stored_predictions(
    script: ModuleType, tmp_path: Path, dataset: str
) -> None:
    """Of a public set, every value of every strategy, and no value beside them."""
    root = os.environ.get("SAFEBENCH_DATA")
    if not root or not (Path(root) / PUBLIC[dataset]).is_dir():
        pytest.skip(f"needs {PUBLIC[dataset]} in SAFEBENCH_DATA")
    folder = run(tmp_path, dataset, "--limit", "60", "--data-root", root)

    assert EXPECTED[dataset] <= assert_recomputed(script, folder)


@pytest.mark.slow
def test_results_of_a_built_set_follow_from_stored_predictions(
    script: ModuleType, tmp_path: Path
) -> None:
    """With unknown labels, groups, categories known of some, and calibration rows."""
    words = ["bomb", "cake", "kill", "garden", "steal", "poem", "attack", "tea"]
    rows = [
        {
            "prompt": f"How do I {words[i % 8]} number {i}?",
            "label": None if i % 11 == 0 else ["unsafe", "safe"][(i + i // 8) % 2],
            "group": f"g{i // 3}",
            "categories": [["S1"], [], ["S2", "S9"], None][i % 4],
        }
        for i in range(48)
    ]
    path = tmp_path / "built.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    folder = run(tmp_path, f"{path},policy=llama-guard-3")

    assert EXPECTED["built"] <= assert_recomputed(script, folder)


@pytest.mark.slow
def test_results_of_built_pairs_follow_from_stored_predictions(
    script: ModuleType, tmp_path: Path
) -> None:
    """With severities of answers, ties, and a pair whose other answer is held out."""
    words = ["bomb", "cake", "kill", "tea", "steal it", "kill and attack", "poem"]
    rows = [
        {
            "prompt": f"What about {i}?",
            "response_0": f"You {words[i % 7]} {i}.",
            "response_1": f"You {words[(i * 3 + 2) % 7]} or so {i}.",
            "is_response_0_safe": i % 3 == 0,
            "is_response_1_safe": i % 3 != 1,
            "safer_response_id": int(i % 3 != 0),
            "response_0_severity_level": i % 4,
            "response_1_severity_level": (i + 2) % 4,
        }
        for i in range(40)
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    folder = run(tmp_path, str(path))

    assert EXPECTED["pairs"] <= assert_recomputed(script, folder)
