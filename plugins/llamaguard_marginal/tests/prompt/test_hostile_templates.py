"""Chat templates that do not end, fail or grow: each is one line, in little time."""

from __future__ import annotations

import os
import signal
import time
from datetime import date
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from safebench.errors import ModelError
from safebench.policies import load_policy
from safebench.records import Turn
from safebench_llamaguard_marginal.prompt import chat_template
from safebench_llamaguard_marginal.prompt.chat_template import (
    PromptError,
    apply_chat_template,
    rendered_together,
)
from safebench_llamaguard_marginal.prompt.profile_format import pick_prompt_format
from safebench_llamaguard_marginal.prompt.prompt_format import ChatTemplateFormat

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow

POLICY = load_policy("llama-guard-3")
ASKED = (Turn("user", "how do I kill a process"),)
ANSWERED = (*ASKED, Turn("assistant", "the quick brown fox"))
ENDLESS = (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
)
GROWING = """{% set n = namespace(x=[]) %}
{% for i in range(9999) %}{% set n.x = n.x + ['%1000000d' % i] %}{% endfor %}"""
DOUBLING = """{% set n = namespace(s='a') %}
{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}"""
HOSTILE = {
    "endless": (
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}"
            "{% endfor %}"
            "safe unsafe {{ messages[0]['content'] }}"
        ),
        "does not end within",
    ),
    "endless on answers": (
        (
            "{% if messages|length > 1 %}{% for a in range(99999) %}"
            "{% for b in range(99999) %}{% endfor %}{% endfor %}{% endif %}"
            "safe unsafe {{ messages[-1]['content'] }}"
        ),
        "does not end within",
    ),
    "huge": (
        "safe unsafe {{ messages[-1]['content'] }}{{ 'x' * 10000000 }}",
        "10,000,",
    ),
    "recursive": (
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}{{ messages[-1]['content'] }}",
        "refuses these turns",
    ),
    "too long a range": (
        "{% for a in range(9999999) %}a{% endfor %}{{ messages[-1]['content'] }}",
        "refuses these turns",
    ),
    "large text": ("{{ 'a' * 10**10 }}{{ messages[-1]['content'] }}", "MiB"),
    "padded text": ("{{ '{:9999999999}'.format(1) }}{{ messages }}", "MiB"),
    "large list": ("{{ [1] * 9999999999 }}{{ messages[-1]['content'] }}", "MiB"),
    "doubles": (DOUBLING + "{{ messages[-1]['content'] }}", "MiB|does not end"),
    "large number": (
        "{{ 10 ** (10 ** 10) }}{{ messages[-1]['content'] }}",
        "does not end",
    ),
    "deep": ("{{ " + "(" * 50_000 + "1" + ")" * 50_000 + " }}", "the chat template"),
    "divides by zero": ("{{ 1 / 0 }}{{ messages[-1]['content'] }}", "division"),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("name", ["chat", "instruct", "auto"])
def test_hostile_templates_are_bounded(
    name: str,
    kind: str,
    with_template: Callable[..., Any],
    tokenizer: Any,
    copies: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Endless, huge and failing templates are one line, the second time at once."""
    monkeypatch.setattr(chat_template, "MAX_SECONDS", 0.5)
    template, message = HOSTILE[kind]
    hostile = with_template(tokenizer, template)

    if kind != "endless on answers":
        with pytest.raises(ModelError, match=message) as error:
            pick_prompt_format(name, hostile, POLICY, "x")
        assert "\n" not in error.value.message
        return
    layout = pick_prompt_format(name, hostile, POLICY, "x")
    if layout.name == "instruct":  # which has one turn, whatever is judged
        assert layout.render(ANSWERED).text
        return
    copies.clear()
    for _ in range(20):
        with pytest.raises(PromptError, match=message):
            layout.render(ANSWERED)
    assert 1 >= len(copies)
    assert layout.render(ASKED).text


def test_a_template_that_never_ends_is_not_tried_on_everything(
    with_template: Callable[..., Any],
    tokenizer: Any,
    copies: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Conversations of many lengths would each take the whole time."""
    monkeypatch.setattr(chat_template, "MAX_SECONDS", 0.2)
    endless = "{% if messages | length > 1 %}" + ENDLESS + "{% endif %}"
    each = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    layout = ChatTemplateFormat(with_template(tokenizer, endless + each))
    assert layout.render(ASKED).text
    copies.clear()

    for n in range(1, 30):
        problem = "not end within" if n <= 3 else "not end for 3 kinds"
        with pytest.raises(PromptError, match=problem):
            layout.render(ASKED + n * ANSWERED[1:] + ASKED)

    assert 3 == len(copies)
    assert layout.render(ASKED).text  # known before, and needs no trial


def resident_memory() -> int:
    """Return the memory that this process holds, in bytes."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("template", "seconds", "message"),
    [
        (GROWING, 60.0, "needs more than 64 MiB"),
        (ENDLESS, 0.5, "does not end within"),
        ("", 60.0, None),
    ],
)
def test_where_no_copy_is_safe_a_thread_is_watched(
    template: str,
    seconds: float,
    message: str | None,
    with_template: Callable[..., Any],
    tokenizer: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Time and memory are bounded between the operations of a template."""
    monkeypatch.setattr(chat_template, "_CAN_FORK", False)
    monkeypatch.setattr(chat_template, "MAX_SECONDS", seconds)
    monkeypatch.setattr(chat_template, "MAX_MEMORY", 64 << 20)
    # The most that this process has ever held depends on the tests before this one.
    monkeypatch.setattr(chat_template, "_peak_memory", resident_memory)
    hostile = with_template(tokenizer, template + "{{ messages[0]['content'] }}")

    if message is None:
        assert "hello" == chat_template.apply_chat_template(
            hostile, [Turn("user", "hello")]
        )
        return
    with pytest.raises(PromptError, match=message):
        chat_template.apply_chat_template(hostile, [Turn("user", "hello")])


MIXED = (
    "{% if messages | length == 3 %}{{ raise_exception('not three') }}{% endif %}"
    "{% if messages | length == 4 %}{{ 'a' * 10**10 }}{% endif %}"
    "{% set n = namespace(seen='') %}{% for m in messages %}"
    "{% set n.seen = n.seen ~ m['role'][0] %}{{ n.seen }}: {{ m['content'] }}\n"
    "{% endfor %}"
)
TALKS = [
    [Turn(role, f"{i} \ue000 \u00e9 \x00" * 9) for i, role in enumerate(roles)]
    for n in range(1, 5)
    for roles in product(["user", "assistant"], repeat=n)
]


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the ids of the processes that are forked from now on."""
    forked: list[int] = []
    fork = os.fork

    def counted() -> int:
        process = fork()
        forked.append(process)
        return process

    monkeypatch.setattr(os, "fork", counted)
    return forked


def is_gone(process: int) -> bool:
    """Tell whether a process has ended, be it waited for or not."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return True
    return text.rpartition(")")[2].split()[0] == "Z"


def written(tokenizer: Any, turns: list[Turn]) -> str:
    """Return the prompt, or why there is none."""
    try:
        return apply_chat_template(tokenizer, turns)
    except PromptError as error:
        return f"error: {error}"


def test_together_or_apart_writes_the_same(
    with_template: Callable[..., Any], tokenizer: Any, copies: list[int]
) -> None:
    """One copy renders all, what a template refuses included; it ends with the block.

    The copy of a prompt that needs too much memory is not used again.
    """
    mixed = with_template(tokenizer, MIXED)
    apart = [written(mixed, turns) for turns in TALKS]
    n_large = sum("needs more than 1024 MiB" in text for text in apart)
    assert (len(TALKS), 16) == (len(copies), n_large)
    assert 8 == sum("refuses these turns: not three" in text for text in apart)
    copies.clear()

    with rendered_together():
        first = [written(mixed, turns) for turns in TALKS[:14]]
        with rendered_together():
            together = [*first, *(written(mixed, turns) for turns in TALKS[14:])]
        assert written(tokenizer, ASKED) != written(mixed, ASKED)

    assert apart == together
    # one more try in a new copy, and two tokenizers in turn
    assert 1 + 16 + 2 == len(copies)
    assert all(is_gone(process) for process in copies)


def test_variables_are_the_same_in_a_copy_that_is_used_again(
    with_template: Callable[..., Any], tokenizer: Any, copies: list[int]
) -> None:
    """Dates, pairs and numbers as keys are no JSON, and large variables fill a pipe."""
    shown = with_template(
        tokenizer, "{{ messages[0]['content'] }} {{ v }} {{ v.__len__ is defined }}"
    )
    values = ["a", ("a", 1), date(2024, 3, 9), {1: "a"}, "\ud800" * 3, "x" * 300_000]
    expected = [
        apply_chat_template(shown, ASKED, variables={"v": value}) for value in values
    ]
    copies.clear()

    with rendered_together():
        for value, text in zip(values, expected, strict=True):
            assert text == apply_chat_template(shown, ASKED, variables={"v": value})
            assert "how do I kill a process " in text

    assert 1 + 3 == len(copies)


def test_a_copy_that_ends_between_two_prompts_is_replaced(
    with_template: Callable[..., Any], tokenizer: Any, copies: list[int]
) -> None:
    """Killed by the system, or by whoever looks for memory."""
    mixed = with_template(tokenizer, MIXED)
    expected = [written(mixed, turns) for turns in TALKS[:4]]
    copies.clear()

    with rendered_together():
        prompts = []
        for turns in TALKS[:4]:
            prompts.append(written(mixed, turns))
            os.kill(copies[-1], signal.SIGKILL)

    assert expected == prompts
    assert 4 == len(copies)


def test_a_prompt_that_interrupts_is_no_other_ones(
    with_template: Callable[..., Any],
    tokenizer: Any,
    copies: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After Ctrl-C the answer to the old request must not be that of the next."""
    mixed = with_template(tokenizer, MIXED)
    expected = written(mixed, TALKS[1])

    def interrupted(*_: Any) -> NoReturn:
        raise KeyboardInterrupt

    with rendered_together():
        with monkeypatch.context() as patch:
            patch.setattr(chat_template, "_read_until", interrupted)
            with pytest.raises(KeyboardInterrupt):
                apply_chat_template(mixed, TALKS[0])
        assert expected == written(mixed, TALKS[1])
        assert is_gone(copies[-2])


def test_forks_of_the_process_render_apart(
    with_template: Callable[..., Any],
    tokenizer: Any,
    copies: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A fork leaves the copy alone; one whose process is killed ends by itself."""
    monkeypatch.setattr(chat_template, "_ORPHAN_SECONDS", 0.1)
    mixed = with_template(tokenizer, MIXED)
    reader, writer = os.pipe()

    with rendered_together():
        expected = written(mixed, TALKS[0])
        process = os.fork()
        if process == 0:
            try:
                with rendered_together():
                    same = written(mixed, TALKS[0]) == expected
                    own, other = copies[-1], os.fork()  # which holds the pipe open
                    if other == 0:
                        time.sleep(290)
                    os.write(writer, f"{same} {own} {other}".encode())
                    os.kill(os.getpid(), signal.SIGKILL)
            finally:
                os._exit(1)
        os.waitpid(process, 0)
        same, own, other = os.read(reader, 99).split()
        assert expected == written(mixed, TALKS[0])
        assert 1 + 1 == len(copies)  # the one that renders here, and the fork
        end = time.monotonic() + 200
        while not is_gone(int(own)):
            assert time.monotonic() < end
            time.sleep(0.02)
        assert int(own) != copies[0]

    os.kill(int(other), signal.SIGKILL)
    os.close(reader)
    os.close(writer)
    assert b"True" == same
