"""The page: one file with a list of contents, light and dark, for screens and paper.

No script and no address to load from, so that a report can be mailed and kept; the
content security policy holds even if a prompt in it should get past the escaping.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from safebench.charts import chart_css, set_charts
from safebench.files import write_lines

from .analysis_sections import analysis_section
from .errors import error_lists
from .html import (
    Html,
    details,
    identifier,
    join,
    notes,
    scrolling,
    tag,
    text_table,
    writable,
)
from .scores import score_notes, score_sections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .content import ReportContent, ReportedRun

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
WARNING = (
    "This report holds prompts of the data sets. Some are meant to be harmful: each is "
    "closed until it is opened, and printing the page opens all of them."
)
MAX_OPEN_CHARTS = 1  # sets whose charts are open at first


@dataclass(slots=True)
class Section:
    """A section of the page and its entry in the contents; `below` are id and title."""

    id: str
    title: str
    content: list[str] = field(default_factory=list)
    below: list[tuple[str, str]] = field(default_factory=list)


def write_page(
    content: ReportContent,
    path: Path,
    progress: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write the page in one step, and return its path.

    It holds prompts only if the content does, that is, if they were asked for.
    """
    progress("drawing charts")
    write_lines(path, render_page(content).split("\n"))
    return path


def render_page(content: ReportContent) -> str:
    """Return the whole page as HTML; equal content makes equal pages."""
    title = f"safebench report: {content.title}"
    css = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    sections = list(_sections(content))
    head = join(
        [
            Html('<meta charset="utf-8">'),
            Html(
                '<meta name="viewport" content="width=device-width, initial-scale=1">'
            ),
            Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
            tag("title", title),
            Html(f"<style>\n{css}{chart_css()}</style>"),
        ]
    )
    body = [
        tag("a", "Skip to the content", class_="skip", href="#main"),
        tag("header", tag("h1", title), *_warning(content)),
        tag(
            "div",
            _contents(sections),
            tag("main", *(_element(s) for s in sections), id="main", tabindex="-1"),
            class_="page",
        ),
    ]
    html = tag("html", tag("head", head), tag("body", *body), lang="en")
    return writable(f"<!doctype html>\n{html}".replace("</section>", "</section>\n"))


def _warning(content: ReportContent) -> list[Html]:
    if not content.request.analysis.include_text:
        return []
    return [tag("p", WARNING, class_="caution")]


def _contents(sections: list[Section]) -> Html:
    items = []
    for section in sections:
        link = tag("a", section.title, href=f"#{section.id}")
        below = [
            tag("li", tag("a", title, href=f"#{id_}")) for id_, title in section.below
        ]
        items.append(tag("li", link, *([tag("ul", *below)] if below else [])))
    heading = tag("h2", "Contents", id="contents")
    return tag("nav", heading, tag("ul", *items), aria_labelledby="contents")


def _element(section: Section) -> Html:
    heading = tag("h2", section.title, id=section.id)
    return tag("section", heading, *section.content, aria_labelledby=section.id)


def _sections(content: ReportContent) -> Iterator[Section]:
    yield _runs_section(content)
    yield _scores_section(content)
    if content.baseline or content.baseline_notes:
        yield _baseline_section(content)
    yield _charts_section(content)
    yield _errors_section(content)
    for run in content.runs:
        yield _analysis(run, content)
    yield _facts_section(content)


def _runs_section(content: ReportContent) -> Section:
    head = [
        tag("th", name, scope="col")
        for name in ("run", "best line", "guards", "sets", "written")
    ]
    body = [
        tag(
            "tr",
            tag("th", tag("bdi", run.name), scope="row"),
            tag("td", run.headline),
            tag("td", _listed([row.classifier for row in run.rows])),
            tag("td", _listed([row.dataset for row in run.rows])),
            tag("td", run.written),
        )
        for run in content.runs
    ]
    table = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *body))
    one = len(content.runs) == 1
    section = Section("runs", "Run" if one else "Runs", [scrolling("Runs", table)])
    section.content.append(
        notes(f"{run.name}: {run.problem}" for run in content.runs if run.problem)
    )
    return section


def _listed(names: list[str], most: int = 6) -> str:
    distinct = list(dict.fromkeys(names))
    more = len(distinct) - most
    return ", ".join(distinct[:most]) + (f" and {more} more" if more > 0 else "")


def _scores_section(content: ReportContent) -> Section:
    section = Section("scores", "Scores")
    if content.table is None:
        section.content.append(tag("p", f"No table: {content.table_problem}."))
        return section
    for id_, title, table in score_sections(content.table):
        section.content.append(tag("div", table, id=id_))
        section.below.append((id_, title))
    section.content.append(score_notes(content.table))
    part = content.request.analysis.part
    if part != "test":
        told = {"calibration": "calibration part", "all": "test and calibration parts"}
        section.content.append(
            notes([f"scores are of the test part, all below of the {told[part]}"])
        )
    return section


def _baseline_section(content: ReportContent) -> Section:
    section = Section("baseline", f"Compared with {content.request.baseline}")
    for compared in content.baseline:
        id_ = identifier("baseline", compared.dataset)
        section.content.append(tag("div", text_table(compared.table, 3), id=id_))
        section.below.append((id_, compared.dataset))
    section.content.append(notes(content.baseline_notes))
    return section


def _charts_section(content: ReportContent) -> Section:
    section = Section("charts", "Charts")
    sets = content.entries()
    if not sets:
        section.content.append(
            tag("p", "No predictions are stored, so there is nothing to draw.")
        )
    for place, ((dataset, task), entries) in enumerate(sets.items()):
        id_ = identifier("charts", dataset, task)
        cards = [Html(card.html) for card in set_charts(entries)]
        drawn = tag("div", *cards, class_="charts")
        is_open = place < MAX_OPEN_CHARTS
        name = _set_name(dataset, task, content)
        section.content.append(details(name, drawn, open_=is_open, id_=id_))
        section.below.append((id_, name))
    return section


def _set_name(dataset: str, task: str, content: ReportContent) -> str:
    """Return the dataset, with the task where the report has several."""
    tasks = {row.task for run in content.runs for row in run.rows}
    return dataset if len(tasks) == 1 else f"{dataset} ({task})"


def _errors_section(content: ReportContent) -> Section:
    request = content.request.analysis
    section = Section("errors", "Errors")
    texts = request.include_text
    section.content.append(
        notes(
            [
                "of each guard by the strategy that ranks best: -s NAME chooses another"
                + ("" if texts else "; ids only: --texts shows the prompts, too")
            ]
        )
    )
    for (dataset, task), entries in content.entries().items():
        id_ = identifier("errors", dataset, task)
        name = _set_name(dataset, task, content)
        lists = [
            details(
                f"{errors.title}: {errors.summary}",
                *(text_table(table, 4) for table in errors.tables),
            )
            for errors in error_lists(entries, request.n_examples, texts=texts)
        ]
        if not lists:
            lists = [tag("p", "No strategy decides here.", class_="dim")]
        section.content.append(tag("h3", name, id=id_))
        section.content += lists
        section.below.append((id_, name))
    return section


def _analysis(run: ReportedRun, content: ReportContent) -> Section:
    several = len(content.runs) > 1
    title = f"Analysis of {run.name}" if several else "Analysis"
    prefix = identifier("analysis", run.name)
    section = Section(prefix, title)
    if run.analysis is None:
        section.content.append(tag("p", f"No analysis: {run.problem}."))
        return section
    for id_, name, element in analysis_section(run.analysis, prefix):
        section.content.append(element)
        if name:
            section.below.append((id_, name))
    return section


def _facts_section(content: ReportContent) -> Section:
    section = Section("made", "How it was made")
    for run in content.runs:
        if len(content.runs) > 1:
            section.content.append(tag("h3", run.name))
        if not run.facts:
            section.content.append(tag("p", "No manifest says it.", class_="dim"))
            continue
        items: list[str] = []
        for name, lines in run.facts.items():
            items.append(tag("dt", name))
            items += [tag("dd", _fact(name, line)) for line in lines]
        devices = dict.fromkeys(row.device for row in run.rows if row.device)
        if devices:
            items += [tag("dt", "devices"), tag("dd", ", ".join(devices))]
        section.content.append(tag("dl", *items, class_="made"))
    return section


def _fact(name: str, line: str) -> str:
    return tag("code", line) if name == "commands" else line
