"""Documents say what is there: links lead somewhere, commands have their options."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from safebench.cli import SuggestingGroup, cli
from safebench.plugins import Plugins

if TYPE_CHECKING:
    import click

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "plugins").glob("*/README.md")),
    ROOT / "benchmarks" / "README.md",
]
LINK = re.compile(r"\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
TYPED = ("", "console")  # what a block of commands calls its language
COMMAND = re.compile(r"^(?:\$ )?(?:\S*/)?safebench (.*)$", re.MULTILINE)


def anchors(document: Path) -> set[str]:
    """Return the anchors that headings of a document have on the web."""
    headings = re.findall(r"^#+ (.*)$", document.read_text("utf-8"), re.MULTILINE)
    kept = (re.sub(r"[^\w -]", "", heading).lower() for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


def links() -> list[tuple[Path, str]]:
    """Return the links that do not leave the project."""
    return [
        (document, target)
        for document in DOCUMENTS
        for target in LINK.findall(document.read_text("utf-8"))
        if "://" not in target
    ]


def commands() -> list[str]:
    """Return what documents tell to type behind `safebench`, each once.

    Those of the plugin guide are about its own plugin, and have a test of their own.
    """
    others = [document for document in DOCUMENTS if document.name != "plugins.md"]
    texts = [document.read_text("utf-8") for document in others]
    blocks = [
        block.replace("\\\n", " ")
        for text in texts
        for language, block in BLOCK.findall(text)
        if language in TYPED
    ]
    return list(dict.fromkeys(line for b in blocks for line in COMMAND.findall(b)))


@pytest.fixture(scope="module")
def installed() -> click.Group:
    """Return the command line with the commands of every plugin."""
    # click keeps the names of a command's help flag from the first time it is asked
    settings = cli.context_settings
    group = SuggestingGroup(commands=dict(cli.commands), context_settings=settings)
    plugins = Plugins()
    plugins.add_commands(group)
    assert not plugins.broken
    return group


@pytest.mark.parametrize(
    ("document", "target"), links(), ids=[f"{d.name}-{t}" for d, t in links()]
)
def test_links_lead_somewhere(document: Path, target: str) -> None:
    """The file is there, and the heading behind the `#` is in it."""
    name, _, anchor = target.partition("#")
    path = (document.parent / name).resolve() if name else document

    assert path.exists()
    assert not anchor or anchor in anchors(path)


@pytest.mark.parametrize("command", commands())
def test_commands_have_the_options_that_documents_give_them(
    installed: click.Group, command: str
) -> None:
    """Unknown options are refused before `--help` is answered."""
    words = shlex.split(command, comments=True)
    words = words[: words.index("<")] if "<" in words else words
    result = CliRunner().invoke(installed, [*words, "--help"], obj=Plugins())

    assert 0 == result.exit_code, result.output


def test_many_commands_were_found() -> None:
    """The way in which they are looked for still fits the documents."""
    assert len(commands()) > 40
    assert len(links()) > 30
