"""What is to be sent, checked as a whole before the first write; all that is wrong is listed at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import numpy as np
import pandas as pd

from scope_dask.errors import SchemaError, nearest
from scope_dask.fritz.errors import FritzInputError
from scope_dask.fritz.sources import ID
from scope_dask.fritz.taxonomies import Taxonomy, classes_of, no_taxonomy

SOURCE_COLUMNS = ("obj_id", "ra", "dec")
ROW_COLUMNS = ("obj_id", "classification", "taxonomy_id", "probability")

T = TypeVar("T")

Problems = dict[str, list[str]]


class Findings:
    """What several checks find wrong, to be refused as a whole: what is wrong, and where."""

    def __init__(self, problems: Mapping[str, Iterable[str]] | None = None) -> None:
        self._problems: Problems = {}
        self.add(problems or {})

    def add(self, problems: Mapping[str, Iterable[str]]) -> None:
        """Add problems; the same one counts once."""
        for what, where in problems.items():
            self._problems[what] = list(dict.fromkeys([*self._problems.get(what, []), *where]))

    def look(self, check: Callable[[], T]) -> T | None:
        """Return what a check returns, or None where it finds problems."""
        try:
            return check()
        except FritzInputError as error:
            self.add(error.problems)
            return None

    def refuse(self) -> None:
        """Raise FritzInputError with all that was found, if anything was."""
        if found := {what: where for what, where in self._problems.items() if where}:
            raise FritzInputError(found)


def check_sources(frame: pd.DataFrame) -> None:
    """Check the sources to be saved: ids, each once, and positions.

    Parameters
    ----------
    frame : pandas.DataFrame
        ``obj_id``, ``ra`` and ``dec`` (deg).

    Raises
    ------
    SchemaError
        If a column is missing.
    FritzInputError
        With everything that is wrong.
    """
    _require(frame, SOURCE_COLUMNS)
    problems = id_problems(frame["obj_id"])
    names = frame["obj_id"].astype(str).to_numpy()
    ra, dec = numbers(frame["ra"]), numbers(frame["dec"])
    problems["right ascensions outside 0 to 360 deg"] = _at(names, ra, ~((ra >= 0) & (ra < 360)))
    problems["declinations outside −90 to 90 deg"] = _at(names, dec, ~((dec >= -90) & (dec <= 90)))
    problems["sources that are there twice"] = sorted(set(names[frame["obj_id"].duplicated().to_numpy()]))
    Findings(problems).refuse()


def check_rows(rows: pd.DataFrame, taxonomies: Mapping[int, Taxonomy]) -> None:
    """Check the classifications to be posted: ids, probabilities, and that the taxonomies have the classes.

    Parameters
    ----------
    rows : pandas.DataFrame
        ``obj_id``, ``classification``, ``taxonomy_id`` and ``probability``.
    taxonomies : mapping of int to dict
        Those of the service, by id.

    Raises
    ------
    SchemaError
        If a column is missing.
    FritzInputError
        With everything that is wrong.
    """
    _require(rows, ROW_COLUMNS)
    problems = id_problems(rows["obj_id"])
    named = [f"{obj_id} {label}" for obj_id, label in zip(rows["obj_id"], rows["classification"], strict=True)]
    names = np.array(named, dtype=object)
    probability = numbers(rows["probability"])
    outside = ~((probability >= 0) & (probability <= 1))
    problems["probabilities outside 0 to 1"] = _at(names, probability, outside)
    twice = rows.duplicated(["obj_id", "classification", "taxonomy_id"]).to_numpy()
    problems["classifications that are there twice"] = sorted(set(names[twice]))
    pairs = rows[["classification", "taxonomy_id"]].drop_duplicates()
    problems |= class_problems([(str(c), int(t)) for c, t in pairs.itertuples(index=False)], taxonomies)
    Findings(problems).refuse()


def class_problems(pairs: list[tuple[str, int]], taxonomies: Mapping[int, Taxonomy]) -> Problems:
    """Return which of the (class, taxonomy id) the service does not have, with its nearest class."""
    classes = {key: set(classes_of(taxonomy["hierarchy"])) for key, taxonomy in taxonomies.items()}
    absent = sorted({taxonomy for _, taxonomy in pairs if taxonomy not in classes})
    unknown = [
        f"{label!r} in {taxonomy}{nearest(label, classes[taxonomy])}"
        for label, taxonomy in pairs
        if taxonomy in classes and label not in classes[taxonomy]
    ]
    return {
        no_taxonomy(classes): list(map(str, absent)),
        "classes that their taxonomy does not have": unknown,
    }


def _require(frame: pd.DataFrame, columns: tuple[str, ...]) -> None:
    if missing := [name for name in columns if name not in frame.columns]:
        raise SchemaError(f"the table has no column {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}")


def id_problems(ids: Iterable[object]) -> Problems:
    """Return which ids Fritz could not classify or annotate."""
    wrong = dict.fromkeys(repr(i) for i in ids if not (isinstance(i, str) and ID.fullmatch(i)))
    return {"ids that are not made of letters, digits and _-.+": list(wrong)}


def numbers(column: pd.Series) -> np.ndarray:
    """Return a column as numbers; what is none is NaN."""
    return np.asarray(pd.to_numeric(column, errors="coerce"), dtype=np.float64)


def _at(names: np.ndarray, values: np.ndarray, wrong: np.ndarray) -> list[str]:
    return [f"{name} {value:g}" for name, value in zip(names[wrong], values[wrong], strict=True)]
