"""Read a public set by its `Recipe`: columns, labels and files that are said as data.

Whatever a recipe does not expect is refused with the row and the nearest name: a copy
of a set that calls its columns or its labels otherwise may mean something else by them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from safebench.errors import DataError, did_you_mean, unknown_name
from safebench.recipes import AnyFlag, AtLeast, BySource, Every, LabelRule
from safebench.records import RESPONSE_TASKS, Label, Turn

from .hub import HubRow, find_home, hub_rows
from .labels import normalise_label
from .messages import parse_messages
from .request import BadRowError, Example, exchange

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safebench.recipes import Columns, Recipe

    from .request import DatasetRequest


def read_declared(request: DatasetRequest) -> Iterator[Example]:
    """Yield the examples of a set whose spec has a recipe.

    Rows without the text that is judged are left out, with the reason. Raises
    `DataError` for a column that is not there and for a label without a meaning.
    """
    recipe = request.spec.recipe
    assert recipe, f"{request.spec.name} has no recipe"
    reader = _RecipeReader(recipe, request)
    home = recipe.home(find_home(request, [home.hub_id for home in recipe.homes]))
    if request.split not in home.splits:
        raise unknown_name(f"split of {home.hub_id}", request.split, home.splits)
    for source in home.splits[request.split]:
        rows = hub_rows(request, hub_id=home.hub_id, source=source)
        for where, row in rows:
            if reader.belongs(row):
                yield from reader.examples(row, where, source.label)
    reader.note_unknown_categories()


class _RecipeReader:
    """Follows a recipe for one request: row -> examples."""

    def __init__(self, recipe: Recipe, request: DatasetRequest) -> None:
        self.recipe = recipe
        self.report = request.report
        self.name = request.label
        self.policy = request.spec.policy
        self.task = request.spec.task
        self.codes = _codes(recipe, request.spec.policy)
        self.keep = {
            name: _words(text) or frozenset({""}) for name, text in recipe.keep.items()
        }
        self.seen: set[Any] = set()
        self.unknown_categories: Counter[str] = Counter()

    def belongs(self, row: HubRow) -> bool:
        """Tell whether a row belongs to the task, and is the first of its kind."""
        if self.recipe.unique:
            key = row[self.recipe.unique]
            if key in self.seen:
                return False
            self.seen.add(key)
        return all(
            normalise_label(_find(row, (column,))) in words
            for column, words in self.keep.items()
        )

    def examples(
        self, row: HubRow, where: str, source_label: bool | None
    ) -> Iterator[Example]:
        """Yield what a row holds: nearly always one example."""
        recipe = self.recipe
        if recipe.each:
            for column in recipe.prompt:
                text = _text(row, (column,))
                if not text:
                    continue
                example = self._example(
                    row, where, exchange(text), source_label, {"variant": column}
                )
                if recipe.each_is_language:
                    example = replace(example, language=column)
                # what a row says in several ways stays together
                yield replace(example, group=example.group or f"row-{where}")
            return
        turns = self._turns(row, where)
        if turns:
            yield self._example(row, where, turns, source_label, {})

    def _turns(self, row: HubRow, where: str) -> tuple[Turn, ...]:
        """Return the conversation, () for a row that is left out."""
        recipe = self.recipe
        if recipe.messages:
            try:
                return parse_messages(_find(row, (recipe.messages,)))
            except BadRowError as error:
                raise DataError(f"{where}: {error}") from None
        if recipe.claim:
            # nobody asked: a claim stands for itself
            return (Turn("assistant", _text(row, (recipe.claim,))),)
        if recipe.transcript:
            prompt = _first_human_turn(_text(row, (recipe.transcript,)))
        else:
            prompt = _text(row, recipe.prompt)
        if not prompt:
            self.report.skip(where, "empty prompt")
            return ()
        if prompt.strip() in recipe.redacted:
            self.report.skip(where, "the set holds no text for this prompt")
            return ()
        present = [name for name in recipe.context if name in row]
        if context := _text(row, tuple(present)):
            prompt = f"{prompt}\n\n{context}"
        if not recipe.response:
            return exchange(prompt)
        response = _text(row, recipe.response)
        if self.task in RESPONSE_TASKS and not response:
            self.report.skip(where, "no response")
            return ()
        return exchange(prompt, response or None)

    def _example(
        self,
        row: HubRow,
        where: str,
        turns: tuple[Turn, ...],
        source_label: bool | None,
        meta: dict[str, Any],
    ) -> Example:
        recipe = self.recipe
        label = _label(row, recipe.label, source_label)
        language = _text(row, (recipe.language,)) if recipe.language else None
        document = _text(row, (recipe.documents,)) if recipe.documents else ""
        group = _find(row, (recipe.group,)) if recipe.group else None
        is_response = self.task in RESPONSE_TASKS
        return Example(
            turns=turns,
            target=-1 if is_response else _last_user(turns),
            documents=(document,) if document else (),
            label=Label(value=label),
            group="" if group is None else f"{recipe.group}-{group}",
            categories=self._categories(row, label),
            language=language or None,
            gold_meta={
                **{name: row[name] for name in recipe.meta if name in row},
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
        value = _find(row, self.recipe.categories)
        # a name may hold a comma, so the whole text is tried before its parts
        if isinstance(value, str):
            whole = value.strip().casefold()
            value = [value] if whole in self.codes else value.split(",")
        names = [str(name).strip() for name in value or ()]
        unknown = [n for n in names if n and n.casefold() not in self.codes]
        self.unknown_categories.update(unknown)
        known = [name for name in names if name and name not in unknown]
        # beside a category without a code, nobody knows which others are absent
        if unknown or not known:
            return None
        return frozenset(self.codes[name.casefold()] for name in known)

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
        codes[category.name.casefold()] = category.code
        codes[category.code.casefold()] = category.code
        codes[f"{category.code}: {category.name}".casefold()] = category.code
    return codes | {name.casefold(): code for name, code in recipe.codes.items()}


def _first_human_turn(transcript: str) -> str:
    """Return what the person says first in ``Human: ... Assistant: ...``."""
    _, _, after = transcript.partition("Human:")
    return after.partition("\n\nAssistant:")[0].strip()


def _find(row: HubRow, columns: Columns) -> Any:
    """Return the first value that is there; `DataError` if no column is.

    A column that is there and empty does for a missing one, but says nothing.
    """
    present = False
    for column in columns:
        value, found = _follow(row, column)
        present = present or found
        if value is not None and value != "":
            return value
    if present:
        return None
    raise _missing_column(row, columns)


def _missing_column(row: HubRow, columns: Columns) -> DataError:
    """Return the error for a row that has a column under none of its names."""
    hints = (did_you_mean(column.partition(".")[0], row) for column in columns)
    return DataError(
        f"{row.where}: no column {' or '.join(map(repr, columns))}"
        f"{next(filter(None, hints), '')} (columns: {', '.join(row)})"
    )


def _follow(row: Mapping[str, Any], path: str) -> tuple[Any, bool]:
    """Return the value at ``column``, ``column.key`` or ``column.0``, and if found."""
    if path in row:
        return row[path], True
    name, _, rest = path.partition(".")
    value = row.get(name)
    if not rest or value is None:
        return None, name in row
    if isinstance(value, Mapping):
        return value.get(rest), True
    if isinstance(value, (list, tuple)) and rest.isdigit():
        return (value[int(rest)] if int(rest) < len(value) else None), True
    return None, False


def _text(row: HubRow, columns: Columns) -> str:
    """Return the text of the first column that has some, "" if none has."""
    present = False
    for column in columns:
        value, found = _follow(row, column)
        present = present or found
        # NaN: what pandas writes for an empty cell
        if value is None or value != value:  # noqa: PLR0124
            continue
        if isinstance(value, (bool, list, dict)):
            raise DataError(f"{row.where}: {column} is not text: {value!r:.60}")
        if str(value).strip():
            return str(value)
    if not present and columns:
        raise _missing_column(row, columns)
    return ""


def _label(row: HubRow, rule: LabelRule, source_label: bool | None) -> bool | None:
    if isinstance(rule, Every):
        return rule.value
    if isinstance(rule, BySource):
        return source_label
    if isinstance(rule, AtLeast):
        score = _number(row, rule.column)
        if score is None:
            return None
        return score > rule.bound if rule.above else score >= rule.bound
    if isinstance(rule, AnyFlag):
        return _any_flag(row, rule)
    word = normalise_label(_find(row, rule.columns))
    if word in _words(rule.positive):
        return True
    if word in _words(rule.negative):
        return False
    if not word or word in _words(rule.unknown):
        return None
    known = sorted(_words(rule.positive) | _words(rule.negative))
    raise DataError(
        f"{row.where}: {rule.columns[0]} is {word!r:.60}, which this set is not known "
        f"to say{did_you_mean(word, known)} (known: {', '.join(known)}); name its "
        "columns to read it anyway: -d ORG/NAME:SPLIT,prompt=COLUMN,label=COLUMN"
    )


def _any_flag(row: HubRow, rule: AnyFlag) -> bool | None:
    words = [normalise_label(row[column]) for column in rule.columns]
    for column, word in zip(rule.columns, words, strict=True):
        if word not in ("0", "1", "-1", "true", "false", ""):
            raise DataError(f"{row.where}: {column} is {word!r:.60}, not 0 or 1")
    if any(word in ("1", "true") for word in words):
        return True
    return None if any(word in ("-1", "") for word in words) else False


def _number(row: HubRow, column: str) -> float | None:
    value = _find(row, (column,))
    if value is None or value != value:  # noqa: PLR0124 - NaN is unlike itself
        return None
    try:
        return float("" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        raise DataError(
            f"{row.where}: {column} is {value!r:.60}, not a number"
        ) from None


def _words(text: str) -> frozenset[str]:
    """Return the words of ``a|b``, as labels are compared."""
    return frozenset(normalise_label(word) for word in text.split("|") if text)


def _last_user(turns: tuple[Turn, ...]) -> int:
    users = [i for i, turn in enumerate(turns) if turn.role == "user"]
    return users[-1] if users else -1
