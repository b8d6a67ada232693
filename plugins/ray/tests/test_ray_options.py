"""What `--executor ray` refuses before anything starts; Ray itself is not needed."""

from __future__ import annotations

import sys

import pytest

from safebench.errors import ModelError, OptionError
from safebench.testing import assert_plugin_is_sound
from safebench_ray.executor import RayExecutor, _check_reachable
from safebench_ray.options import RayOptions


@pytest.mark.slow
def test_the_plugin_is_sound() -> None:
    """It is found, declares well, and imports nothing heavy; Ray is imported later."""
    assert_plugin_is_sound("ray")
    assert "ray" not in sys.modules


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("workers", -1),
        ("gpus_per_worker", -0.5),
        ("threads_per_worker", -2),
        ("cpus_per_worker", 0.0),
        ("wait", 0.0),
    ],
)
def test_impossible_values_are_refused(option: str, value: float) -> None:
    """By the option's name."""
    with pytest.raises(OptionError, match=f"executor 'ray': {option} "):
        RayOptions(**{option: value})  # type: ignore[arg-type]


def test_an_address_that_nobody_answers_at_is_one_message() -> None:
    """At once, since Ray would try for minutes; with what would work."""
    with pytest.raises(ModelError, match=r"no cluster answers at 127\.0\.0\.1:9: "):
        _check_reachable("127.0.0.1:9")
    with pytest.raises(
        OptionError, match=r"'ray://head:10001' is the address of a client"
    ):
        _check_reachable("ray://head:10001")


def test_without_ray_its_installation_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin may be there without the package that it drives."""
    monkeypatch.setattr("safebench_ray.executor.find_spec", lambda _: None)
    with pytest.raises(OptionError, match=r"pip install 'safebench-ray\[ray\]'"):
        RayExecutor(RayOptions())
