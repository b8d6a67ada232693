"""An analysis of a large dataset says what it says of a small one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from safebench.cli import cli
from safebench.datasets import record_spool
from safebench.plugins import Plugins

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
@pytest.mark.parametrize("described", [True, False], ids=["columns", "plain"])
def test_an_analysis_reads_texts_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, described: bool
) -> None:
    """Slices, lengths and the texts of errors; also where a row has changed since."""
    monkeypatch.chdir(tmp_path)
    rows = [
        {
            "prompt": f"{'bomb' if i % 2 else 'tea'} {'x' * i}",
            "label": "unsafe" if i % 3 else "safe",
        }
        | ({"language": "en" if i % 4 else "de"} if described else {})
        for i in range(40)
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plugins = Plugins()

    def call(*words: str) -> str:
        result = CliRunner().invoke(cli, words, obj=plugins)
        assert 0 == result.exit_code, result.output
        return result.stdout

    call("run", "-c", "keyword", "-d", "rows.jsonl", "--out", "out")
    analyses = [("analyze", "out", "--part", "all"), ("analyze", "out", "--text")]
    small = [call(*words) for words in analyses]
    with monkeypatch.context() as patch:
        patch.setattr(record_spool, "BLOCK", 3)
        patch.setattr(record_spool, "MAX_IN_MEMORY", 3)
        assert small == [call(*words) for words in analyses]

    rows[7]["prompt"] = "changed"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    small = [call(*words) for words in analyses]
    monkeypatch.setattr(record_spool, "BLOCK", 3)
    monkeypatch.setattr(record_spool, "MAX_IN_MEMORY", 3)
    assert small == [call(*words) for words in analyses]
