"""A guard whose language model is a table; it leaves a line for every sample it sees.

What it writes depends on the texts that it is shown, by their number of characters, so
that a test can work out every probability by itself.
"""

import json
import os
import signal
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

from safebench.classifiers import Classifier, Recording, Trace
from safebench.evidence import VerdictTree
from safebench.testing.grammars import TaskAnswer, composite, wildguard
from safebench.testing.table_model import TableModel
from safebench.verdict_tree import TreeExplorer

YES_OR_NO = {"yes": True, "no": False}
LINES = {
    "prompt_harm": "Harmful request: ",
    "refusal": "Response refusal: ",
    "response_harm": "Harmful response: ",
}
WORDS = ("yes", "no", "N/A")
TOKENS = (*LINES.values(), *WORDS, "\n", "EOS")
SEED = 7  # texts whose lengths differ by it are answered alike


@dataclass(frozen=True)
class Options:
    """`answers`: what one pass is about. `end_at`: die at that shard, 0 never."""

    answers: Literal["exchange", "turn", "task"] = "exchange"
    end_at: int = 0
    end_by: Literal["kill", "exit"] = "kill"


class Several(Classifier):
    """Writes a line for each task that a pass answers."""

    shard_size = 16
    shards = 0

    def record(self, samples, kinds, on_progress):
        """Return the verdict tree of every sample; all of them are asked alike."""
        self.shards += 1
        if self.shards == self.options.end_at:
            if self.options.end_by == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            os._exit(9)
        with Path("asked.jsonl").open("a") as log:
            for sample in samples:
                shown = [turn.text for turn in sample.turns]
                log.write(json.dumps([self.options.answers, sample.task, shown]) + "\n")
        answered = has_answer(samples[0])
        grammar, tasks = grammar_of(self.options.answers, answered, samples[0].task)
        tables = [table(tasks, seed, answered) for seed in range(SEED)]
        tables.append(table(tasks, 0, answered=False))
        token_bytes = [token.encode() for token in TOKENS[:-1]]
        model = TableModel([*token_bytes, b""], len(TOKENS) - 1, tables)
        explorer = TreeExplorer(model, grammar)
        shown = [s.turns[: s.target % len(s.turns) + 1] for s in samples]
        exploration = explorer.explore([[seed_of(turns)] for turns in shown])
        on_progress(len(samples))
        traces = [
            Trace(raw=s.raw, error=s.error, forward_passes=1.0, tokens_in=10)
            for s in exploration.stats
        ]
        return Recording(evidence={VerdictTree: exploration.tree}, traces=traces)


def has_answer(sample):
    """Tell whether a response is shown."""
    return sample.judged.role == "assistant"


def seed_of(turns):
    """Return which table is read: the last one where the talk ends in silence."""
    if turns[-1].text == "silence":
        return SEED
    return sum(len(turn.text) for turn in turns) % SEED


def grammar_of(answers, answered, task):
    """Return the grammar of a pass, and the tasks of its lines."""
    if answers == "exchange":
        return wildguard(), tuple(LINES)
    tasks = (task,) if answers == "task" else ("prompt_harm",)
    if answers == "turn" and answered:
        tasks = ("refusal", "response_harm")
    lines = [TaskAnswer(task=t, prefix=LINES[t], values=YES_OR_NO) for t in tasks]
    return composite(lines), tasks


def chances(task, seed, answered, before):
    """Return P(yes), P(no), P(N/A) of a line, after what was written `before`."""
    yes = (seed + 1 + 2 * list(LINES).index(task) + 3 * before.count("yes")) / 20
    if not answered and task != "prompt_harm":
        return yes / 20, (1 - yes) / 20, 19 / 20
    return yes, 1 - yes, 0.0


def table(tasks, seed, answered):
    """Return next-token probabilities by the ids of the tokens before."""
    entries = {}
    for n in range(len(tasks)):
        for before in product(WORDS, repeat=n):
            prefix = []
            for task, word in zip(tasks, before, strict=False):
                prefix += [LINES[task], word, "\n"]
            entries[ids(prefix)] = row({LINES[tasks[n]]: 1.0})
            asked = [*prefix, LINES[tasks[n]]]
            odds = chances(tasks[n], seed, answered, before)
            entries[ids(asked)] = row(dict(zip(WORDS, odds, strict=True)))
            end = "EOS" if n == len(tasks) - 1 else "\n"
            for word in WORDS:
                entries[ids([*asked, word])] = row({end: 1.0})
    return entries


def ids(tokens):
    """Return the ids of tokens."""
    return tuple(TOKENS.index(token) for token in tokens)


def row(probabilities):
    """Return probabilities over all tokens."""
    return [probabilities.get(token, 0.0) for token in TOKENS]
