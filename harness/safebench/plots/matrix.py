"""Who differs from whom, as a heat map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .style import PAPER, new_figure, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from safebench.analysis.agreement import Agreement

_WRITTEN = 10  # voters up to which every cell says its number
_LONGEST = 30  # characters of a name
_INCH = 0.085  # width of one of them
_BRIGHT = 0.45  # luminance above which dark text reads better


def disagreement(found: Agreement) -> Figure:
    """Draw the share of samples on which each pair of voters differs.

    The scale starts below the smallest share by the range of shares, at 0 at the least:
    near shares look near, and are told apart.
    """
    count = len(found.names)
    names = [
        f"{_short(name)}  {place}" for place, name in enumerate(found.names, start=1)
    ]
    side = max(2.9, 0.5 * count + 1.1)
    figure = new_figure(side + 1.2 + _INCH * max(map(len, names)), side + 0.7)
    axes = figure.subplots()
    shares = 100 * found.differ
    off = ~np.eye(count, dtype=bool)
    least, most = float(shares[off].min()), max(float(shares[off].max()), 1e-9)
    drawn = axes.pcolormesh(
        np.where(off, shares, np.nan), cmap="cividis_r",
        vmin=max(0.0, 2 * least - most), vmax=most, edgecolors=PAPER, linewidth=1.5,
    )  # fmt: skip
    places = np.arange(count) + 0.5
    axes.set_xticks(places, [str(place) for place in range(1, count + 1)])
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set_aspect("equal", anchor="W")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if count <= _WRITTEN:
        for i, j in zip(*np.nonzero(off), strict=True):
            red, green, blue, _ = drawn.cmap(drawn.norm(shares[i, j]))
            bright = 0.21 * red + 0.72 * green + 0.07 * blue > _BRIGHT
            axes.text(
                j + 0.5, i + 0.5, f"{shares[i, j]:.1f}", ha="center", va="center",
                fontsize=9, color="#111111" if bright else "#fefefe",
            )  # fmt: skip
    bar = figure.colorbar(drawn, ax=axes, shrink=0.9, aspect=18, pad=0.03)
    bar.set_label("samples decided differently (%)")
    bar.outline.set_linewidth(0)
    kappa = "" if found.fleiss is None else f", kappa {found.fleiss:.2f}"
    about = f"{found.dataset}, {found.n} samples{kappa}"
    titled(axes, f"Who differs: {found.title}", about, width=side + 0.9)
    return figure


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
