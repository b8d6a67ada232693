"""Options of `any_guardrail`, and the table of guards, against the real library."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from safebench.cli import cli
from safebench.errors import ModelError, OptionError, UnknownNameError
from safebench.options import OptionSchema
from safebench.plugins import Plugins
from safebench.specs import ClassifierSpec
from safebench.testing import assert_plugin_is_sound
from safebench_any_guardrail.guards import GUARDS
from safebench_any_guardrail.options import ModerationOptions, moderation_identity

if TYPE_CHECKING:
    from pathlib import Path

KEY = "sk-test-key-0123456789abcdef"


def test_the_plugin_is_sound() -> None:
    """It is found, declares well, and declaring imports nothing heavy."""
    assert_plugin_is_sound("any_guardrail")


@pytest.fixture
def library() -> Any:
    """Return the real package."""
    return pytest.importorskip(
        "any_guardrail", reason="any-guardrail, an extra, is not installed"
    )


def identity(**options: Any) -> dict[str, Any]:
    """Return what identifies a guard with these options, as a run would ask."""
    from safebench_any_guardrail.guard_options import identity as identify

    spec = Plugins().get(ClassifierSpec, "any_guardrail")
    return identify(OptionSchema.of(spec).build(options))


def test_every_guard_of_the_library_is_known(library: Any) -> None:
    """A new version with a new guard shows here."""
    assert {guard.value for guard in library.GuardrailName} == GUARDS.keys()


def test_the_table_agrees_with_the_library(library: Any) -> None:
    """Scores, keys and pairs are as the library publishes them."""
    for name, guard in GUARDS.items():
        enum = library.GuardrailName(name)
        metadata = library.AnyGuardrail.metadata(enum)
        shapes = {str(shape) for shape in metadata.output_shapes}
        if guard.scale is not None:
            assert shapes & {"score", "rubric"}, name
        assert guard.hosted == (str(metadata.backend) == "hosted_api"), name
        schema = library.AnyGuardrail.get_parameter_schema(enum)
        secrets = {spec.env_var for spec in schema if spec.secret and spec.env_var}
        assert secrets <= set(guard.keys), name
        both = {"output_text", "output"} & {*metadata.optional_validate_kwargs}
        if both:
            assert guard.pair, name


def test_no_option_can_hold_a_key(library: Any) -> None:
    """What the library calls secret is read from the environment alone."""
    spec = Plugins().get(ClassifierSpec, "any_guardrail")
    names = set(OptionSchema.of(spec).names)
    secrets = {
        parameter.name
        for guard in library.GuardrailName
        for parameter in library.AnyGuardrail.get_parameter_schema(guard)
        if parameter.secret
    }

    # api_key is there to be refused with the reason
    assert {"api_key"} == secrets & names
    with pytest.raises(OptionError, match="read from the environment") as caught:
        identity(guard="lakera_guard", api_key=KEY)
    assert KEY not in str(caught.value)


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no guard": ({}, OptionError, "say which guard"),
    "typo": ({"guard": "lama_guard"}, UnknownNameError, "did you mean 'llama_guard'"),
    "not of this guard": (
        {"guard": "lakera_guard", "threshold": "0.5"},
        OptionError,
        "it has no 'threshold'",
    ),
    "type": (
        {"guard": "openai_moderation", "threshold": "high"},
        OptionError,
        "'high' is no number",
    ),
    "bool for a number": (
        {"guard": "openai_moderation", "threshold": "true"},
        OptionError,
        "True is no number",
    ),
    "missing": ({"guard": "glider"}, OptionError, r"it needs \w+=\.\.\. \("),
    "task of another guard": (
        {"guard": "deepset", "task": "refusal"},
        OptionError,
        "it answers injection, jailbreak, not refusal",
    ),
    "task typo": ({"guard": "deepset", "task": "injektion"}, OptionError, "injection"),
    "file": (
        {"guard": "dyna_guard", "guard_policy": "file:/nowhere", "task": "injection"},
        OptionError,
        "cannot read",
    ),
    "timeout": ({"guard": "deepset", "timeout": "0"}, OptionError, "above 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_mistake_is_refused_before_anything_loads(library: Any, case: str) -> None:
    """One line: what, and what would work."""
    options, error, words = REFUSED[case]

    with pytest.raises(error, match=words):
        identity(**options)


def test_identity_names_what_changes_answers(
    library: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parameters, files and addresses count; keys and the pace of requests do not."""
    policy = tmp_path / "policy.txt"
    policy.write_text("No spells.")
    options = {"guard": "dyna_guard", "guard_policy": f"file:{policy}"}
    options["task"] = "injection"
    first = identity(**options)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("CONTENT_SAFETY_KEY", KEY)
    slow = identity(**options, timeout="99", retries="1", max_requests="7")
    policy.write_text("No curses.")
    other = identity(**options)

    assert first == slow != other
    assert "No spells." == first["create"]["policy"]
    assert first["library"].startswith("any-guardrail ")
    azure = {"guard": "azure_content_safety"}
    here = identity(**azure)
    monkeypatch.setenv("CONTENT_SAFETY_ENDPOINT", "https://example.org")
    assert here != identity(**azure)
    assert KEY not in str(identity(**azure))


def test_a_guard_that_is_not_known_is_asked_about(
    library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The direction of a score is not guessed."""
    monkeypatch.delitem(GUARDS, "deepset")

    with pytest.raises(OptionError, match="say score=risk"):
        identity(guard="deepset", task="injection")
    assert identity(guard="deepset", task="injection", score="risk")


def test_the_address_of_the_moderation_is_part_of_its_identity(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another server is another model; an option stands over the environment."""
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    usual = moderation_identity(ModerationOptions())
    monkeypatch.setenv("OPENAI_BASE_URL", "https://one.example/v1/")
    one = moderation_identity(ModerationOptions(concurrency=9))
    two = moderation_identity(ModerationOptions(base_url="https://two.example/v1"))

    addresses = [entry["address"] for entry in (usual, one, two)]
    assert "https://api.openai.com/v1" == addresses[0]
    assert ["https://one.example/v1", "https://two.example/v1"] == addresses[1:]


def test_without_the_library_one_line_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The plugin is installed without it, too."""
    from safebench_any_guardrail import guard_options

    monkeypatch.setattr(guard_options, "LIBRARY", "no-such-distribution")

    with pytest.raises(ModelError, match="pip install"):
        guard_options.library_version()


def test_a_guard_is_asked_only_for_its_tasks(library: Any, tmp_path: Path) -> None:
    """Before anything loads: the core knows what the chosen guard answers."""
    data = tmp_path / "data.jsonl"
    data.write_text('{"prompt": "a", "label": 1}\n{"prompt": "b", "label": 0}\n')

    result = CliRunner().invoke(
        cli,
        ["run", "-c", "any_guardrail,guard=deepset", "-d", str(data)],
        obj=Plugins(),
    )

    assert 2 == result.exit_code
    assert "any_guardrail answers injection, jailbreak" in result.output


def test_every_guard_is_listed_with_its_command() -> None:
    """`safebench list guards` needs neither of the libraries."""
    result = CliRunner().invoke(cli, ["list", "guards", "--json"], obj=Plugins())

    assert 0 == result.exit_code, result.output
    commands = [json.loads(line)["command"] for line in result.stdout.splitlines()]
    for name, guard in GUARDS.items():
        task = "" if guard.tasks else ",task=..."
        assert f"-c any_guardrail,guard={name}{task}" in commands
    assert "-c openai_moderation" in commands
