"""Trainings of a group side by side: their statistics as a table, the importance of features, and a page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scope_dask.errors import SourceError
from scope_dask.html import Number, document, headline, image, paragraph, table
from scope_dask.training import figures

STATISTICS = (
    "accuracy", "precision", "recall", "f1_score", "roc_auc", "average_precision", "brier", "calibration_error",
)  # fmt: skip
_FOLDER = re.compile(r"(?P<tag>.+)\.(?P<stamp>\d{8}_\d{6})_plots")
_FIGURES = ("cm", "roc", "recall", "calibration")


@dataclass(frozen=True)
class Record:
    """The record of a training.

    Attributes
    ----------
    folder : Path
    tag, stamp, algorithm : str
    stats : dict
        Of one part of the sample.
    """

    folder: Path
    tag: str
    stamp: str
    algorithm: str
    stats: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of the model without its ending."""
        return f"{self.tag}.{self.stamp}"

    def figure(self, name: str, part: str = "") -> bytes | None:
        """Return a figure as PNG; None: there is none."""
        path = self.folder / part / f"{self.name}_{name}.png"
        return path.read_bytes() if path.is_file() else None

    @property
    def importance(self) -> dict[str, float]:
        """Importance of features, the largest first."""
        path = self.folder / f"{self.name}_impvars.json"
        return _read(path) if path.is_file() else {}


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read as JSON: {error}; train the model again or remove it") from error
    return found


def records(folder: Path, algorithm: str, part: str) -> list[Record]:
    """Return the records of a group, by class and time.

    Parameters
    ----------
    folder : Path
        ``models_<algorithm>/<group>``.
    algorithm : str
    part : {"train", "val", "test"}

    Raises
    ------
    SourceError
        If one cannot be read.
    """
    found = []
    for own in sorted(folder.glob("*/*_plots")):
        match = _FOLDER.fullmatch(own.name)
        stats = own / part / f"{own.name.removesuffix('_plots')}_stats.json"
        if match and stats.is_file():
            found.append(Record(own, match["tag"], match["stamp"], algorithm, _read(stats)))
    return sorted(found, key=lambda record: (record.tag, record.stamp))


def newest(found: Iterable[Record]) -> list[Record]:
    """Return the newest record of each class and algorithm."""
    last = {(record.tag, record.algorithm): record for record in sorted(found, key=lambda r: r.stamp)}
    return [last[key] for key in sorted(last)]


def statistics_table(found: Sequence[Record]) -> pd.DataFrame:
    """Return the statistics of the newest training of each class, and mean and scatter of F1 over all of them.

    Returns
    -------
    pandas.DataFrame
        ``tag``, ``algorithm``, ``model``, the statistics, ``rows``, ``members``, ``trainings``, ``f1_mean`` and
        ``f1_std`` (of the trainings of the class, such as those with other random states; NaN of one).
    """
    rows = []
    for record in newest(found):
        own = [r.stats["f1_score"] for r in found if (r.tag, r.algorithm) == (record.tag, record.algorithm)]
        f1 = np.array([value for value in own if value is not None])
        stats = record.stats
        members = stats["true_positives"] + stats["false_negatives"]
        rows.append(
            {"tag": record.tag, "algorithm": record.algorithm, "model": record.name}
            | {name: np.nan if stats.get(name) is None else stats[name] for name in STATISTICS}
            | {"rows": members + stats["true_negatives"] + stats["false_positives"], "members": members}
            | {"trainings": len(own), "f1_mean": f1.mean() if len(f1) else np.nan}
            | {"f1_std": f1.std(ddof=1) if len(f1) > 1 else np.nan}
        )
    return pd.DataFrame(rows)


def importance_table(found: Iterable[Record]) -> pd.DataFrame:
    """Return the importance of features (rows, by their mean share) in the newest training of each class."""
    columns = {record.tag: pd.Series(record.importance, dtype="float64") for record in newest(found)}
    frame = pd.DataFrame(columns)
    share = (frame / frame.clip(lower=0).sum().replace(0, np.nan)).fillna(0.0).mean(axis=1)
    return frame.loc[share.sort_values(ascending=False, kind="stable").index].rename_axis("feature")


def page(group: str, part: str, found: Sequence[Record]) -> str:
    """Return an HTML page that compares the classes and algorithms of a group.

    Parameters
    ----------
    group, part : str
    found : sequence of Record
        Of one algorithm, or of several.
    """
    frame = statistics_table(found)
    algorithms = list(dict.fromkeys(frame["algorithm"]))
    figure = {
        f"mean F1 of {name}": f"{frame.loc[frame['algorithm'] == name, 'f1_score'].mean():.3f}" for name in algorithms
    }
    overview = headline({"classes": str(frame["tag"].nunique()), "trainings": str(len(found)), **figure})
    overview += paragraph(f"A score of 0.5 or more counts as a member. The numbers are of the {part} rows.")
    by = {name: dict(frame[frame["algorithm"] == name].set_index("tag")["f1_score"]) for name in algorithms}
    if figures.can_draw():
        drawn = figures.comparison(by, "F1", "F1 of each class")
        overview += image(drawn, "F1 of each class by algorithm")
    else:
        overview += paragraph("matplotlib is not installed: there are no figures.", "note")
    sections = {"overview": ("Overview", overview + _table(frame))}
    for tag in dict.fromkeys(frame["tag"]):
        own = [record for record in newest(found) if record.tag == tag]
        sections[re.sub(r"\W", "-", tag)] = (tag, "".join(_class(record, part) for record in own))
    foot = escape(f"group {group}, {part} rows")
    return document(f"Models of the group {group}", f"{part} rows of the training set", sections, foot)


def _table(frame: pd.DataFrame) -> str:
    shown = (
        "precision",
        "recall",
        "f1_score",
        "roc_auc",
        "average_precision",
        "calibration_error",
        "f1_mean",
        "f1_std",
    )
    columns = ("class", "algorithm", "rows", "members", *shown, "trainings")
    rows = [
        [
            r["tag"],
            r["algorithm"],
            int(r["rows"]),
            int(r["members"]),
            *(_number(r[n]) for n in shown),
            int(r["trainings"]),
        ]
        for r in frame.to_dict("records")
    ]
    return table(columns, rows)


def _number(value: float) -> Number:
    return Number("–" if pd.isna(value) else f"{value:.3f}")


def _class(record: Record, part: str) -> str:
    content = paragraph(f"{record.algorithm}, {record.name}")
    drawn = {f"{name} of {record.name}": record.figure(name, part) for name in _FIGURES}
    drawn |= {f"{name} of {record.name}": record.figure(name) for name in ("impvars", "history")}
    images = "".join(f"<div>{image(png, text)}</div>" for text, png in drawn.items() if png)
    style = "display:grid;grid-template-columns:repeat(auto-fit,minmax(420px,1fr));gap:12px"
    return content + (f'<div style="{style}">{images}</div>' if images else "")


def plain(frame: pd.DataFrame) -> list[Mapping[str, Any]]:
    """Return the rows of a table fit for JSON: None where a number is undefined."""
    rows = frame.astype(object).where(frame.notna(), None)
    return [dict(row) for row in rows.to_dict("records")]
