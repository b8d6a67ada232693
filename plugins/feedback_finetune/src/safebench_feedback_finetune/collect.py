"""`feedback collect`: input guard, language model, output guard, and a record of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from safebench.run.manifest import locked
from safebench_llamaguard_marginal.identity import fingerprint
from safebench_llamaguard_marginal.locate import locate

from .exchanges import Collecting
from .folder import Folder, stored_manifest
from .guards import guard_identity, open_guard
from .items import read_items
from .options import REPLAY
from .summary import counts, summary_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.plugins import Plugins

    from .generator import Generator
    from .items import Asked
    from .options import CollectOptions


def run(options: CollectOptions, plugins: Plugins, say: Callable[[str], None]) -> int:
    """Collect into a folder, show what came of it, and return the exit code.

    Raises SafebenchError before any model is loaded if data or folder do not serve, or
    if another process is writing to the folder.
    """
    asked = read_items(options, plugins, say)
    identity = {
        "guard": guard_identity(options, options.adapter),
        "threshold": options.threshold,
        "generator": _generator_identity(options),
    }
    path = Path(options.out).expanduser()
    stored_manifest(path, identity)
    with locked(path):
        return _collect(options, asked, Folder(path, identity), say)


def _collect(
    options: CollectOptions, asked: Asked, folder: Folder, say: Callable[[str], None]
) -> int:
    generator = _generator(options)
    scorer = open_guard(options, options.adapter)
    facts: dict[str, Any] = {
        "sources": _joined(folder.manifest.get("sources", []), asked.sources),
        "guard": scorer.label,
        "opener": list(scorer.opener),
        "verdict_ids": list(scorer.verdict_ids),
    }
    folder.say("collecting", **facts)
    work = Collecting(options, scorer, generator, folder)
    try:
        work.all(asked.items)
    except KeyboardInterrupt:
        folder.say("interrupted", counts=counts(folder.collected))
        raise
    found = counts(folder.collected)
    folder.say("done", counts=found, left_out=len(folder.left_out))
    click.echo(summary_text(found))
    if folder.left_out:
        say(f"{len(folder.left_out)} could not be asked: see left_out.jsonl")
    click.echo(f"collected: {folder.path}")
    return 0


def _joined(
    before: Sequence[dict[str, Any]], now: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return the sources of all commands; of one named twice, the later reading."""
    return list({source["name"]: source for source in (*before, *now)}.values())


def _generator(options: CollectOptions) -> Generator | None:
    """Return the language model, or None where responses are replayed."""
    if options.generator == REPLAY:
        return None
    from .generator import Generator

    return Generator(options)


def _generator_identity(options: CollectOptions) -> dict[str, Any]:
    """Return what tells two language models and their settings apart, unloaded."""
    if options.generator == REPLAY:
        return {"model": REPLAY}
    found = locate(options.generator)
    names = ("max_new_tokens", "temperature", "top_p", "seed")
    return {
        "model": found.label,
        "weights": fingerprint(found),
        **{name: getattr(options, name) for name in names},
    }
