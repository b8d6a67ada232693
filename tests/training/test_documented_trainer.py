"""The trainer that the plugin guide shows, run as it stands there."""

from __future__ import annotations

import json
import re
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING

from click.testing import CliRunner

from safebench.cli import cli
from safebench.plugins import Plugins

if TYPE_CHECKING:
    import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "plugins.md"


def test_the_trainer_of_the_guide_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its three files, a set of shouted and spoken prompts, and a limit between."""
    _, _, section = GUIDE.read_text(encoding="utf-8").partition("## Something that le")
    blocks = re.findall(
        r"```python\n(.*?)```", section.partition("\n## ")[0], re.DOTALL
    )
    package = tmp_path / "my_guard"
    package.mkdir()
    names = ("plugin.py", "learn_options.py", "learn.py")
    for name, code in zip(names, blocks, strict=True):
        (package / name).write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    lines = [
        json.dumps({"prompt": f"{word} {i}", "label": label})
        for i in range(30)
        for word, label in (("SHOUT IT", "harmful"), ("say it", "safe"))
    ]
    Path("rows.jsonl").write_text("\n".join(lines))
    plugins = Plugins(
        [
            EntryPoint("core", "safebench.core_plugin", "safebench"),
            EntryPoint("my_guard", "my_guard.plugin", "safebench"),
        ]
    )

    result = CliRunner().invoke(
        cli,
        ["train", "shouting", "-d", "rows.jsonl", "--steps", "10", "--out", "m"],
        obj=plugins,
    )

    assert 0 == result.exit_code, result.output
    assert re.search(r"shouting +train +accuracy +1\.000", result.stdout)
    assert 0 < json.loads(Path("m/limit.json").read_text()) < 0.7
