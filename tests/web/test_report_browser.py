"""A report in headless Chromium: wide and narrow, light, dark and printed, by keys."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from safebench.analysis.request import AnalysisRequest
from safebench.plugins import Plugins
from safebench.report import ReportRequest, read_report, write_page

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    MakeRun = Callable[..., Path]


def load(name: str) -> ModuleType:
    """Import what lies beside this file."""
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"_{name}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


browser = load("test_browser")  # skips these tests, too, where there is no browser
charts = load("test_run_charts")
pytestmark = browser.pytestmark
OPEN = "document.querySelectorAll('details').forEach(d => d.open = true)"
WIDTH = "return document.documentElement.scrollWidth"
A4 = 718  # pixels between the margins of a printed page
HIDDEN = """
return [...document.querySelectorAll('details > div td, details > div svg')]
  .filter(e => !e.checkVisibility({contentVisibilityAuto: true})).length"""


@pytest.fixture
def page(make_run: MakeRun, tmp_path: Path) -> str:
    """Write the report of a run with long names; return its address."""
    long = "a-guard-with-a-very-long-name-without-any-space-" * 2
    rows = [
        {"metric": metric, "value": 0.75, "ci_low": 0.2, "ci_high": 0.95, **who}
        for metric in ("auroc", "auprc", "f1", "precision", "recall", "fpr", "accuracy")
        for who in ({}, {"classifier": long})
    ]
    folder = make_run("tried", rows, charts.lines())
    other = folder / "predictions" / "long" / "mine.all"
    other.mkdir(parents=True)
    first = folder / "predictions" / "keyword" / "mine.all" / "score.jsonl"
    text = first.read_text("utf-8").replace('"keyword"', f'"{long}"')
    (other / "score.jsonl").write_text(text.replace("p0", "p0" * 60), "utf-8")
    request = ReportRequest(
        runs=(str(folder),), analysis=AnalysisRequest(always_detailed=True)
    )
    path = write_page(read_report(request, Plugins()), tmp_path / "page.html")
    return path.as_uri()


def prefer(driver: Any, width: int, scheme: str, media: str = "") -> None:
    """Set the width of the screen, the scheme, and what the page is shown on."""
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1}
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", screen | {"mobile": width < 600}
    )
    feature = {"name": "prefers-color-scheme", "value": scheme}
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [feature], "media": media}
    )


def test_a_report_fits_every_screen_and_is_read_on_it(page: str) -> None:
    """Closed and open, nothing sticks out, texts have a contrast of 4.5 or more."""
    with browser.chromium(1280) as driver:
        for width in (1280, 390):
            for scheme in ("light", "dark"):
                prefer(driver, width, scheme)
                driver.get(page)
                assert width == driver.execute_script(WIDTH)
                driver.execute_script(OPEN)
                assert width == driver.execute_script(WIDTH)
                assert browser.least_contrast(driver)[0] >= 4.5
        assert [] == driver.get_log("browser")


def test_paper_shows_what_is_closed_and_the_keyboard_opens_it(page: str) -> None:
    """A link of the contents opens what it leads to; printing opens everything."""
    from selenium.webdriver import Keys
    from selenium.webdriver.common.by import By

    with browser.chromium(1280) as driver:
        driver.get(page)
        browser.press(driver, Keys.TAB)
        top = "return document.activeElement.getBoundingClientRect().top"
        assert 0 <= driver.execute_script(top)
        browser.press(driver, Keys.TAB)
        seen = []
        for _ in range(60):
            browser.press(driver, Keys.TAB)
            seen.append(browser.focused(driver))
            if seen[-1]["tag"] == "summary":
                break
        assert {"solid"} == {entry["outline"] for entry in seen}
        assert "a" == seen[0]["tag"]
        before = "return document.activeElement.parentElement.open"
        was_open = driver.execute_script(before)
        browser.press(driver, Keys.ENTER)
        assert was_open != driver.execute_script(before)

        hidden = driver.execute_script(HIDDEN)
        (link,) = driver.find_elements(By.PARTIAL_LINK_TEXT, "All strategies")
        link.click()
        assert driver.execute_script(HIDDEN) < hidden
        prefer(driver, A4, "dark", "print")
        assert driver.execute_script(WIDTH) <= A4
        assert 0 == driver.execute_script(HIDDEN)
        ground = driver.execute_script(
            "return getComputedStyle(document.body).backgroundColor"
        )
        assert "rgb(252, 252, 251)" == ground
