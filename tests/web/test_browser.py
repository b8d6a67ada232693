"""The page in headless Chromium: by keyboard, wide and narrow, light and dark."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from safebench.results.prediction_reading import read_prediction_lines
from safebench.results.review_marks import LabelMark, sample_of_line, store_mark

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
HOSTILE = "</textarea><script>window.hacked = 1; alert(1)</script>\u202e attack"
HOSTILE_ID = "<script>hacked()</script>\u202e"  # without "=", which ends a label
HOSTILE_FILE = "<script>window.hacked = 1<&script>.jsonl"  # no file's name has a slash
HOSTILE_RUN = "<b onclick='window.hacked=1'>run"

selenium = pytest.importorskip("selenium", reason="selenium is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (BROWSER and DRIVER), reason="no chromium with chromedriver here"
    ),
]


@contextmanager
def killed_at_the_end(process: subprocess.Popen[str]) -> Iterator[None]:
    """Kill a process whatever happens: waiting for a server would never end."""
    with process:
        try:
            yield
        finally:
            process.kill()


def make_runs(folder: Path, env: dict[str, str]) -> None:
    """Write a run of two keyword guards, a copy, and one whose every word is hostile.

    The hostile one keeps its texts, and has a label reviewed.
    """
    safebench = [sys.executable, "-m", "safebench"]
    run = [*safebench, "run", "-c", "keyword", "-c", "mild=keyword,saturation=3"]
    run += ["--limit", "60", "--out", "runs/keyword-starter"]
    rows = [
        {"id": f"{HOSTILE_ID}{i}", "prompt": f"{HOSTILE} {i}", "label": i % 2}
        for i in range(4)
    ]
    lines = [json.dumps(row) + "\n" for row in rows]
    (folder / HOSTILE_FILE).write_text("".join(lines), "utf-8")
    hostile = [*safebench, "run", "-c", f"{HOSTILE_ID}=keyword", "-d", HOSTILE_FILE]
    hostile += ["--keep-text", "--out", f"runs/{HOSTILE_RUN}"]
    for command in (run, hostile):
        subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True)
    runs = folder / "runs"
    shutil.copytree(runs / "keyword-starter", runs / "again")
    (line, *_) = read_prediction_lines(next(runs.glob(f"{HOSTILE_RUN}/pred*/*/*/*")))
    mark = {"mark": "wrong", "by": HOSTILE[:80], "note": HOSTILE}
    sample = sample_of_line(line)
    store_mark(
        runs / HOSTILE_RUN, LabelMark(sample=sample, label=line["label"], **mark)
    )


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the runs, as a process; yield the address."""
    folder = tmp_path_factory.mktemp("served")
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    make_runs(folder, env)
    safebench = [sys.executable, "-m", "safebench"]
    process = subprocess.Popen(
        [*safebench, "serve", "--port", "0"],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
    )
    with killed_at_the_end(process):
        assert process.stdout is not None
        match = re.search(r"http://\S+", process.stdout.readline())
        assert match, "it does not serve"
        wait_until_loaded(match[0])
        yield match[0]


def wait_until_loaded(address: str) -> None:
    """Wait for the model: a driver that waits for a page gives up before we do."""
    end = time.monotonic() + 240
    while time.monotonic() < end:
        with urllib.request.urlopen(address, timeout=240) as response:
            if b"is being loaded" not in response.read():
                return
        time.sleep(0.2)
    pytest.fail("the default classifier is not loaded after four minutes")


@contextmanager
def chromium(width: int) -> Iterator[Any]:
    """Open a window that is so wide and prefers light colours."""
    from selenium import webdriver
    from selenium.common.exceptions import SessionNotCreatedException
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (
        "--headless=new",
        "--no-sandbox",  # for root, as in containers
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
    ):
        options.add_argument(flag)
    try:
        driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    except SessionNotCreatedException:  # a busy machine: the driver waits for a minute
        driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1}
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", screen | {"mobile": width < 600}
        )
        prefer(driver, "light")
        yield driver
    finally:
        driver.quit()


def prefer(driver: Any, scheme: str) -> None:
    """Let pages be in light or in dark colours from now on."""
    feature = {"name": "prefers-color-scheme", "value": scheme}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def press(driver: Any, *keys: str) -> None:
    """Press keys, wherever the focus is."""
    from selenium.webdriver import ActionChains

    ActionChains(driver).send_keys(*keys).perform()


def focused(driver: Any) -> dict[str, str]:
    """Return what has the focus: its tag, id and outline."""
    match: dict[str, str] = driver.execute_script(
        "const e = document.activeElement;"
        "return {tag: e.tagName.toLowerCase(), id: e.id,"
        " outline: getComputedStyle(e).outlineStyle}"
    )
    return match


def judged(driver: Any) -> str:
    """Wait for the answer and return the verdict."""
    return text_of(driver, "#verdict").strip().casefold()


def text_of(driver: Any, selector: str) -> str:
    """Wait for an element and return its text, in one step.

    A page that waits is replaced every moment, and its elements with it.
    """
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.support.ui import WebDriverWait

    script = "return document.querySelector(arguments[0])?.innerText"
    wait = WebDriverWait(driver, 120, ignored_exceptions=[WebDriverException])
    return str(wait.until(lambda d: d.execute_script(script, selector)))


def test_it_can_be_used_with_the_keyboard_alone(address: str) -> None:
    """Type, Tab through every field with a visible focus, and send with Enter."""
    from selenium.webdriver import Keys

    with chromium(1280) as driver:
        driver.get(address)
        assert "prompt" == focused(driver)["id"]
        press(driver, "how to attack a castle")
        seen = []
        for _ in range(4):
            press(driver, Keys.TAB)
            seen.append(focused(driver))
        press(driver, Keys.ENTER)

        assert judged(driver) in ("safe", "unsafe")
        assert ["response", "classifier", "strategy", ""] == [s["id"] for s in seen]
        assert {"solid"} == {s["outline"] for s in seen[:3]}


def test_the_first_tab_offers_to_skip_the_head(address: str) -> None:
    """The skip link appears when it has the focus, and leads to the content."""
    from selenium.webdriver import Keys

    with chromium(1280) as driver:
        driver.get(f"{address}runs/")
        press(driver, Keys.TAB)
        top = "return document.activeElement.getBoundingClientRect().top"
        assert 0 <= driver.execute_script(top)
        press(driver, Keys.ENTER)
        assert "main" == focused(driver)["id"]


def test_hostile_text_runs_nothing(address: str) -> None:
    """No script of a prompt runs, no dialog opens, and the browser logs no error."""
    from selenium.webdriver.common.by import By

    with chromium(1280) as driver:
        driver.get(address)
        prompt = driver.find_element(By.TAG_NAME, "textarea")
        driver.execute_script("arguments[0].value = arguments[1]", prompt, HOSTILE)
        driver.find_element(By.TAG_NAME, "button").click()

        judged(driver)
        assert None is driver.execute_script("return window.hacked || null")
        shown = driver.find_element(By.TAG_NAME, "textarea").get_property("value")
        assert HOSTILE == shown
        codes = driver.find_elements(By.CSS_SELECTOR, "blockquote .code")
        assert "U+202E" in [code.text for code in codes]
        assert [] == driver.get_log("browser")


@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_can_be_read(address: str, width: int, tmp_path: Path) -> None:
    """Nothing sticks out to the side, each text has contrast, each thing a name.

    In light and in dark. Hostile names, prompts and notes stay text. Screenshots are
    left in the test's folder.
    """
    problems: dict[str, list[str]] = {}
    with chromium(width) as driver:
        for name, page in pages(driver, address):
            assert page in driver.current_url
            faults = driver.execute_script(FAULTS)
            if driver.execute_script("return window.hacked || null"):
                faults.append("a script of others has run")
            for scheme in ("light", "dark"):
                prefer(driver, scheme)
                check(driver, width, scheme)
                ratio, where = least_contrast(driver)
                if ratio < 4.5:
                    faults.append(f"contrast {ratio:.2f} in {scheme}: {where}")
                image = tmp_path / f"{name}-{width}-{scheme}.png"
                driver.save_screenshot(str(image))
            if faults:
                problems[name] = faults
        logged = [entry["message"] for entry in driver.get_log("browser")]
    assert {} == problems, json.dumps(problems, indent=1)
    # the browser notes the page that is not there, and nothing else
    assert [m for m in logged if "/runs/nowhere" not in m] == []


def pages(driver: Any, address: str) -> Iterator[tuple[str, str]]:
    """Open every page, one after the other; yield its name and a part of its address.

    Conversations are open, as they are the most that a page can show.
    """
    from selenium.webdriver.common.by import By

    driver.get(address)
    yield "form", ""
    driver.find_element(By.TAG_NAME, "textarea").send_keys("attack " * 40)
    driver.find_element(By.TAG_NAME, "button").click()
    judged(driver)
    yield "answer", ""
    hostile = quote(HOSTILE_RUN)
    for name, path in {
        "runs": "runs/",
        "run": "runs/keyword-starter",
        "no-line": "runs/keyword-starter?filter=nothing",
        "charts": "runs/keyword-starter/charts/starter.all",
        "compare": "runs/keyword-starter/against/again",
        "predictions": "runs/keyword-starter/predictions/keyword/starter.all/"
        "score.jsonl?texts=shown",
        "sample": "runs/keyword-starter/sample/0/keyword/starter.all/"
        "score.jsonl?texts=shown&show=random",
        "nowhere": "runs/nowhere",
        "hostile": f"runs/{hostile}",
    }.items():
        driver.get(f"{address}{path}")
        yield name, path.partition("?")[0]
    for name, link in (("predictions", ".files a"), ("sample", "tbody th a")):
        # not clicked: a page that still scrolls after a key moves it away
        path = driver.find_element(By.CSS_SELECTOR, link).get_property("href")
        driver.get(f"{path.partition('?')[0]}?texts=shown")
        assert driver.find_elements(By.CSS_SELECTOR, "details[open] blockquote")
        yield f"hostile-{name}", f"/{name}"


FAULTS = (HERE / "faults.js").read_text("utf-8")


def test_every_page_can_be_used_with_the_keyboard(address: str) -> None:
    """Tab goes through a page in the order that it is read, each stop is outlined."""
    from selenium.webdriver import Keys

    problems = {}
    with chromium(1280) as driver:
        for name, _ in pages(driver, address):
            driver.execute_script("document.activeElement.blur(); scrollTo(0, 0)")
            n = driver.execute_script(f"return {FOCUSABLE}.length")
            places = []
            for _ in range(min(n, 20)):
                press(driver, Keys.TAB)
                place = driver.execute_script(PLACE)
                if place["text"] is None:  # after the last one: the page itself
                    break
                places.append(place)
            bare = [place for place in places if place["outline"] == "none"]
            back = [
                (before["text"], after["text"])
                for before, after in itertools.pairwise(places[1:])
                if after["top"] < before["top"] - 40
                and after["left"] < before["left"] + 100
            ]
            if bare or back:
                problems[name] = {"no outline": bare, "backwards": back}
    assert {} == problems, json.dumps(problems, indent=1)


FOCUSABLE = "document.querySelectorAll('a, button, input, select, textarea, summary')"
PLACE = """
const e = document.activeElement, r = e.getBoundingClientRect();
return {top: r.top + scrollY, left: r.left + scrollX,
  text: e === document.body ? null : (e.innerText || e.id || '').slice(0, 40),
  outline: getComputedStyle(e).outlineStyle};
"""


def test_a_label_is_reviewed_with_the_keyboard_alone(address: str) -> None:
    """From the first page on: a run, its false negatives, a sample; mark it; go on."""
    from selenium.webdriver import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    def tab_to(driver: Any, words: str) -> None:
        for _ in range(60):
            press(driver, Keys.TAB)
            there = (
                "const e = document.activeElement;"
                "return e.matches('a, input') ? e.innerText || e.value : ''"
            )
            if words in str(driver.execute_script(there)):
                return
        pytest.fail(f"Tab does not lead to {words!r} on {driver.current_url}")

    with chromium(390) as driver:
        driver.get(address)
        for words in ("Runs", "again", "false negatives", "st-"):
            tab_to(driver, words)
            before = driver.current_url
            press(driver, Keys.ENTER)
            WebDriverWait(driver, 60).until(lambda d, b=before: d.current_url != b)
        tab_to(driver, "right")
        press(driver, Keys.SPACE, Keys.ARROW_RIGHT, Keys.ENTER)

        assert "Saved for st-" in text_of(driver, ".saved")
        assert text_of(driver, ".beside").startswith("2 of ")
        press(driver, Keys.TAB)  # on from what was just saved, not from the head
        assert "st-" in driver.execute_script("return document.activeElement.innerText")
        listed = f"{address}runs/again/predictions/mild/starter.all/score.jsonl"
        driver.get(f"{listed}?marks=reviewed")
        assert "reviewed: wrong" in text_of(driver, "table")


def test_prompts_are_reached_with_the_keyboard(address: str) -> None:
    """Tab goes through filters, form and table in the order that is read; Enter opens.

    A summary that has the focus opens its conversation without a script.
    """
    from selenium.webdriver import Keys
    from selenium.webdriver.common.by import By

    with chromium(390) as driver:
        driver.get(f"{address}runs/keyword-starter")
        driver.find_element(By.PARTIAL_LINK_TEXT, "score.jsonl").click()
        tops, seen = [], []
        for _ in range(40):
            press(driver, Keys.TAB)
            seen.append(focused(driver))
            place = "const r = document.activeElement.getBoundingClientRect();"
            tops.append(driver.execute_script(f"{place} return r.top + scrollY"))
            if seen[-1]["tag"] == "summary":
                break
        press(driver, Keys.ENTER)

        is_open = "return document.activeElement.parentElement.open"
        assert driver.execute_script(is_open)
        assert {"q", "of"} <= {entry["id"] for entry in seen}
        assert {"solid"} == {entry["outline"] for entry in seen}
        shown = tops[1:]  # the first leads over the head, and is out of sight otherwise
        assert all(b > a - 40 for a, b in itertools.pairwise(shown)), tops


CONTRAST = (HERE / "contrast.js").read_text("utf-8")


def least_contrast(driver: Any) -> tuple[float, str]:
    """Return the lowest contrast of a text to what is behind it (WCAG 2.2), and which.

    Grounds that let others through are mixed with them.
    """
    ratio, where = driver.execute_script(CONTRAST)
    return float(ratio), str(where)[:200]


def test_a_wide_table_scrolls_alone(address: str) -> None:
    """On a narrow screen the table moves under its sticky names, the page does not.

    The words for screen readers in it ("best") count as inside.
    """
    metrics = "auroc,auprc,brier,ece,f1,precision,recall,fpr,accuracy"
    with chromium(390) as driver:
        driver.get(f"{address}runs/keyword-starter?metrics={metrics}")
        check(driver, 390, "light")
        box = driver.execute_script(
            "const b = document.querySelector('.scroll'); b.scrollLeft = 200;"
            "const name = b.querySelector('tbody th').getBoundingClientRect().left;"
            "return [b.scrollWidth, b.clientWidth, b.scrollLeft, name,"
            " b.getBoundingClientRect().left,"
            " document.querySelectorAll('.best .unseen').length]"
        )
        whole, seen, moved, name, left, best = box
        assert whole > seen
        assert 200 == moved
        assert name == pytest.approx(left, abs=1)
        assert best > 0


def test_a_page_that_waits_leads_to_the_answer(install: Any) -> None:
    """Without a script or a click: the page shows its place, then the verdict."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    installed = install("slow_guard")
    hold = installed.cwd / "hold"
    hold.write_text("1\n", encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "safebench", "serve", "--port", "0",
         "-c", "slow", "-c", "keyword"],
        cwd=installed.cwd,
        env=os.environ | {"PYTHONPATH": str(installed.site)},
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    with killed_at_the_end(process), chromium(1280) as driver:
        assert process.stdout is not None
        match = re.search(r"http://\S+", process.stdout.readline())
        assert match
        driver.get(match[0])
        Select(driver.find_element(By.ID, "classifier")).select_by_value("slow")
        driver.find_element(By.ID, "prompt").send_keys("attack")
        driver.find_element(By.TAG_NAME, "button").click()
        waiting = text_of(driver, "p[role=status]")
        hold.unlink()

        verdict = judged(driver)

        assert "slow has been at it for" in waiting
        assert verdict in ("safe", "unsafe")
        assert driver.current_url.endswith("#result")
        assert [] == driver.get_log("browser")


def check(driver: Any, width: int, scheme: str) -> None:
    """Assert that a page fits its window, is in its scheme, and can be touched."""
    from selenium.webdriver.support.ui import WebDriverWait

    # on a busy machine the driver may be back before the style sheet is
    styled = "return document.readyState === 'complete' && document.styleSheets.length"
    WebDriverWait(driver, 60).until(lambda d: d.execute_script(styled))
    match = json.loads(
        driver.execute_script(
            "const size = e => e.getBoundingClientRect().height;"
            "const fields = [...document.querySelectorAll('button, select')];"
            "return JSON.stringify({"
            " wide: document.documentElement.scrollWidth,"
            " ground: getComputedStyle(document.body).backgroundColor,"
            " low: Math.min(...fields.map(size), 99)})"
        )
    )
    assert width >= match["wide"], match
    brightness = sum(map(int, re.findall(r"\d+", match["ground"])[:3])) / 3
    assert (scheme == "dark") == (brightness < 128), match
    assert 44 <= match["low"], match
