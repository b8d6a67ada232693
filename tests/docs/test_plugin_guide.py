"""The plugin guide, followed: its files are written, built, installed and run.

So is the guide that version 0.1 published, kept as it was: what was written by it runs.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

GUIDES = {
    "today": Path(__file__).parents[2] / "docs" / "plugins.md",
    "published with 0.1": Path(__file__).parent / "published" / "plugins-0.1.md",
}
BLOCK = re.compile(
    r"^(?:Add to )?`([\w/]+\.(?:py|toml))`[^\n]*\n\n```\w+\n(.*?)```",
    re.MULTILINE | re.DOTALL,
)
ENTRY = "[project.entry-points.safebench]\n"


@pytest.fixture(params=GUIDES)
def guide(request: pytest.FixtureRequest) -> str:
    """Return the text of a guide."""
    return GUIDES[request.param].read_text(encoding="utf-8")


def write_package(folder: Path, guide: str) -> None:
    """Write the files that the guide names, in its order; a second block is added."""
    (folder / "my_guard").mkdir(parents=True)
    (folder / "my_guard" / "__init__.py").touch()
    for name, code in BLOCK.findall(guide):
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write(code)
    project, _, entries = (folder / "pyproject.toml").read_text().partition(ENTRY)
    # each names those of the one before, and one more
    *_, more = re.findall(rf"```toml\n{re.escape(ENTRY)}(.*?)```", guide, re.DOTALL)
    assert entries in more
    (folder / "pyproject.toml").write_text(project + ENTRY + more)


@pytest.fixture
def site(install: Callable[..., Any], tmp_path: Path, guide: str) -> Any:
    """Return an environment with the guide's package."""
    write_package(tmp_path / "guide", guide)
    return install(tmp_path / "guide")


def values(site: Any, run: str, classifier: str) -> dict[tuple[str, str], Any]:
    """Return a classifier's values by strategy and metric."""
    text = (site.cwd / "runs" / run / "results.jsonl").read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    return {
        (row["strategy"], row["metric"]): row["value"]
        for row in rows
        if row["classifier"] == classifier
    }


def succeed(site: Any, *words: str) -> str:
    """Run a command that has to succeed; return what it printed."""
    result = site.safebench(*words)
    assert 0 == result.returncode, result.stderr
    return str(result.stdout)


@pytest.mark.slow
def test_everything_the_guide_declares_is_found_and_sound(site: Any) -> None:
    """No plugin is broken, and the conformance kit has nothing to say."""
    listed = {
        record["name"]: record
        for record in map(
            json.loads, succeed(site, "list-plugins", "--json").splitlines()
        )
    }
    checks = "; ".join(
        f"assert_plugin_is_sound({name!r})" for name in ("my_guard", "my_limit")
    )
    checked = site.python(
        "-c", f"from safebench.testing import assert_plugin_is_sound; {checks}"
    )

    components = {
        "classifier:shouting",
        "strategy:sharpened",
        "metric:flagged",
        "dataset:greetings",
    }
    assert components <= set(listed["my_guard"]["components"])
    assert {"classifier:limited", "trainer:limited"} == set(
        listed["my_limit"]["components"]
    )
    assert 0 == checked.returncode, checked.stderr


@pytest.mark.slow
def test_guard_strategy_metric_and_dataset_run_together(site: Any, guide: str) -> None:
    """Shouted threats are told from greetings; the metric counts what is flagged."""
    succeed(site, "run", "-c", "shouting", "-c", "keyword", "-d", "greetings",
         "-s", "score", "-s", "sharpened", "-s", "soft=sharpened,power=0.5",
         "--calibration-fraction", "0")  # fmt: skip
    shown = succeed(site, "leaderboard", "--metrics", "auroc,flagged", "--format", "md")
    metric_values = values(site, "shouting+keyword-greetings", "shouting")

    assert 1.0 == metric_values["soft", "auroc"]
    assert metric_values["soft", "brier"] is None  # it only ranks
    assert metric_values["sharpened", "error_auroc"] is not None
    assert "flagged" in shown
    if "--calibrate shrink" in guide:  # version 0.1 knew no calibrators
        succeed(site, "run", "-c", "shouting", "-d", "greetings", "--out", "runs/c",
                "--calibrate", "shrink")  # fmt: skip
        assert "score+shrink" in succeed(site, "leaderboard", "runs/c")


@pytest.mark.slow
def test_what_the_trainer_leaves_is_what_the_classifier_reads(site: Any) -> None:
    """Trained on the guide's set, run on it; another folder is refused in one line."""
    succeed(site, "train", "limited", "-d", "greetings", "--steps", "50",
         "--out", "models/limited")  # fmt: skip
    succeed(
        site, "run", "-c", "limited", "--model", "models/limited", "-d", "greetings"
    )
    wrong = site.safebench("run", "-c", "limited", "--model", "models")

    metric_values = values(site, "limited@limited-greetings", "limited")
    assert 1.0 == metric_values["score", "auroc"]
    assert 2 == wrong.returncode
    assert "models holds no safebench.json" in wrong.stderr


@pytest.mark.slow
def test_the_guides_executor_records_what_this_process_does(
    site: Any, guide: str
) -> None:
    """Three threads give the predictions of one, and the kit has nothing to say."""
    if "threads" not in guide:
        pytest.skip("version 0.1 had no executors")
    words = ("run", "-c", "shouting", "-d", "greetings", "--shard-size", "2")
    succeed(site, *words, "--out", "one")
    succeed(site, *words, "--out", "three", "--executor", "threads", "--workers", "3")
    checked = site.python(
        "-c",
        "from safebench.testing import assert_executor_is_sound\n"
        "from my_guard.thread_pool import Threads\n"
        "from my_guard.thread_options import ThreadOptions\n"
        "assert_executor_is_sound(Threads(ThreadOptions(workers=3)))",
    )

    first, second = (
        {
            p.name: p.read_bytes()
            for p in (site.cwd / run).rglob("predictions/**/*.jsonl")
        }
        for run in ("one", "three")
    )
    assert first
    assert first == second
    assert 0 == checked.returncode, checked.stderr


def test_the_columns_of_the_guides_evidence(guide: str) -> None:
    """Words are cut between samples by the offsets that the guide shows."""
    section = guide.partition("## A new kind of evidence")[2]
    code = re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0]
    (offsets,) = re.findall(r"offsets=(\{.*?\})", guide)
    scope: dict[str, Any] = {}
    exec(code, scope)
    batch = scope["Lengths"](
        {"characters": [12, 30], "words": [3, 4, 5, 9, 9, 6, 6]},
        offsets=json.loads(offsets),
    )

    assert [9, 9, 6, 6] == batch.select([1])["words"].tolist()
