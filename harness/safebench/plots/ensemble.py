"""Figures of raters and ensembles: who differs from whom, and on which samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .style import BLUE, MUTED, PAPER, VERMILION, legend_below, new_figure, set_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from safebench.analysis.agreement import Agreement
    from safebench.analysis.ensemble import EnsembleMembers
    from safebench.typing import Array

_MAX_NUMBERED = 10  # raters up to which every cell has its number written in it
_MAX_NAME = 30  # characters
_LETTER_WIDTH = 0.085  # inches
_BRIGHT_LUMINANCE = 0.45  # above it, dark text reads better
_MAX_DOTS = 1500  # of right, and of wrong decisions
_LAYERS = 8


def draw_disagreement(agreement: Agreement) -> Figure:
    """Draw the share of samples on which each pair of raters differs, as a heat map.

    The colour scale starts below the smallest share by the range of shares, at 0 at the
    least: shares that are close get colours that are close, but not equal.
    """
    k = len(agreement.names)
    names = [
        f"{_shorten(name)}  {number}"
        for number, name in enumerate(agreement.names, start=1)
    ]
    side = max(2.9, 0.5 * k + 1.1)
    figure = new_figure(side + 1.2 + _LETTER_WIDTH * max(map(len, names)), side + 0.7)
    axes = figure.subplots()
    shares = 100 * agreement.disagreement
    off_diagonal = ~np.eye(k, dtype=bool)
    least = float(shares[off_diagonal].min())
    most = max(float(shares[off_diagonal].max()), 1e-9)
    mesh = axes.pcolormesh(
        np.where(off_diagonal, shares, np.nan), cmap="cividis_r",
        vmin=max(0.0, 2 * least - most), vmax=most, edgecolors=PAPER, linewidth=1.5,
    )  # fmt: skip
    centres = np.arange(k) + 0.5
    axes.set_xticks(centres, [str(number) for number in range(1, k + 1)])
    axes.set_yticks(centres, names)
    axes.invert_yaxis()
    axes.set_aspect("equal", anchor="W")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if k <= _MAX_NUMBERED:
        for i, j in zip(*np.nonzero(off_diagonal), strict=True):
            red, green, blue, _ = mesh.cmap(mesh.norm(shares[i, j]))
            bright = 0.21 * red + 0.72 * green + 0.07 * blue > _BRIGHT_LUMINANCE
            axes.text(
                j + 0.5, i + 0.5, f"{shares[i, j]:.1f}", ha="center", va="center",
                fontsize=9, color="#111111" if bright else "#fefefe",
            )  # fmt: skip
    bar = figure.colorbar(mesh, ax=axes, shrink=0.9, aspect=18, pad=0.03)
    bar.set_label("samples decided differently (%)")
    bar.outline.set_linewidth(0)
    kappa = "" if agreement.fleiss is None else f", kappa {agreement.fleiss:.2f}"
    about = f"{agreement.dataset}, {agreement.n} samples{kappa}"
    set_title(axes, f"Disagreement: {agreement.title}", about, width=side + 0.9)
    return figure


def _shorten(name: str) -> str:
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"


def draw_member_spread(members: EnsembleMembers, about: str) -> Figure:
    """Draw the standard deviation of the members' probabilities against their mean.

    One dot a sample. Errors in the bottom corners, where all members agree, are those
    that no measure of disagreement can find.
    """
    figure = new_figure(6.2, 4.1)
    axes = figure.subplots()
    # members that say 0 or 1 spread most at a given mean: a Bernoulli variable
    mean = np.linspace(0, 1, 201)
    axes.plot(
        mean, np.sqrt(mean * (1 - mean)), color=MUTED, linewidth=1.2,
        linestyle=(0, (4, 2)), zorder=2, label="largest possible",
    )  # fmt: skip
    axes.axvline(0.5, color=MUTED, linewidth=1, linestyle=(0, (1, 1.5)), zorder=1)
    for mask, name, colour, marker in (
        (~members.wrong, "right", BLUE, "o"),
        (members.wrong, "wrong", VERMILION, "D"),
    ):
        style: dict[str, Any] = {
            "linestyle": "none", "marker": marker, "markersize": 3.8, "alpha": 0.6,
            "color": colour, "markeredgewidth": 0,
        }  # fmt: skip
        rows = _subsample(np.flatnonzero(mask))
        n = int(mask.sum())
        shown = f", {len(rows)} drawn" if len(rows) < n else ""
        # in layers that alternate, so that neither kind covers the other
        for layer in range(_LAYERS):
            of_layer = rows[layer::_LAYERS]
            axes.plot(
                members.mean_probability[of_layer],
                members.std[of_layer],
                zorder=3 + layer,
                label=None if layer else f"{name}: {n}{shown}",
                **style,
            )
    axes.set_xlim(-0.015, 1.015)
    top = 1.15 * float(members.std.max()) + 0.03
    axes.set_ylim(-0.016 * top, min(top, 0.52))
    axes.set_xlabel("mean of the members' probabilities")
    axes.set_ylabel("their standard deviation")
    legend_below(figure, axes)
    set_title(axes, "Disagreement of members, by decision", about)
    return figure


def _subsample(rows: Array) -> Array:
    """Return at most `_MAX_DOTS` of the rows, evenly spaced."""
    step = -(-len(rows) // _MAX_DOTS)
    return rows[:: max(step, 1)]
