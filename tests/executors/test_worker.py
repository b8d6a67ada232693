"""What a worker of another machine refuses: a model that only has the same name."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import EntryPoint
from pickle import dumps, loads

import pytest

from safebench.classifiers.keyword import KeywordOptions, identity
from safebench.core_plugin import safebench_classifiers
from safebench.errors import ModelError
from safebench.executors import ClassifierJob, ClassifierWorker
from safebench.plugins import Plugins


def job() -> ClassifierJob:
    """Return the job of the keyword guard, with what identifies it here."""
    (spec,) = safebench_classifiers()
    options = KeywordOptions()
    return ClassifierJob.of(spec, options, identity=dict(identity(options)))


def test_the_same_model_is_loaded() -> None:
    """What identifies it is equal, so that it is the run's."""
    assert ClassifierWorker(job(), check_model=True).facts == {"device": "cpu"}


def test_another_model_of_the_same_name_is_refused() -> None:
    """Its evidence would lie under the key of the run's; the machine is named."""
    known = job()
    name = next(iter(known.identity))
    other = replace(known, identity={**known.identity, name: "something else"})
    with pytest.raises(ModelError, match=f"has another keyword .* {name}: 'something"):
        ClassifierWorker(other, check_model=True)
    ClassifierWorker(other)  # on the run's own machine nobody asks


def test_a_job_can_be_sent_and_keeps_the_name_of_its_plugin() -> None:
    """Without the plugin itself, which holds what only this process knows."""
    plugins = Plugins([EntryPoint("core", "safebench.core_plugin", "safebench")])
    spec = next(c for p in plugins for c in p.components if c.kind == "classifier")
    sent = loads(dumps(ClassifierJob.of(spec, KeywordOptions())))
    assert sent.spec.described == spec.described
    assert "of plugin core" in sent.spec.described
    assert type(sent.spec.origin).__name__ == "SentOrigin"
