"""How figures look: one style, and colours that differ for colour-blind readers too (Okabe & Ito 2008)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

from scope_dask.errors import UsageError

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
GREY, LIGHT = "#6b7280", "#d1d5db"
SERIES = (BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE, GREY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
FILTERS = {1: ("g", GREEN), 2: ("r", VERMILION), 3: ("i", PURPLE)}

DPI = 130
WIDTH = 10.0  # inches

_RC = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#374151",
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.7,
    "xtick.color": "#374151",
    "ytick.color": "#374151",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


def require_matplotlib() -> None:
    """Check that figures can be drawn.

    Raises
    ------
    UsageError
        If matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise UsageError("figures are drawn with matplotlib: pip install 'scope_dask[plot]'") from None


@contextlib.contextmanager
def figure(height: float, **subplots: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (figure, axes) of the page's width and a `height` in inches, in the style; no window, no global state."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_RC):
        fig = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
        yield fig, fig.subplots(**subplots)


def png(fig: Any) -> bytes:
    """Return a figure as PNG."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png")
    return buffer.getvalue()
