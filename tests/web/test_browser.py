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
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
HOSTILE = "</textarea><script>window.hacked = 1; alert(1)</script>\u202e attack"

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


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a run of two keyword guards, as a process; yield the address."""
    folder = tmp_path_factory.mktemp("served")
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    safebench = [sys.executable, "-m", "safebench"]
    run = [*safebench, "run", "-c", "keyword", "-c", "mild=keyword,saturation=3"]
    run += ["--limit", "60", "--out", "runs/keyword-starter"]
    subprocess.run(run, cwd=folder, env=env, check=True, capture_output=True)
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
        with urllib.request.urlopen(address, timeout=60) as response:
            if b"is being loaded" not in response.read():
                return
        time.sleep(0.2)
    pytest.fail("the default classifier is not loaded after four minutes")


@contextmanager
def chromium(width: int, scheme: str = "light") -> Iterator[Any]:
    """Open a window that is so wide and prefers a colour scheme."""
    from selenium import webdriver
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
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1}
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", screen | {"mobile": width < 600}
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        yield driver
    finally:
        driver.quit()


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_fit_and_follow_the_scheme(
    address: str, width: int, scheme: str, tmp_path: Path
) -> None:
    """Nothing sticks out to the side; the ground is light or dark; nothing is logged.

    Screenshots are left in the test's folder.
    """
    from selenium.webdriver.common.by import By

    with chromium(width, scheme) as driver:
        driver.get(address)
        check(driver, width, scheme)
        driver.save_screenshot(str(tmp_path / f"form-{width}-{scheme}.png"))
        driver.find_element(By.TAG_NAME, "textarea").send_keys("attack " * 40)
        driver.find_element(By.TAG_NAME, "button").click()
        judged(driver)
        check(driver, width, scheme)
        driver.save_screenshot(str(tmp_path / f"answer-{width}-{scheme}.png"))
        driver.get(f"{address}runs/keyword-starter")
        check(driver, width, scheme)
        driver.find_element(By.PARTIAL_LINK_TEXT, "score.jsonl").click()
        check(driver, width, scheme)
        driver.find_element(By.LINK_TEXT, "Show all on this page").click()
        check(driver, width, scheme)
        assert least_contrast(driver)[0] >= 4.5, least_contrast(driver)
        driver.save_screenshot(str(tmp_path / f"predictions-{width}-{scheme}.png"))
        driver.find_element(By.CSS_SELECTOR, "tbody th a").click()
        driver.find_element(By.CSS_SELECTOR, "details.whole summary").click()
        check(driver, width, scheme)
        assert least_contrast(driver)[0] >= 4.5, least_contrast(driver)
        driver.save_screenshot(str(tmp_path / f"sample-{width}-{scheme}.png"))
        assert [] == driver.get_log("browser")


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


CONTRAST = """
const rgba = text => { const n = text.match(/[0-9.]+/g).map(Number);
  return [n[0], n[1], n[2], n.length > 3 ? n[3] : 1]; };
const over = (top, base) => [0, 1, 2].map(i => top[i] * top[3] + base[i] * (1 - top[3]))
  .concat(1);
const ground = e => { const own = rgba(getComputedStyle(e).backgroundColor);
  if (own[3] === 1) return own;
  return over(own, e.parentElement ? ground(e.parentElement) : [255, 255, 255, 1]); };
const light = c => { const [r, g, b] = c.slice(0, 3).map(v => v / 255).map(
  v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
let least = [99, ''];
for (const e of document.body.querySelectorAll('*')) {
  const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
  if (!own || e.closest('svg') || !e.getClientRects().length) continue;
  const back = ground(e), front = over(rgba(getComputedStyle(e).color), back);
  const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < least[0]) least = [ratio, `${e.tagName}.${e.className} ${e.innerText}`];
}
return least;
"""


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
    process = subprocess.Popen(
        [sys.executable, "-m", "safebench", "serve", "--port", "0",
         "-c", "slow,pause=5", "-c", "keyword"],
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
