"""Prompt formats: chat templates, Llama Guard layouts, instructions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from safebench.errors import ModelError
from safebench.policies import load_policy
from safebench.records import Turn
from safebench_llamaguard_marginal.prompt.chat_template import PromptError
from safebench_llamaguard_marginal.prompt.profile_format import (
    instruct_format,
    pick_prompt_format,
)
from safebench_llamaguard_marginal.prompt.prompt_builder import shared_prefixes
from safebench_llamaguard_marginal.prompt.prompt_format import (
    ChatTemplateFormat,
    LlamaGuardFormat,
    paraphrase_note,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench_llamaguard_marginal.prompt.tokenization import PromptEncoder

pytestmark = pytest.mark.usefixtures("templates_in_a_thread")

POLICY = load_policy("llama-guard-3")
ASKED = (Turn("user", "how do I kill a process"),)
ANSWERED = (*ASKED, Turn("assistant", "the quick brown fox"))


def test_chat_format_writes_what_the_template_writes(tokenizer: Any) -> None:
    """The text is the template's own, and the span finds the judged turn in it."""
    turns = (Turn("user", "  a question\n"), Turn("assistant", "b"))
    messages = [{"role": t.role, "content": t.text} for t in turns]

    rendered = ChatTemplateFormat(tokenizer).render(turns)

    assert tokenizer.apply_chat_template(messages, tokenize=False) == rendered.text
    assert ["a question", "b"] == [rendered.text[a:b] for _, a, b in rendered.spans]


def test_template_that_loses_the_judged_turn(
    with_template: Callable[..., Any], tokenizer: Any
) -> None:
    """A template that leaves the last message out is refused."""
    template = "{{ messages[0]['content'] }}"
    layout = ChatTemplateFormat(with_template(tokenizer, template))

    with pytest.raises(PromptError, match="leaves out the judged turn"):
        layout.render(ANSWERED)


def test_template_that_reads_parts(
    with_template: Callable[..., Any], tokenizer: Any
) -> None:
    """Templates of guards that see images, too, are given text in parts."""
    template = (
        "{% for m in messages %}{% for c in m['content'] %}"
        "{% if c['type'] == 'text' %}<{{ c['text'] | trim }}>{% endif %}"
        "{% endfor %}{% endfor %}"
    )
    layout = ChatTemplateFormat(with_template(tokenizer, template))

    rendered = layout.render((Turn("user", " a "), Turn("assistant", "b")))

    assert ("<a><b>", ((0, 1, 2), (1, 4, 5))) == (rendered.text, rendered.spans)


def test_template_that_takes_nothing(make_tokenizer: Callable[[], Any]) -> None:
    """A template that refuses a plain question is the model's fault, at once."""
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "unsafe {{ raise_exception('images only') }}"

    with pytest.raises(ModelError, match=r"model 'x': .*images only"):
        pick_prompt_format("auto", tokenizer, POLICY, "x")


def test_prefix_for_templates_that_take_one_role(
    with_template: Callable[..., Any], tokenizer: Any, encoder: PromptEncoder
) -> None:
    """A template that takes no answers has a prefix for questions alone."""
    template = (
        "Is it unsafe? {% if messages|length > 1 %}{{ raise_exception('one') }}"
        "{% endif %}{{ messages[0]['content'] }}"
    )
    layout = ChatTemplateFormat(with_template(tokenizer, template))

    (only,) = shared_prefixes(layout, encoder)

    assert "Is it unsafe?" in tokenizer.decode(list(only))


def test_template_that_raises(
    with_template: Callable[..., Any], tokenizer: Any
) -> None:
    """A template's own complaint becomes the sample's error."""
    template = (
        "{% if messages|length > 1 %}{{ raise_exception('one at a time') }}{% endif %}"
        "{{ messages[0]['content'] }}"
    )
    layout = ChatTemplateFormat(with_template(tokenizer, template))

    with pytest.raises(PromptError, match="one at a time"):
        layout.render(ANSWERED)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_llama_guard_formats_have_the_published_structure(version: int) -> None:
    """Categories, conversation, who is assessed, and the wrapper of each version."""
    policy = load_policy(f"llama-guard-{version}")
    text = LlamaGuardFormat(version, policy).render(ANSWERED).text

    head, _, rest = text.partition("<BEGIN UNSAFE CONTENT CATEGORIES>\n")
    listed, _, rest = rest.partition("\n<END UNSAFE CONTENT CATEGORIES>")
    for category in policy.categories:
        assert f"{category.code}: {category.name}." in listed.splitlines()
    conversation = (
        "<BEGIN CONVERSATION>\n\nUser: how do I kill a process\n\n"
        "Agent: the quick brown fox\n\n<END CONVERSATION>"
    )
    assert conversation in rest
    assert (version > 1) == ("ONLY THE LAST Agent message" in rest)
    header = "<|start_header_id|>"
    assert head.startswith("[INST] " if version < 3 else f"{header}user")
    end = " [/INST]" if version < 3 else f"{header}assistant<|end_header_id|>"
    assert text.endswith(end)


def test_llama_guard_format_refuses_other_roles() -> None:
    """Llama Guard knows users and agents alone."""
    with pytest.raises(PromptError, match="takes no system turn"):
        LlamaGuardFormat(3, POLICY).render((Turn("system", "x"), *ASKED))


def test_instruct_format_numbers_awkward_codes(tokenizer: Any) -> None:
    """BeaverTails' codes contain commas, so that the model is asked for S1, S2, ..."""
    policy = load_policy("beavertails")
    text = instruct_format(tokenizer, policy).render(ASKED).text

    names = [c.name for c in policy.categories]
    assert f"\nS1: {names[0]}.\n" in text
    assert f"\nS14: {names[13]}.\n" in text
    assert "such as S1,S2." in text


def test_auto_format(make_tokenizer: Callable[[], Any]) -> None:
    """Guards keep their template, chat models get the policy, others are named."""
    tokenizer = make_tokenizer()

    assert "chat" == pick_prompt_format("auto", tokenizer, POLICY, "x").name
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    assert "instruct" == pick_prompt_format("auto", tokenizer, POLICY, "x").name
    name = pick_prompt_format("auto", tokenizer, POLICY, "my-Guard").name
    assert "instruct" == name  # names of models do not count
    tokenizer.chat_template = None
    for name in ("auto", "instruct"):
        with pytest.raises(ModelError, match="no chat template, and no profile knows"):
            pick_prompt_format(name, tokenizer, POLICY, "Llama-Guard-3")
    named = pick_prompt_format("llama-guard-3", tokenizer, POLICY, "x")
    assert "llama-guard-3" == named.name
    assert "not the published prompt" in paraphrase_note(named)


def test_policy_of_another_version_is_refused(tokenizer: Any) -> None:
    """S5 is Defamation in the template: Llama Guard 2's reading would be wrong."""
    with pytest.raises(ModelError, match="policy=llama-guard-3 would work"):
        pick_prompt_format("auto", tokenizer, load_policy("llama-guard-2"), "x")


def test_shared_prefix_ends_where_conversations_begin(
    tokenizer: Any, encoder: PromptEncoder
) -> None:
    """The prefix is the frame before the first text, for either judged role."""
    layout = ChatTemplateFormat(tokenizer)

    user, agent = shared_prefixes(layout, encoder)

    for prefix, role in ((user, "User"), (agent, "Agent")):
        text = tokenizer.decode(list(prefix))
        assert f"Is the last {role} message unsafe?" in text
        assert text.endswith("User:")


@pytest.mark.parametrize(
    "template",
    [
        "Does the text below break our rules, yes or no? {{ messages[0]['content'] }}",
        (
            "<|start_header_id|>user<|end_header_id|>{{ messages[-1]['content'] }}\n"
            "Rate how harmful this message is from 1 to 5.<|eot_id|>"
        ),
        "{{ messages[-1]['content'] }} Is it a bad one, yes or no? Say which.",
    ],
)
def test_a_template_that_asks_something_else_is_refused(
    template: str, with_template: Callable[..., Any], tokenizer: Any
) -> None:
    """Its answers are no verdicts of this guard: a format has to be named."""
    asking = with_template(tokenizer, template)

    with pytest.raises(ModelError, match="profile=instruct would") as error:
        pick_prompt_format("auto", asking, POLICY, "some-guard-8b")
    assert "\n" not in error.value.message
    for name in ("chat", "instruct"):
        assert name == pick_prompt_format(name, asking, POLICY, "x").name


@pytest.mark.parametrize(
    "template",
    [
        (
            "<|start_header_id|>system<|end_header_id|>You are a helpful assistant who "
            "answers every question as well as it can.<|eot_id|><|start_header_id|>user"
            "<|end_header_id|>{{ messages[0]['content'] }}<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>"
        ),
        "GPT4 Correct User: {{ messages[0]['content'] }}\nGPT4 Correct Assistant:",
        "[INST] {{ messages[0]['content'] }} [/INST]",
    ],
)
def test_chat_models_are_given_the_policy(
    template: str, with_template: Callable[..., Any], tokenizer: Any
) -> None:
    """Whatever they are called: roles and system prompts are no question of a guard."""
    chat = with_template(tokenizer, template)

    for label in ("my-guard", "LlamaGuard-9", "plain-chat"):
        assert "instruct" == pick_prompt_format("auto", chat, POLICY, label).name


@pytest.mark.parametrize(
    "listed",
    [
        "S1: Spam.\nS2: Off-topic.",
        "S1: Non-Violent Crimes.\nS2: Violent Crimes.",
        "S1: Violent Crimes.\nS15: Cheating at Games.",
        "C1: Violent Crimes.\nC2: Fraud.",
        "C1: Toxicity.\nC2: Fraud.\nC3: Spam.",
    ],
)
@pytest.mark.parametrize("name", ["auto", "chat"])
def test_other_categories_in_the_prompt_are_refused(
    name: str, listed: str, with_template: Callable[..., Any], tokenizer: Any
) -> None:
    """Their codes would be counted as categories of the policy."""
    template = (
        f"Is it safe or unsafe?\n{listed}\n" + "{{ messages[-1]['content'] }}\nAnswer:"
    )
    asking = with_template(tokenizer, template)

    with pytest.raises(ModelError, match=r"its prompt lists .* \(policy=NAME\)"):
        pick_prompt_format(name, asking, POLICY, "x")


@pytest.mark.parametrize(
    "listed", ["S1: Violent crime.", "S3: Sex Crimes\nS5: DEFAMATION", "no categories"]
)
def test_fewer_categories_and_other_wordings_are_taken(
    listed: str, with_template: Callable[..., Any], tokenizer: Any
) -> None:
    """Templates differ in punctuation and case, and small guards know fewer."""
    template = f"safe or unsafe?\n{listed}\n" + "{{ messages[-1]['content'] }}"

    asking = with_template(tokenizer, template)
    assert "chat" == pick_prompt_format("auto", asking, POLICY, "x").name


@pytest.mark.parametrize(
    "expression",
    [
        "m['content'][:200]",
        "m['content'] | e",
        "m['content'] | lower",
        "m['content'].split('</think>')[-1]",
        "m['content'].split() | join(' ')",
        "m['content'] | truncate(80)",
    ],
)
def test_templates_that_change_texts_are_refused(
    expression: str, with_template: Callable[..., Any], tokenizer: Any
) -> None:
    """What is judged would not be what was asked."""
    each = "{% for m in messages %}{{ " + expression + " }}{% endfor %}"
    template = f"safe unsafe {each}"

    with pytest.raises(ModelError, match=r"template (changes|leaves out) the text"):
        pick_prompt_format("auto", with_template(tokenizer, template), POLICY, "x")
