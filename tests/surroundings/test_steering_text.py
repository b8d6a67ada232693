"""Text of others never steers a terminal: not in errors, tables, notes or JSON."""

from __future__ import annotations

import io
import json
import re
import sys
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from safebench.cli import cli
from safebench.console import echo
from safebench.plugins import Plugins
from safebench.progress import ProgressBar

if TYPE_CHECKING:
    from collections.abc import Iterator

# sets the title of a window; a C1 control; direction override; rubs out; a tag
STEERING = "\x1b]0;x\x07\x9b31m\u202e\x08\U000e0041"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work where a data file has a name, texts and columns that steer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SAFEBENCH_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    rows = [
        {"prompt": f"help me attack {STEERING}", "label": "unsafe", "id": STEERING},
        {"prompt": f"bake bread {STEERING}", "label": "safe", "id": f"b{STEERING}"},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    for name in ("good.jsonl", f"d{STEERING}.jsonl"):
        (tmp_path / name).write_text(text, encoding="utf-8")
    bad = {"prompt": "x", "label": STEERING, STEERING: 1}
    (tmp_path / "bad.jsonl").write_text(json.dumps(bad), encoding="utf-8")
    (tmp_path / "c.yaml").write_text(json.dumps({STEERING: 1}), encoding="utf-8")
    return tmp_path


def safebench(*args: str) -> Result:
    """Run the command line in process."""
    return CliRunner().invoke(cli, args, obj=Plugins())


def steers(text: str) -> Iterator[str]:
    """Yield each character that a terminal obeys or that reorders what one reads."""
    for char in text:
        hidden = unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        if hidden and char not in "\n\t":
            yield f"U+{ord(char):04X}"


@pytest.mark.parametrize(
    "args",
    [
        ["{}"],
        ["list", "{}"],
        ["run", "--{}"],
        ["run", "-{}"],
        ["run", "-c", "k{}"],
        ["run", "-c", "{}=keyword"],
        ["run", "-c", "keyword", "-s", "s{}"],
        ["run", "-c", "keyword", "-d", "n{}"],
        ["run", "-c", "keyword", "-d", "n{}/x.jsonl"],
        ["run", "-c", "keyword", "-d", "xstest:{}"],
        ["run", "-c", "keyword", "-d", "bad.jsonl"],
        ["run", "-c", "keyword", "-d", "bad.jsonl", "--on-bad-row", "skip"],
        ["run", "-c", "keyword", "-d", "good.jsonl", "--label-map", "{}"],
        ["run", "-c", "keyword", "--set", "k{}=1"],
        ["run", "-c", "keyword", "--max-failures", "{}"],
        ["run", "--config", "{}"],
        ["run", "--config", "c.yaml"],
        ["score", "-c", "keyword", "--set", "words=w{}", "x"],
        ["score", "-c", "keyword", "--prompt-file", "p{}"],
        ["train", "{}"],
        ["leaderboard", "{}"],
        ["leaderboard", "--format", "{}"],
        ["compare", "{}", "b"],
        ["analyze", "{}"],
        ["overlap", "{}", "starter"],
        ["doctor", "-c", "{}"],
        ["serve", "{}"],
    ],
)
def test_errors_steer_nothing(args: list[str]) -> None:
    """The wrong name is still in the message, spelt out."""
    result = safebench(*(arg.replace("{}", STEERING) for arg in args))

    assert 2 == result.exit_code, result.output
    assert [] == list(steers(result.output))


@pytest.fixture
def run_folder() -> str:
    """Return a run whose names, samples and labels steer."""
    out = f"o{STEERING}"
    data = f"d{STEERING}.jsonl"
    args = ["-c", "keyword", "-d", data, "--calibration-fraction", "0"]
    result = safebench("run", *args, "--out", out)
    assert 0 == result.exit_code, result.output
    assert [] == list(steers(result.output))
    # a label that steers is refused today; a run folder may come from anybody, and
    # without the checksums of a manifest
    Path(out, "manifest.json").unlink()
    for file in [Path(out, "results.jsonl"), *Path(out).glob("predictions/*/*/*")]:
        text = file.read_text(encoding="utf-8")
        name = json.dumps(f"k{STEERING}")
        file.write_text(text.replace('"keyword"', name), encoding="utf-8")
    return out


@pytest.mark.slow
@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize(
    "args",
    [
        *(
            ["leaderboard", "{}", "--format", f]
            for f in ["table", "md", "csv", "latex", "json"]
        ),
        ["leaderboard", "{}", "--ci", "--with-reference"],
        *(["analyze", "{}", "--text", "--format", f] for f in ["table", "md", "json"]),
        *(["compare", "{}", "other", "--format", f] for f in ["table", "md", "json"]),
        ["overlap", "good.jsonl", "good.jsonl"],
        ["overlap", "good.jsonl", "good.jsonl", "--json"],
        ["score", "-c", "keyword", STEERING],
        ["score", "-c", "keyword", "--json", STEERING],
    ],
)
def test_output_steers_nothing(
    args: list[str], terminal: bool, run_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In every format; on a terminal, colours and weights are all that is left."""
    safebench("run", "-c", "keyword", "-d", f"d{STEERING}.jsonl", "--out", "other")
    if terminal:
        monkeypatch.setattr("safebench.console._write", print_to_terminal)
        monkeypatch.setattr("safebench.console.terminal_capabilities", capabilities)
        score = sys.modules["safebench.cli.score"]  # the package names its command so
        monkeypatch.setattr(score, "terminal_capabilities", capabilities)

    result = safebench(*(arg.replace("{}", run_folder) for arg in args))

    assert 0 == result.exit_code, result.output
    text = STYLE.sub("", result.stdout) if terminal else result.stdout
    assert [] == list(steers(text))
    if args[-1] == "json":
        assert json.loads(result.stdout)


# what rich writes for weights and colours
STYLE = re.compile(r"\x1b\[[0-9;]*m")


def capabilities() -> object:
    """Return what a terminal with colours can show."""
    from safebench.console import RenderOptions

    return RenderOptions(width=200, styles=True, colour=True)


def print_to_terminal(text: str, **_: object) -> None:
    """Print as to a terminal, where click strips no styles."""
    sys.stdout.write(text + "\n")


def test_a_title_of_a_bar_steers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal rich moves the cursor; the title and the status do not."""
    bar = ProgressBar(f"guard{STEERING}", 3)
    bar.say(f"loss 0.1{STEERING}")

    assert [] == list(steers(bar.title + bar.status))
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    with bar:
        bar.move_to(3)
    assert [] == list(steers(written.getvalue()))


def test_an_encoding_without_a_letter_shows_a_question_mark(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What cannot be written does not end a command."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)

    echo("Grüße \ud800")

    stream.flush()
    assert b"Gr??e <U+D800>\n" == stream.buffer.getvalue()  # type: ignore[attr-defined]
