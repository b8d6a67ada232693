"""Whether the members of an ensemble part where they are wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .style import BLUE, MUTED, VERMILION, legend_below, new_figure, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from safebench.analysis.members import Members

    Array = np.ndarray[Any, np.dtype[Any]]

_DOTS = 1500  # of a kind
_LAYERS = 8


def parting(found: Members, about: str) -> Figure:
    """Draw each sample's spread of the members' probabilities against their mean.

    Errors at the bottom corners are those that no disagreement can find.
    """
    figure = new_figure(6.2, 4.1)
    axes = figure.subplots()
    edge = np.linspace(0, 1, 201)
    axes.plot(
        edge, np.sqrt(edge * (1 - edge)), color=MUTED, linewidth=1.2,
        linestyle=(0, (4, 2)), zorder=2, label="as far apart as can be",
    )  # fmt: skip
    axes.axvline(0.5, color=MUTED, linewidth=1, linestyle=(0, (1, 1.5)), zorder=1)
    kinds = ((~found.wrong, "right", BLUE, "o"), (found.wrong, "wrong", VERMILION, "D"))
    for rows, name, colour, marker in kinds:
        style: dict[str, Any] = {
            "linestyle": "none", "marker": marker, "markersize": 3.8, "alpha": 0.6,
            "color": colour, "markeredgewidth": 0,
        }  # fmt: skip
        places = _thinned(np.flatnonzero(rows))
        count = int(rows.sum())
        less = f", {len(places)} drawn" if len(places) < count else ""
        for layer in range(_LAYERS):  # in turns, so that no kind covers the other
            some = places[layer::_LAYERS]
            label = f"{name}: {count}{less}" if not layer else None
            axes.plot(found.mean[some], found.spread[some], zorder=3 + layer,
                      label=label, **style)  # fmt: skip
    axes.set_xlim(-0.015, 1.015)
    top = 1.15 * float(found.spread.max()) + 0.03
    axes.set_ylim(-0.016 * top, min(top, 0.52))
    axes.set_xlabel("mean of the members' probabilities")
    axes.set_ylabel("their standard deviation (0: of one mind)")
    legend_below(figure, axes)
    titled(axes, "Do members part where they are wrong?", about)
    return figure


def _thinned(places: Array) -> Array:
    """Return at most `_DOTS` places, evenly."""
    step = -(-len(places) // _DOTS)
    return places[:: max(step, 1)]
