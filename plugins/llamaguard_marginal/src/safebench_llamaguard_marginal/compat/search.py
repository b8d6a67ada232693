"""The original search for labels: what `compat=original` reads, recorded on request.

Where the published description leaves a choice open: a token that ends the verdict
counts as a child, but matches no label and is not searched further; labels are matched
in the verdict alone, never across the end of the prompt; special tokens decode to
themselves.
"""

from __future__ import annotations

import re
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from safebench.classifiers import Recording, Trace
from safebench.evidence import SeedTree
from safebench.verdict_tree import SessionHandles, to_host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from safebench.torch_utils import Batcher
    from safebench.typing import Array
    from safebench.verdict_tree import NextTokenModel, Vocabulary
    from safebench_llamaguard_marginal.prompt.prompt_builder import SamplePrompts
    from safebench_llamaguard_marginal.prompt.tokenization import TruncatedPrompt


SEARCH_VERSION = 1  # part of the evidence: raise it when recorded values change
OUT_OF_MEMORY = "out of memory, even alone in its batch"
# Two constants of the original code: an end of this probability hides the children
# after it, and a node with an end among its children has no more than three.
SURE_END = 0.7
LAST_CHILD = 2
_LONGEST_QUOTE = 60  # characters of what a guard wrote that an error shows


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginalSearchOptions:
    """The original parameters: where a node's children and paths are cut.

    `max_new_tokens` (the search reads one token more) and `eps` bound the search,
    `top_p` the children of a node, `greedy_tokens` the greedy verdict.
    """

    top_p: float = 0.99
    eps: float = 0.01
    max_new_tokens: int = 20
    greedy_tokens: int = 50


class _OpenPath(NamedTuple):
    """A path that is searched further: its node, its text, its probability."""

    row: int
    number: int
    handle: int
    mass: float
    text: bytes


class _SearchTree:
    """The columns of the nodes recorded so far, over all prompts."""

    def __init__(self, batch: int) -> None:
        self._columns: list[tuple[int, int, int, float, int, bool]] = [
            (row, -1, -1, 1.0, 0, True) for row in range(batch)
        ]

    def add(
        self, node: _OpenPath, token: int, mass: float, ends: int, expanded: bool
    ) -> int:
        """Store a child of `node` and return its number."""
        self._columns.append((node.row, node.number, token, mass, ends, expanded))
        return len(self._columns) - 1

    def pack(self, batch: int) -> tuple[dict[str, Array], Array]:
        """Return the columns by sample, and their offsets."""
        row, parent, token, mass, ends, expanded = map(
            np.array, zip(*self._columns, strict=True)
        )
        order = np.argsort(row, kind="stable")
        offsets = _offsets(row, batch)
        in_sample = np.empty(len(row), dtype=np.int64)  # nodes counted by sample
        in_sample[order] = np.arange(len(row)) - offsets[row[order]]
        columns = {
            "parent": np.where(parent < 0, -1, in_sample[parent]),
            "token": token,
            "mass": mass,
            "ends": ends.astype(np.uint64),
            "expanded": expanded,
        }
        return {name: column[order] for name, column in columns.items()}, offsets


class OriginalSearch:
    """A model bound to a grammar's labels: records what the original would read."""

    def __init__(
        self,
        model: NextTokenModel,
        vocabulary: Vocabulary,
        options: OriginalSearchOptions | None = None,
    ) -> None:
        self.options = options or OriginalSearchOptions()
        self._model = model
        self._vocabulary = vocabulary
        self._grammar = vocabulary.automaton.grammar
        level = next(level for level in self._grammar.levels if level.takes_labels)
        self._texts = [
            text.encode() for text in (*self._grammar.labels, level.surface_form)
        ]
        self._forced = (
            level.surface_form + self._grammar.intro + self._grammar.label_prefix
        )
        self._decoded: dict[int, str] = {}

    @property
    def n_labels(self) -> int:
        """How many labels are searched for."""
        return len(self._grammar.labels)

    @property
    def forward_calls(self) -> int:
        """How many passes the model has run."""
        return self._model.forward_calls

    @property
    def forced_tokens(self) -> list[int]:
        """The words after which the logits of labels are read."""
        return [int(token) for token in self._vocabulary.encode(self._forced)]

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens."""
        text = b"".join(self._vocabulary.token_bytes[token] for token in tokens)
        return text.decode(errors="replace")

    def unread(self, written: str) -> str | None:
        """Say why a written text is no verdict, None where it names a level.

        The definitions read a text without a level as safe; a sample that the guard
        did not judge must fail instead.
        """
        levels = [level.surface_form for level in self._grammar.levels]
        names = "|".join(map(re.escape, levels))
        if re.search(rf"(?<!\w)({names})(?!\w)", written):
            return None
        quoted = written if len(written) <= _LONGEST_QUOTE else written[:_LONGEST_QUOTE]
        return f"wrote {quoted!r}, which names no level: {', '.join(levels)}"

    @property
    def meta(self) -> dict[str, Any]:
        """What is the same for all samples, as JSON values."""
        return {
            "search": SEARCH_VERSION,
            "grammar": self._grammar.to_json(),
            "eos": sorted(self._model.eos),
            **asdict(self.options),
        }

    def record(self, prompts: Sequence[Sequence[int]]) -> SeedTree:
        """Search a batch of prompts (token ids)."""
        batch = len(prompts)
        session = SessionHandles(self._model.open(prompts))
        nodes, at_nodes = self._search(session, batch)
        path, at_tokens = self._greedy(session, batch)
        return SeedTree(
            {**nodes, **path, "label_logits": self._label_logits(session, batch)},
            offsets={"N": at_nodes, "T": at_tokens},
            meta=self.meta,
            size=batch,
        )

    def _search(
        self, session: SessionHandles, batch: int
    ) -> tuple[dict[str, Array], Array]:
        tree, logits = _SearchTree(batch), session.root_logits()
        paths = [_OpenPath(row, row, -1, 1.0, b"") for row in range(batch)]
        for depth in range(self.options.max_new_tokens + 1):
            deeper = depth < self.options.max_new_tokens
            children = [
                child
                for path, z in zip(paths, logits, strict=True)
                for child in self._expand(tree, path, z, deeper)
            ]
            if not children:
                break
            rows, parents, tokens = np.array(
                [(path.row, path.handle, token) for path, token in children]
            ).T
            logits, handles = session.expand(rows, parents, tokens)
            paths = [
                path._replace(handle=int(handle))
                for (path, _), handle in zip(children, handles, strict=True)
            ]
        return tree.pack(batch)

    def _expand(
        self, tree: _SearchTree, node: _OpenPath, logits: Array, deeper: bool
    ) -> Iterator[tuple[_OpenPath, int]]:
        """Store the children of a node; yield those to search, with their tokens."""
        children = self._children(logits)
        plausible = any(token in self._model.eos for token, _ in children)
        for place, (token, p) in enumerate(children):
            ends = token in self._model.eos
            text = node.text + self._vocabulary.token_bytes[token]
            mass, matched = node.mass * p, 0 if ends else self._matched(text)
            last = (plausible and place == LAST_CHILD) or (ends and p >= SURE_END)
            expanded = deeper and not (last or ends) and mass >= self.options.eps
            if matched or expanded:
                number = tree.add(node, token, mass, matched, expanded)
                if expanded:
                    yield _OpenPath(node.row, number, node.handle, mass, text), token
            if last:
                return

    def _children(self, logits: Array) -> list[tuple[int, float]]:
        """Return the likeliest tokens up to `top_p`, one for each text.

        Of tokens that decode alike the last counts, in the place of the first.
        """
        p = _softmax(logits)
        # Sort few tokens: all below this one together are less than top_p leaves out.
        likely = np.nonzero(p > (1.0 - self.options.top_p) / len(p))[0]
        likely = likely[np.argsort(-p[likely], kind="stable")]
        count = np.searchsorted(np.cumsum(p[likely]), self.options.top_p) + 1
        by_text = {self._decode(int(t)): (int(t), float(p[t])) for t in likely[:count]}
        return list(by_text.values())

    def _decode(self, token: int) -> str:
        if token not in self._decoded:
            piece = self._vocabulary.token_bytes[token]
            text = piece.decode(errors="replace") if piece else f"<{token}>"
            self._decoded[token] = text
        return self._decoded[token]

    def _matched(self, text: bytes) -> int:
        """Return, as bits, which labels a text ends in; the level comes last."""
        return sum(1 << i for i, end in enumerate(self._texts) if text.endswith(end))

    def _greedy(
        self, session: SessionHandles, batch: int
    ) -> tuple[dict[str, Array], Array]:
        """Return the tokens of the greedy verdicts, and their offsets."""
        rows, handles = np.arange(batch), np.full(batch, -1)
        logits, texts = session.root_logits(), [b""] * batch
        # Row, token, probability and matched labels of each step's tokens.
        steps = [tuple(np.empty(0, dtype=np.int64) for _ in range(4))]
        for _ in range(self.options.greedy_tokens):
            tokens = to_host(logits).argmax(axis=1)
            p = np.array([_softmax(z).max() for z in logits])
            unfinished = ~np.isin(tokens, sorted(self._model.eos))
            rows, handles = rows[unfinished], handles[unfinished]
            tokens, p = tokens[unfinished], p[unfinished]
            if not len(rows):
                break
            for row, token in zip(rows, tokens, strict=True):
                texts[row] += self._vocabulary.token_bytes[token]
            ends = np.array([self._matched(texts[row]) for row in rows])
            steps.append((rows, tokens, p, ends))
            logits, handles = session.expand(rows, handles, tokens)
        sample, *columns = (np.concatenate(parts) for parts in zip(*steps, strict=True))
        order = np.argsort(sample, kind="stable")
        named = zip(("said", "p", "said_ends"), columns, strict=True)
        return {name: column[order] for name, column in named}, _offsets(sample, batch)

    def _label_logits(self, session: SessionHandles, batch: int) -> Array:
        """Return the logits of labels' second tokens after the forced words, (B, L)."""
        rows, handles = np.arange(batch), np.full(batch, -1)
        logits = session.root_logits()
        for token in self.forced_tokens:
            logits, handles = session.expand(rows, handles, np.full(batch, token))
        labels = [self._vocabulary.encode(label) for label in self._grammar.labels]
        label_logits = np.full((batch, len(labels)), np.nan)
        # The first token of a label, its stem, is among the forced words.
        for label, (_, *rest) in enumerate(labels):
            if rest:
                label_logits[:, label] = to_host(logits[:, rest[0]])
        return label_logits


def _softmax(logits: Array) -> Array:
    z = to_host(logits)
    p = np.exp(z - z.max())
    distribution: Array = p / p.sum()
    return distribution


def _offsets(rows: Array, batch: int) -> Array:
    return np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=batch))))


def record_original_search(
    search: OriginalSearch,
    samples: Sequence[SamplePrompts],
    batcher: Batcher,
    on_progress: Callable[[int], None],
) -> Recording:
    """Return the search of every sample; a long one is read by its first window."""
    with_prompt = [i for i, sample in enumerate(samples) if sample.prompts]
    prompts = [samples[i].prompts[0] for i in with_prompt]
    on_progress(len(samples) - len(prompts))
    traces = [Trace(error=sample.error) for sample in samples]
    # Row 0 stands for every sample without a prompt.
    trees, rows = [empty_search_tree(search)], np.zeros(len(samples), dtype=np.int64)
    row, since, calls = 1, time.perf_counter(), search.forward_calls
    for batch, tree in batcher.run(
        [len(prompt.ids) for prompt in prompts],
        lambda indices: search.record([prompts[i].ids for i in indices]),
    ):
        trees.append(tree or SeedTree.concat([empty_search_tree(search)] * len(batch)))
        seconds = (time.perf_counter() - since) / len(batch)
        passes = (search.forward_calls - calls) / len(batch)
        for offset, index in enumerate(batch):
            sample = with_prompt[index]
            rows[sample] = row + offset
            trace = _search_trace(search, prompts[index], tree, offset)
            trace.seconds, trace.forward_passes = seconds, passes
            traces[sample] = trace
        row, since = row + len(batch), time.perf_counter()
        calls = search.forward_calls
        on_progress(len(batch))
    return Recording(
        evidence={SeedTree: SeedTree.concat(trees).select(rows)}, traces=traces
    )


def _search_trace(
    search: OriginalSearch, prompt: TruncatedPrompt, tree: SeedTree | None, row: int
) -> Trace:
    """Return what one search cost: its nodes, the greedy verdict, the forced words."""
    trace = Trace(
        tokens_in=len(prompt.ids),
        tokens_dropped=prompt.tokens_dropped,
        dropped_side=prompt.dropped_side,
    )
    if tree is None:
        trace.error = OUT_OF_MEMORY
        return trace
    searched = tree.select([row])
    greedy = searched["said"].tolist()
    n_nodes = int(searched["expanded"].sum()) - 1  # the root is no new token
    trace.tokens_out = n_nodes + len(greedy) + len(search.forced_tokens)
    trace.raw = search.decode(greedy)
    trace.error = search.unread(trace.raw)
    return trace


def empty_search_tree(search: OriginalSearch) -> SeedTree:
    """Return a search without nodes, which stands for a sample that failed."""
    return SeedTree(
        {
            "parent": [-1],
            "token": [-1],
            "mass": [1.0],
            "ends": [0],
            "expanded": [False],
            "said": [],
            "p": [],
            "said_ends": [],
            "label_logits": np.full((1, search.n_labels), np.nan),
        },
        offsets={"N": [0, 1], "T": [0, 0]},
        meta=search.meta,
        size=1,
    )
