"""Options: text in, a checked dataclass out, and a helpful refusal otherwise."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from safebench.errors import OptionError
from safebench.evidence import Scores
from safebench.options import OptionSchema, build_options
from safebench.specs import StrategySpec


@dataclass(frozen=True)
class Options:
    """One field of every kind."""

    eps: float = 1e-3
    depth: int | None = None
    mode: Literal["strict", "lenient"] = "strict"
    fast: bool = False
    names: tuple[str, ...] = ()
    scales: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.eps < 0:
            raise ValueError(f"eps must not be negative, got {self.eps}")


SPEC = StrategySpec(
    name="s", load="a:b", needs=frozenset({Scores}), options=f"{__name__}:Options"
)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `module:attribute` find this file, whatever pytest calls it."""
    monkeypatch.setitem(sys.modules, __name__, sys.modules[Options.__module__])


@pytest.mark.parametrize(
    ("given", "field", "expected"),
    [
        ({"eps": "0.01"}, "eps", 0.01),
        ({"eps": 1}, "eps", 1.0),
        ({"depth": "20"}, "depth", 20),
        ({"depth": "none"}, "depth", None),
        ({"mode": "lenient"}, "mode", "lenient"),
        ({"fast": "yes"}, "fast", True),
        ({"fast": False}, "fast", False),
        ({"names": "a+b"}, "names", ("a", "b")),
        ({"names": ["a", "b"]}, "names", ("a", "b")),
        ({"names": "a+"}, "names", ("a",)),
        ({"names": "a"}, "names", ("a",)),
        ({"scales": [0, 1]}, "scales", (0.0, 1.0)),
        ({"scales": 0}, "scales", (0.0,)),
        ({"depth": 2.0}, "depth", 2),
    ],
)
def test_values_take_the_annotated_type(
    given: dict[str, Any], field: str, expected: Any
) -> None:
    """Text from the command line and values from YAML end up the same."""
    assert expected == getattr(build_options(SPEC, given), field)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epz": "1"}, "has no option 'epz'; did you mean 'eps'?"),
        ({"eps": "abc"}, "eps: 'abc' is not a number"),
        ({"eps": "nan"}, "not a number"),
        ({"eps": "-1"}, "eps must not be negative"),
        ({"depth": "2.5"}, "'2.5' is not a whole number"),
        ({"depth": 2.5}, "2.5 is not a whole number"),
        ({"depth": float("inf")}, "inf is not a whole number"),
        ({"scales": ["a"]}, "scales: 'a' is not a number"),
        ({"mode": "lenien"}, "did you mean 'lenient'?"),
        ({"fast": "perhaps"}, "neither true nor false"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    given: dict[str, Any], message: str
) -> None:
    """The message names the component, the key, the value and the nearest right one."""
    with pytest.raises(OptionError) as caught:
        build_options(SPEC, given)

    assert message in caught.value.message
    assert "strategy 's'" in caught.value.message


def test_a_schema_has_names_types_and_defaults() -> None:
    """In the order of the dataclass; annotations are evaluated."""
    schema = OptionSchema.of(SPEC)

    assert ["eps", "depth", "mode", "fast", "names", "scales"] == schema.names
    assert schema.types["fast"] is bool
    assert {"eps": 1e-3, "depth": None} == {
        name: schema.defaults[name] for name in ("eps", "depth")
    }


def test_a_component_without_options_takes_none() -> None:
    """It is built with None, and any key is refused."""
    schema = OptionSchema.of(StrategySpec(name="s", load="a:b", needs=frozenset()))

    assert schema.build({}) is None
    assert [] == schema.names
    with pytest.raises(OptionError, match="no option 'eps'\n  options: none"):
        schema.build({"eps": 1})
