"""What is known about the light curves of a demonstration: classes, periods, stars."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from scope_dask.errors import SourceError
from scope_dask.schema import SOURCES, Column, Schema
from scope_dask.simulate import SimulationOptions, label_table, truth

TRUTH_FILE = "truth.parquet"
MIN_STARS = 15

# Tags of the models of the simulated classes, in SCoPe's manner.
SIMULATED_TAGS = {
    "rrab": "RR Lyrae ab",
    "rrc": "RR Lyrae c",
    "ea": "EA",
    "ew": "EW",
    "sin": "sinusoidal",
    "lpv": "LPV",
    "i": "irregular",
    "nonvar": "non-variable",
}

_NEEDED = Schema([SOURCES["_id"], Column("class_label", "str"), Column("period_days", "float64", "d")])


@dataclass(frozen=True)
class Labels:
    """Labels of a training set.

    Attributes
    ----------
    table : pandas.DataFrame
        ``_id`` and one 0/1 column per tag.
    stars : pandas.Series or None
        Star of each light curve, by ``_id``; None: every light curve is a star of its own.
    classes : dict of str to str
        Class label by tag.
    """

    table: pd.DataFrame
    stars: pd.Series | None
    classes: dict[str, str]


def simulated_truth(options: SimulationOptions) -> pd.DataFrame:
    """Return the truth about a simulated field."""
    table: pd.DataFrame = truth(options).compute(scheduler="threads")
    return table


def simulated_labels(table: pd.DataFrame) -> Labels:
    """Return the labels of a simulated field, one class each."""
    labels = label_table(table)
    columns = {tag: labels[name] for tag, name in SIMULATED_TAGS.items()}
    return Labels(pd.DataFrame({"_id": labels["_id"], **columns}), _stars(table), SIMULATED_TAGS)


def read_truth(archive: str | os.PathLike[str]) -> pd.DataFrame | None:
    """Read ``truth.parquet`` beside the light curves of `archive`; None where there is none.

    Raises
    ------
    SourceError
        If it cannot be read.
    SchemaError
        If it lacks ``_id``, ``class_label`` or ``period_days``.
    """
    folder = Path(archive)
    path = (folder if folder.is_dir() else folder.parent) / TRUTH_FILE
    if not path.is_file():
        return None
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    _NEEDED.require(table, str(path))
    wanted = [*_NEEDED.names, *(c for c in ("star_id", "survey") if c in table.columns)]
    return table[wanted].drop_duplicates("_id", ignore_index=True)


def archive_labels(table: pd.DataFrame, ids: pd.Series, min_stars: int = MIN_STARS) -> Labels | None:
    """Return the labels of the classes with enough stars among the light curves `ids`; None with fewer than two.

    Light curves of other classes are left out: whether they belong to one of these is not always known (RRL, E …).
    """
    known = table[table["_id"].isin(ids) & table["class_label"].notna()].reset_index(drop=True)
    star = known["star_id"].where(known["star_id"].notna(), known["_id"]) if "star_id" in known else known["_id"]
    stars = star.groupby(known["class_label"]).nunique()
    names = sorted(stars.index[stars >= min_stars])
    if len(names) < 2:
        return None
    known = known[known["class_label"].isin(names)]
    classes = dict(zip(_tags(names), names, strict=True))
    columns = {tag: (known["class_label"] == name).astype("float64") for tag, name in classes.items()}
    return Labels(pd.DataFrame({"_id": known["_id"], **columns}), _stars(known), classes)


def _tags(names: list[str]) -> list[str]:
    """Return a name fit for files and columns for each class, all different."""
    tags: list[str] = []
    for name in names:
        tag = re.sub(r"[^0-9a-z]+", "_", name.lower()).strip("_") or "class"
        while tag in tags:
            tag += "_"
        tags.append(tag)
    return tags


def _stars(table: pd.DataFrame) -> pd.Series | None:
    return table.set_index("_id")["star_id"] if "star_id" in table.columns else None
