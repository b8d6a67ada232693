"""``--revision``: a commit for a set that the run reads, and for no other."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from safebench import Plugins
from safebench.errors import OptionError
from safebench.pipeline.config import RunConfig
from safebench.pipeline.evaluation_set import load_evaluation_sets

CORE = EntryPoint("core", "safebench.core_plugin", "safebench")


@pytest.mark.parametrize(
    ("dataset", "revision", "words"),
    [
        ("or_bench", "or_bensh", "did you mean 'or_bench'"),
        ("or_bench", "xstest", "it reads: or_bench, bench-llm/or-bench"),
        ("or_bench+xstest_safe", "toxic_chat", "xstest_safe, walledai/XSTest"),
        ("org/set:test", "org/sett", "did you mean 'org/set'"),
        ("starter", "", "reads no set of the hub"),
    ],
)
def test_a_commit_of_another_set_is_refused(
    dataset: str, revision: str, words: str
) -> None:
    """A misspelt name would read the branch in silence."""
    config = RunConfig(datasets=(dataset,), revisions={revision: "abc"})

    with pytest.raises(OptionError) as caught:
        load_evaluation_sets(config, Plugins([CORE]))

    assert words in caught.value.message
