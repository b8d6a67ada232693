"""Guards and strategies that misbehave: the page names them, and serves on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from safebench.pipeline.config import ComponentRef
from safebench.web.app import create_app
from safebench.web.state import AppState

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.plugins import Plugins

    Read = Callable[..., Any]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("load-raises", 500, "Something broke"),
        ("load-exits", 500, "Something broke"),
        ("load-nothing", 400, "made a LoadNothing"),
        ("raises", 500, "Something broke"),
        ("exits", 500, "Something broke"),
        ("dies", 500, "Something broke"),
        ("nothing", 400, "record() returned None"),
        ("too-sure", 400, "a probability of 2"),
    ],
)
def test_a_classifier_that_fails_is_named(
    unruly: Plugins,
    read_page: Read,
    capfd: pytest.CaptureFixture[str],
    name: str,
    status: int,
    reason: str,
) -> None:
    """Above the form that was sent; its own words are for the terminal alone."""
    client = create_app(AppState(plugins=unruly)).test_client()

    response = client.post("/", data={"prompt": "what I wrote", "classifier": name})

    page = read_page(response)
    assert status == response.status_code
    assert reason in page.text()
    assert f"classifier '{name}' of plugin unruly" in page.text()
    assert "secret-word" not in page.text()
    assert "what I wrote" == page.text_areas[0]
    assert f"classifier '{name}' of plugin unruly" in capfd.readouterr().err
    assert 200 == client.post("/", data={"prompt": "x"}).status_code


@pytest.mark.slow
def test_strategies_that_fail_are_named_beside_the_others(
    unruly: Plugins, read_page: Read, capfd: pytest.CaptureFixture[str]
) -> None:
    """The one that was asked, and those below it; the score of the last is right."""
    client = create_app(AppState(plugins=unruly)).test_client()
    fields = {"prompt": "x", "classifier": "calm"}

    for name in ("s-raises", "s-exits", "s-dies"):
        response = client.post("/", data=fields | {"strategy": name})
        page = read_page(response)
        assert 200 == response.status_code
        assert "no verdict" == page.text("h2")
        assert f"strategy '{name}' of plugin unruly" in page.text()

    page = read_page(client.post("/", data=fields))
    assert "unsafe" == page.text("h2")
    assert "0.9" in page.text()
    table = page.text("table")
    for name in ("s-raises", "s-exits", "s-dies", "s-nothing", "s-too-few"):
        assert f"strategy '{name}' of plugin unruly" in table
    assert "secret-word" not in page.text()
    assert "ZeroDivisionError: secret-word" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["load-raises", "load-exits", "load-nothing"])
def test_a_default_that_cannot_be_loaded_is_told_in_the_terminal(
    unruly: Plugins, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    """When the page is served, and not only by the first who asks; pages come."""
    state = AppState(plugins=unruly, classifiers=(ComponentRef(name, name),))
    client = create_app(state).test_client()

    state.start_loading()
    assert state._loading is not None
    state._loading.join(240)

    errors = capfd.readouterr().err.splitlines()
    assert 1 == len(errors)
    assert errors[0].startswith(f"{name} is not loaded: classifier '{name}' of plugin")
    assert 200 == client.get("/").status_code
