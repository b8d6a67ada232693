"""Read a public set by its `Recipe`: columns, labels and files that are said as data.

Whatever a recipe does not expect is refused with the row and the nearest name: a copy
of a set that calls its columns or its labels otherwise may mean something else by them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from safebench.errors import DataError, unknown_name
from safebench.recipes import Words
from safebench.records import RESPONSE_TASKS, Turn

from .hub import find_home, hub_rows
from .local_copy import MissingPartError, plain_name
from .messages import ROLE_SYNONYMS, message_list, parse_messages
from .recipe_cells import (
    NO_LABEL,
    cell_text,
    find_value,
    label_word,
    label_words,
    read_label,
)
from .request import BadRowError, Example, exchange

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safebench.recipes import Home, Recipe, Source

    from .hub_rows import HubRow
    from .request import DatasetRequest


def read_declared(request: DatasetRequest) -> Iterator[Example]:
    """Yield the examples of a set whose spec has a recipe.

    Rows without the text that is judged are left out, with the reason. Raises
    `DataError` for a column that is not there and for a label without a meaning.
    """
    recipe = request.spec.recipe
    assert recipe, f"{request.spec.name} has no recipe"
    home = recipe.home(find_home(request, [home.hub_id for home in recipe.homes]))
    reader = _RecipeReader(recipe, home, request)
    if request.split not in home.splits:
        raise unknown_name(f"split of {home.hub_id}", request.split, home.splits)
    for source, rows in _rows_of_sources(request, home):
        for where, row in rows:
            if not reader.is_kept(row, source.keep):
                # a row of another split that lies in the same file
                request.report.rows_read -= 1
            elif reader.belongs(row):
                yield from reader.examples(row, where, source)
    reader.note_unknown_categories()


def _rows_of_sources(
    request: DatasetRequest, home: Home
) -> Iterator[tuple[Source, Sequence[tuple[str, HubRow]]]]:
    """Yield the rows of each source of a split.

    A local copy may lack some of several sources, which the user is told.
    """
    sources = home.splits[request.split]
    read, missing = [], []
    for source in sources:
        try:
            rows = hub_rows(
                request,
                hub_id=home.hub_id,
                source=source,
                is_only=len(sources) == 1,
            )
        except MissingPartError as error:
            if len(sources) == 1 or request.data_root is None:
                raise
            missing.append((source, error))
        else:
            read.append((source, rows))
    if not read:
        raise missing[0][1]
    if missing:
        names = ", ".join(
            source.config or (source.files or (source.split,))[0]
            for source, _ in missing
        )
        request.report.notes.append(
            f"{request.label}: this copy is without {names}, which the set has"
        )
    yield from read


class _RecipeReader:
    """Follows a recipe for one request: row -> examples."""

    def __init__(self, recipe: Recipe, home: Home, request: DatasetRequest) -> None:
        self.recipe = recipe
        self.report = request.report
        self.name = request.label
        self.policy = request.spec.policy
        self.task = request.spec.task
        codes = _codes(recipe, request.spec.policy)
        codes |= {_category_key(name): code for name, code in home.codes.items()}
        self.codes = {name: code for name, code in codes.items() if code}
        self.seen: set[Any] = set()
        self.missing_filters: list[str] = []
        self.unknown_categories: Counter[str] = Counter()

    def belongs(self, row: HubRow) -> bool:
        """Tell whether a row belongs to the task and is the first of its kind."""
        if self.recipe.unique:
            key = row[self.recipe.unique]
            if key in self.seen:
                return False
            self.seen.add(key)
        return self.is_kept(row, self.recipe.keep)

    def is_kept(self, row: HubRow, keep: Mapping[str, str]) -> bool:
        """Tell whether a row has the words that are kept of each column."""
        return all(self._is_kept(row, *item) for item in keep.items())

    def _is_kept(self, row: HubRow, column: str, text: str) -> bool:
        words = label_words(text) or frozenset({""})
        if row.column(column) is None and not self._is_labelled_by(column):
            # an older copy, or one of the kept rows alone
            if "" not in words and column not in self.missing_filters:
                self.missing_filters.append(column)
                self.report.notes.append(
                    f"{self.name}: no column {column!r}, so that all rows are read as "
                    f"{' or '.join(sorted(words))}"
                )
            return True
        return label_word(find_value(row, (column,))) in words

    def _is_labelled_by(self, column: str) -> bool:
        rule = self.recipe.label
        return isinstance(rule, Words) and column in rule.columns

    def examples(self, row: HubRow, where: str, source: Source) -> Iterator[Example]:
        """Yield what a row holds: nearly always one example."""
        recipe = self.recipe
        if recipe.each:
            for column in recipe.prompt:
                text = cell_text(row, (column,))
                if not text:
                    continue
                example = self._example(
                    row, where, exchange(text), source, {"variant": column}
                )
                if recipe.each_is_language:
                    example = replace(example, language=column)
                # what a row says in several ways stays together
                yield replace(example, group=example.group or f"row-{where}")
            return
        turns = self._turns(row, where)
        if turns:
            yield self._example(row, where, turns, source, {})

    def _turns(self, row: HubRow, where: str) -> tuple[Turn, ...]:
        """Return the conversation, () for a row that is left out."""
        recipe = self.recipe
        if recipe.messages:
            return self._conversation(row, where)
        if recipe.claim:
            # nobody asked: a claim stands for itself
            claim = cell_text(row, (recipe.claim,))
            if not claim:
                self.report.skip(where, "empty claim")
            return (Turn("assistant", claim),) if claim else ()
        if recipe.transcript:
            prompt = _first_human_turn(cell_text(row, (recipe.transcript,)))
        else:
            prompt = cell_text(row, recipe.prompt)
        if not prompt:
            self.report.skip(where, "empty prompt")
            return ()
        if self._is_redacted(prompt):
            self.report.skip(where, "the set holds no text for this prompt")
            return ()
        prompt = _unwrapped(prompt, recipe.unwrap)
        present = [name for name in recipe.context if row.column(name)]
        if context := cell_text(row, tuple(present)):
            prompt = f"{prompt}\n\n{context}"
        return self._exchange(prompt, row, where)

    def _exchange(self, prompt: str, row: HubRow, where: str) -> tuple[Turn, ...]:
        """Return a prompt with the row's response, () for a row that is left out."""
        if not self.recipe.response:
            return exchange(prompt)
        response = cell_text(row, self.recipe.response)
        if self.task in RESPONSE_TASKS and not response:
            self.report.skip(where, "no response")
            return ()
        if self.task in RESPONSE_TASKS and self._is_redacted(response):
            self.report.skip(where, "the set holds no text for this response")
            return ()
        return exchange(prompt, response or None)

    def _conversation(self, row: HubRow, where: str) -> tuple[Turn, ...]:
        """Return the messages of a row up to the turn that is judged."""
        try:
            turns = parse_messages(
                _known_messages(find_value(row, (self.recipe.messages,)) or [])
            )
        except BadRowError as error:
            if str(error) == "empty prompt":
                self.report.skip(where, str(error))
                return ()
            raise DataError(f"{where}: {error}") from None
        if self.task not in RESPONSE_TASKS:
            return turns
        answers = [i for i, turn in enumerate(turns) if turn.role == "assistant"]
        if not answers:
            self.report.skip(where, "no response")
            return ()
        return turns[: answers[-1] + 1]

    def _is_redacted(self, text: str) -> bool:
        """Tell whether a text stands for one that the set withholds."""
        return text.strip().strip("[]<>()").upper() in self.recipe.redacted

    def _example(
        self,
        row: HubRow,
        where: str,
        turns: tuple[Turn, ...],
        source: Source,
        meta: dict[str, Any],
    ) -> Example:
        recipe = self.recipe
        label = read_label(row, recipe.label, source.label)
        language = cell_text(row, (recipe.language,)) if recipe.language else ""
        document = cell_text(row, (recipe.documents,)) if recipe.documents else ""
        group = find_value(row, (recipe.group,)) if recipe.group else None
        is_response = self.task in RESPONSE_TASKS
        return Example(
            turns=turns,
            target=-1 if is_response else _last_user(turns),
            documents=(document,) if document else (),
            label=label,
            group="" if group is None else f"{recipe.group}-{group}",
            categories=self._categories(row, label.value),
            language=language or source.language or None,
            gold_meta={
                **{name: row[name] for name in recipe.meta if row.column(name)},
                **meta,
            },
            where=where,
        )

    def _categories(self, row: HubRow, label: bool | None) -> frozenset[str] | None:
        if not self.codes:
            return None
        # A row that is harmless for this task has no category of it, whatever the other
        # part of the row was labelled with.
        if label is not True:
            return frozenset() if label is False else None
        if not any(row.column(name) for name in self.recipe.categories):
            self.unknown_categories[f"no column {self.recipe.categories[0]}"] += 1
            return None
        value = find_value(row, self.recipe.categories)
        names = self._category_names(value)
        unknown = [n for n in names if n and _category_key(n) not in self.codes]
        self.unknown_categories.update(unknown)
        known = [name for name in names if name and name not in unknown]
        # beside a category without a code, nobody knows which others are absent
        if unknown or not known:
            return None
        return frozenset(self.codes[_category_key(name)] for name in known)

    def _category_names(self, value: Any) -> list[str]:
        """Return names from a list, its text, or text that commas separate."""
        if value is None or value != value:  # noqa: PLR0124 - NaN is unlike itself
            return []
        if isinstance(value, Mapping):  # flags
            value = [name for name, flag in value.items() if flag]
        if isinstance(value, str):
            text = value.strip()
            if text.startswith("[") and text.endswith("]"):
                value = [part.strip(" '\"") for part in text[1:-1].split(",")]
            # a name may hold a comma, so the whole text is tried before its parts
            elif _category_key(text) in self.codes:
                value = [text]
            else:
                value = re.split(r"[,;|]", text)
        names = value if isinstance(value, (list, tuple)) else [value]
        return [
            name
            for name in (str(name).strip() for name in names)
            if name.casefold() not in NO_LABEL
        ]

    def note_unknown_categories(self) -> None:
        """Tell which names of categories have no code."""
        if self.unknown_categories:
            named = [f"{n!r:.60}" for n, _ in self.unknown_categories.most_common(3)]
            self.report.notes.append(
                f"{self.name}: {self.unknown_categories.total()} mentions of "
                f"categories that {self.policy} has not ({', '.join(named)}): those "
                "rows count as not annotated"
            )


def _codes(recipe: Recipe, policy_id: str | None) -> dict[str, str]:
    """Return the policy's codes by what the set calls them, folded."""
    if not recipe.categories or policy_id is None:
        return {}
    from safebench.policies import load_policy

    codes: dict[str, str] = {}
    for category in load_policy(policy_id).categories:
        codes[_category_key(category.name)] = category.code
        codes[_category_key(category.code)] = category.code
        codes[_category_key(f"{category.code}: {category.name}")] = category.code
    return codes | {_category_key(name): code for name, code in recipe.codes.items()}


def _category_key(name: str) -> str:
    """Return a name as copies of a set agree on it: ``&`` is "and", case is nothing."""
    return plain_name(name.replace("&", " and ").replace("+", " plus "))


def _known_messages(value: Any) -> list[Any]:
    """Return messages with the names of roles and keys that are known here.

    In a file of the user's another name may mean something else; a declared set was
    looked at.
    """
    return [_known_message(message) for message in message_list(value)]


def _known_message(message: Any) -> Any:
    if not isinstance(message, dict):
        return message
    if "content" not in message and {"from", "value"} <= message.keys():
        message = {"role": message["from"], "content": message["value"]}
    role = str(message.get("role")).strip().casefold()
    return {**message, "role": ROLE_SYNONYMS.get(role, role)}


def _unwrapped(text: str, marks: tuple[str, str]) -> str:
    """Return what stands between two marks, the whole text if either is not there."""
    before, after = marks
    _, found, rest = text.partition(before) if before else ("", "", "")
    inner, end, _ = rest.rpartition(after) if found else ("", "", "")
    return inner.strip() if end and inner.strip() else text


def _first_human_turn(transcript: str) -> str:
    """Return what the person says first in ``Human: ... Assistant: ...``."""
    _, _, after = transcript.partition("Human:")
    return after.partition("\n\nAssistant:")[0].strip()


def _last_user(turns: tuple[Turn, ...]) -> int:
    users = [i for i, turn in enumerate(turns) if turn.role == "user"]
    return users[-1] if users else -1
