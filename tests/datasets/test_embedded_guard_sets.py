"""Which sets the embedded guard is marked to have been trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safebench import Plugins
from safebench.specs import DatasetSpec

GUARD = "tiny-guard"
SOURCES = (
    Path(__file__).parents[2]
    / "plugins"
    / "llamaguard_marginal"
    / "tiny_guard"
    / "sources.json"
)
# Of the mixture, whose file is in no folder of theirs, and of what extends them.
NAMED = (
    *("do_not_answer", "harmful_qa", "advbench", "aegis1", "aegis2"),
    "aegis2_response",
)


def test_every_set_of_a_repository_that_was_learnt_from_is_marked() -> None:
    """A set of the same rows with other labels shares their prompts."""
    paths = [
        str(source["path"]).casefold().split("/")
        for source in json.loads(SOURCES.read_text(encoding="utf-8"))["rows"].values()
    ]
    learnt = {"/".join(path[:2]) for path in paths if path[0] not in ("", "local")}
    specs = [
        s for s in Plugins().all(DatasetSpec) if (s.hub_id or "").casefold() in learnt
    ]

    assert {"wildguardmix_response", "wildguardmix_refusal"} <= {s.name for s in specs}
    assert [] == [spec.name for spec in specs if GUARD not in spec.contaminates]


@pytest.mark.parametrize("name", NAMED)
def test_sets_of_the_mixture_are_marked(name: str) -> None:
    """By the table of sources in the guard's card."""
    assert GUARD in Plugins().get(DatasetSpec, name).contaminates
