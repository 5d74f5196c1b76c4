"""What is uploaded to Fritz, and whether it can be: everything is checked before the first write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scope_dask.commands._posting import PERIOD, Posting
from scope_dask.errors import OptionError, SchemaError, nearest
from scope_dask.fritz.checks import Findings, Problems, check_rows, check_sources, numbers
from scope_dask.fritz.groups import check_groups
from scope_dask.fritz.mappers import Entry, Mapper, uploaded
from scope_dask.fritz.matching import RADIUS_ARCSEC, SURVEY_ID
from scope_dask.fritz.photometry import instrument_id
from scope_dask.fritz.taxonomies import taxonomies
from scope_dask.fritz.upload import UploadOptions
from scope_dask.sources.lists import position_name

if TYPE_CHECKING:
    from scope_dask.fritz import Fritz

READ = "read"
EXACT = 2.0**53  # integers up to here are exact in floating point


@dataclass(frozen=True)
class Upload:
    """What is uploaded.

    Attributes
    ----------
    table : pandas.DataFrame
        ``ra``, ``dec`` (deg), probabilities, and perhaps ``obj_id``, ``survey_id``, ``period``.
    rows : range
        Which of its rows.
    pairs : dict of str to Entry
        Column of probabilities to class; empty: no classifications.
    threshold : float
        Least probability that is posted; at 0 only those above it.
    posting : Posting
    classifying : UploadOptions
    existing_ids, match_ids : bool
        Sources are those of ``obj_id``, or those with the same ``survey_id``.
    survey_origin : str
        Of the annotations with survey ids.
    result : Path
        File of the classifications that were posted.
    copy : Path or None
        Copy of the table with the ids of the sources.
    """

    table: pd.DataFrame
    rows: range
    pairs: Mapping[str, Entry]
    threshold: float
    posting: Posting
    classifying: UploadOptions
    existing_ids: bool
    match_ids: bool
    survey_origin: str
    result: Path
    copy: Path | None = None

    def names(self) -> dict[int, str]:
        """Return the ids of the sources by row, or the names of their positions; ``row_<n>`` where there is neither."""
        frame = self.table.iloc[self.rows.start : self.rows.stop]
        if self.existing_ids:
            ids = frame["obj_id"].astype("string")
            return {row: f"row_{row}" if pd.isna(name) else str(name) for row, name in zip(self.rows, ids, strict=True)}
        ra, dec = numbers(frame["ra"]), numbers(frame["dec"])
        known = np.isfinite(ra) & np.isfinite(dec)
        return {row: position_name(ra[k], dec[k]) if known[k] else f"row_{row}" for k, row in enumerate(self.rows)}

    def classes(self) -> pd.DataFrame:
        """Return what is to be posted: ``row``, ``classification``, ``taxonomy_id``, ``probability``."""
        found = []
        for column, entry in self.pairs.items():
            values = numbers(self.table[column])[self.rows.start : self.rows.stop]
            for row in np.flatnonzero((values >= self.threshold) & (values > 0)):
                found.append((self.rows.start + int(row), entry.fritz_label, entry.taxonomy_id, float(values[row])))
        return pd.DataFrame(sorted(found), columns=["row", "classification", "taxonomy_id", "probability"])

    def sent(self) -> list[int]:
        """Return the rows that are sent: of classifications those that have any above the threshold."""
        return sorted(set(self.classes()["row"])) if self.pairs else list(self.rows)

    @property
    def request(self) -> list[Any]:
        """What tells this upload from others."""
        what = self.table.iloc[self.rows.start : self.rows.stop]
        known = [name for name in ("obj_id", "ra", "dec", "survey_id", "period", *self.pairs) if name in what]
        pairs = [[column, entry.fritz_label, entry.taxonomy_id] for column, entry in self.pairs.items()]
        how = [str(self.posting), str(self.classifying), self.existing_ids, self.match_ids, self.threshold]
        return [what[known].to_json(orient="values", double_precision=15), pairs, *how, self.rows.start]


def pairing(names: list[str] | None, mapper: Mapper, table: pd.DataFrame) -> dict[str, Entry]:
    """Return which columns hold the probabilities of which classes.

    Parameters
    ----------
    names : list of str or None
        Keys of the mapper; ``read``: all that the table has. Where one is no column, the names take the last columns
        of the table, in order.
    mapper : dict of str to Entry
    table : pandas.DataFrame

    Raises
    ------
    OptionError, SchemaError
        If a name is not in the mapper, or the columns do not hold probabilities.
    """
    if not names:
        return {}
    there = uploaded(mapper)
    if names == [READ]:
        found = {column: entry for column, entry in there.items() if column in table.columns}
        if not found:
            raise SchemaError(f"the file has none of the columns of the taxonomy mapper, such as {', '.join(mapper)}")
        return found
    for name in names:
        if name not in there:
            why = "is not uploaded: its fritz_label is None" if name in mapper else "is not in the taxonomy mapper"
            raise OptionError(f"--classification names {name!r}, which {why}{nearest(name, there)}")
    if all(name in table.columns for name in names):
        return {name: there[name] for name in names}
    last = [str(name) for name in table.columns[-len(names) :]]
    for column in last:
        values = numbers(table[column])
        if len(last) < len(names) or not ((values >= 0) & (values <= 1)).all():
            missing = next(name for name in names if name not in table.columns)
            raise SchemaError(
                f"--classification names {missing!r}, which is no column of the file, and its last {len(names)} "
                f"columns ({', '.join(last)}) do not all hold numbers from 0 to 1: name the columns by mapper keys"
            )
    return {column: there[name] for column, name in zip(last, names, strict=True)}


def local_findings(upload: Upload) -> Findings:
    """Return what is wrong with the table itself: positions, ids, probabilities (also below the threshold), periods."""
    sent, names = upload.sent(), upload.names()
    rows = upload.table.iloc[sent].assign(obj_id=np.array([names[row] for row in sent], dtype=object))
    found = Findings(_probability_problems(upload, names))
    if upload.existing_ids:
        missing = upload.table["obj_id"].isna().to_numpy()
        found.add({"rows without obj_id": [str(row) for row in sent if missing[row]]})
    found.look(lambda: check_sources(rows))
    found.add(_period_problems(rows))
    if upload.posting.survey_origin is not None or upload.match_ids:
        found.add(_survey_id_problems(rows))
    if not (upload.existing_ids or upload.match_ids):
        found.add({"rows of the file that are within 2 arcsec of each other": close_rows(rows, sent)})
    same = [e for e in upload.pairs.values() if list(upload.pairs.values()).count(e) > 1]
    found.add({"classes that several columns have": [entry.fritz_label for entry in same]})
    return found


def check(fritz: Fritz, upload: Upload) -> int | None:
    """Check everything before the first write; return the number of the instrument.

    Raises
    ------
    FritzInputError
        With all that is wrong.
    FritzError
    """
    rows = upload.classes()
    rows["obj_id"] = rows["row"].map(upload.names()).astype(object)
    rows = rows.drop_duplicates(["obj_id", "classification", "taxonomy_id"])  # sources that are there twice are found
    found = local_findings(upload)
    found.look(lambda: check_rows(rows, taxonomies(fritz)))
    found.look(lambda: check_groups(fritz, upload.posting.group_ids))
    instrument = found.look(lambda: instrument_id(fritz, upload.posting.instrument))
    found.refuse()
    return instrument


def _probability_problems(upload: Upload, names: Mapping[int, str]) -> Problems:
    wrong: list[str] = []
    for column in upload.pairs:
        values = numbers(upload.table[column])
        wrong += [f"{names[row]} {column} {values[row]:g}" for row in upload.rows if not 0.0 <= values[row] <= 1.0]
    return {"probabilities outside 0 to 1": wrong}


def _period_problems(rows: pd.DataFrame) -> Problems:
    if PERIOD not in rows:
        return {}
    values = numbers(rows[PERIOD])
    wrong = rows[PERIOD].notna().to_numpy() & ~((values > 0) & np.isfinite(values))
    return {"periods that are no numbers above 0": _named(rows, PERIOD, wrong)}


def _survey_id_problems(rows: pd.DataFrame) -> Problems:
    if not pd.api.types.is_float_dtype(rows[SURVEY_ID]):
        return {}
    wrong = np.abs(numbers(rows[SURVEY_ID])) > EXACT
    return {"survey ids in floating point, which has lost their last digits": _named(rows, SURVEY_ID, wrong)}


def _named(rows: pd.DataFrame, column: str, wrong: np.ndarray) -> list[str]:
    return [f"{name} {value}" for name, value in zip(rows["obj_id"][wrong], rows[column][wrong], strict=True)]


def close_rows(rows: pd.DataFrame, numbers_of: list[int]) -> list[str]:
    """Return the pairs of rows within 2 arcsec of each other: the source of the first would be that of the second."""
    from scipy.spatial import cKDTree

    from scope_dask.crossmatch.sphere import chord, unit_vectors

    ra, dec = numbers(rows["ra"]), numbers(rows["dec"])
    there = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    if not len(there):
        return []
    pairs = cKDTree(unit_vectors(ra[there], dec[there])).query_pairs(chord(RADIUS_ARCSEC), output_type="ndarray")
    return [f"{numbers_of[i]} and {numbers_of[j]}" for i, j in sorted(map(sorted, there[pairs].tolist()))]
