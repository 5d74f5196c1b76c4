"""The figures of a training, as bytes of a PNG or PDF file."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from scope_dask import style

Format = str
_MOST = 25  # features of the importance figure


def can_draw() -> bool:
    """Tell whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def _content(fig: Any, kind: Format) -> bytes:
    buffer = io.BytesIO()
    # Without the date two equal figures are equal files.
    fig.savefig(buffer, format=kind, metadata={"CreationDate": None} if kind == "pdf" else {"Software": None})
    return buffer.getvalue()


def confusion(counts: np.ndarray, title: str, kind: Format = "png", count: bool = False, percent: bool = True) -> bytes:
    """Draw the confusion matrix of one class.

    Parameters
    ----------
    counts : numpy.ndarray, shape (2, 2)
        Rows by true (others, members) and predicted kind.
    title : str
    kind : {"png", "pdf"}
    count, percent : bool
        Write the number of rows, and their share of all, into the fields; neither: nothing.
    """
    share = counts / max(counts.sum(), 1)
    with style.figure(5.0) as (fig, ax):
        fig.set_size_inches(6.4, 5.0)
        image = ax.imshow(share * 100, cmap="Blues", vmin=0, vmax=100)
        for (i, j), number in np.ndenumerate(counts):
            words = [f"{number:,}"] * count + [f"{share[i, j] * 100:.1f} %"] * percent
            colour = "white" if share[i, j] > 0.55 else "black"
            ax.text(j, i, "\n".join(words), ha="center", va="center", color=colour, fontsize=12)
        names = ["not the class", "the class"]
        ax.set_xticks((0, 1), names)
        ax.set_yticks((0, 1), names)
        ax.grid(visible=False)
        ax.tick_params(length=0)
        ax.set(xlabel="predicted", ylabel="true", title=title)
        fig.colorbar(image, ax=ax, label="share of all rows (%)")
        return _content(fig, kind)


def roc(y: np.ndarray, score: np.ndarray, title: str, kind: Format = "png") -> bytes:
    """Draw the fraction of members found against that of others taken for members."""
    from sklearn.metrics import roc_curve

    def draw(ax: Any) -> None:
        false, true, _ = roc_curve(y, score)
        ax.plot([0, 1], [0, 1], ":", color=style.GREY)
        ax.plot(false, true, color=style.BLUE)
        ax.set(xlabel="false positives / others", ylabel="true positives / members")

    return _square(draw, title, kind)


def precision_recall(y: np.ndarray, score: np.ndarray, title: str, kind: Format = "png") -> bytes:
    """Draw precision against recall."""
    from sklearn.metrics import precision_recall_curve

    def draw(ax: Any) -> None:
        precision, recall, _ = precision_recall_curve(y, score)
        ax.axhline(float(np.mean(y)), linestyle=":", color=style.GREY)
        ax.step(recall, precision, where="post", color=style.BLUE)
        ax.set(xlabel="recall", ylabel="precision")

    return _square(draw, title, kind)


def calibration(bins: Mapping[str, Sequence[float]], title: str, kind: Format = "png") -> bytes:
    """Draw the fraction of members in bins of the score, as `report.calibration_bins` gives them."""

    def draw(ax: Any) -> None:
        ax.plot([0, 1], [0, 1], ":", color=style.GREY)
        ax.plot(bins["score"], bins["members"], "o-", color=style.BLUE)
        for x, y, n in zip(bins["score"], bins["members"], bins["rows"], strict=True):
            ax.annotate(f"{n:,}", (x, y), xytext=(4, -9), textcoords="offset points", color=style.GREY, fontsize=8)
        ax.set(xlabel="mean score of the rows in a bin", ylabel="members / rows in the bin")

    return _square(draw, title, kind)


def _square(draw: Callable[[Any], None], title: str, kind: Format) -> bytes:
    with style.figure(5.0) as (fig, ax):
        fig.set_size_inches(5.4, 5.0)
        draw(ax)
        ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.03), title=title)
        ax.set_aspect("equal")
        return _content(fig, kind)


def importance(values: Mapping[str, float], what: str, title: str, kind: Format = "png") -> bytes:
    """Draw the most important features as bars."""
    top = sorted(values.items(), key=lambda item: -item[1])[:_MOST]
    with style.figure(1.2 + 0.26 * len(top)) as (fig, ax):
        ax.barh([name for name, _ in top], [value for _, value in top], color=style.BLUE)
        ax.invert_yaxis()
        ax.grid(visible=False, axis="y")
        ax.set(xlabel=what, title=title)
        return _content(fig, kind)


def history(values: Mapping[str, Sequence[float]], title: str, kind: Format = "png") -> bytes:
    """Draw loss and area under the ROC curve of training and validation by epoch."""
    with style.figure(4.0, ncols=2) as (fig, axes):
        for ax, name in zip(axes, ("loss", "auc"), strict=True):
            for key, colour, label in ((name, style.SKY, "training"), (f"val_{name}", style.BLUE, "validation")):
                if key in values:
                    ax.plot(np.arange(1, len(values[key]) + 1), values[key], color=colour, label=label)
            ax.set(xlabel="epoch", ylabel=name)
        axes[0].legend()
        fig.suptitle(title, x=0.01, ha="left")
        return _content(fig, kind)


def layers(shapes: Sequence[Sequence[str]], title: str, kind: Format = "png") -> bytes:
    """Draw a network as boxes: branches side by side, and what joins them, the last, below."""
    *branches, head = shapes
    height = max(map(len, branches)) + len(head)
    with style.figure(1.0 + 0.7 * height) as (fig, ax):
        box = {"boxstyle": "round,pad=0.4", "facecolor": "#f1f5f9", "edgecolor": style.GREY}
        places = [(k - (len(branches) - 1) / 2, words, 0) for k, words in enumerate(branches)]
        places.append((0.0, list(head), max(map(len, branches))))
        for x, words, first in places:
            for k, word in enumerate(words):
                ax.text(x, -(first + k), word, ha="center", va="center", bbox=box, fontsize=10)
                if first + k > 0:
                    above = [b for b, _, _ in places[:-1]] if first and k == 0 else [x]
                    for start in above:
                        arrow = {"arrowstyle": "->", "color": style.GREY}
                        ax.annotate("", (x, -(first + k) + 0.28), (start, -(first + k) + 0.72), arrowprops=arrow)
        ax.set(xlim=(-1.2, 1.2), ylim=(-height + 0.5, 0.6), title=title)
        ax.set_axis_off()
        return _content(fig, kind)


def comparison(values: Mapping[str, Mapping[str, float]], what: str, title: str, kind: Format = "png") -> bytes:
    """Draw a number of each class (rows) by each algorithm (colours)."""
    tags = list(dict.fromkeys(tag for own in values.values() for tag in own))
    width = 0.8 / max(len(values), 1)
    with style.figure(1.4 + 0.3 * len(tags)) as (fig, ax):
        for k, (name, own) in enumerate(values.items()):
            place = np.arange(len(tags)) + (k - (len(values) - 1) / 2) * width
            ax.barh(place, [own.get(tag, np.nan) for tag in tags], width, color=style.SERIES[k], label=name)
        ax.set_yticks(range(len(tags)), tags)
        ax.invert_yaxis()
        ax.grid(visible=False, axis="y")
        ax.set(xlim=(0, 1), xlabel=what, title=title)
        fig.legend(loc="outside right upper")
        return _content(fig, kind)
