"""Uploading a table of scores to Fritz: checked as a whole, then sent, each thing once."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scope_dask.commands._posting import Posting, send, with_points
from scope_dask.commands._resuming import THREADS, Resumed, counting, journal_of
from scope_dask.commands._threads import side_by_side
from scope_dask.errors import OptionError, SchemaError, nearest
from scope_dask.fritz import FritzInputError
from scope_dask.fritz.checks import check_rows, check_sources
from scope_dask.fritz.groups import check_groups
from scope_dask.fritz.mappers import Entry, Mapper, uploaded
from scope_dask.fritz.matching import RADIUS_ARCSEC, Target, target_of
from scope_dask.fritz.photometry import instrument_id
from scope_dask.fritz.taxonomies import taxonomies
from scope_dask.fritz.upload import UploadOptions, upload_classifications
from scope_dask.sources.lists import position_name

if TYPE_CHECKING:
    from scope_dask.commands._parser import Call
    from scope_dask.fritz import Fritz
    from scope_dask.sources.kowalski import Kowalski

READ = "read"
COPY_SECONDS = 10.0


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

    def names(self) -> list[str]:
        """Return the id of each source, or the name of its position."""
        frame = self.table.iloc[self.rows.start : self.rows.stop]
        if self.existing_ids:
            return [str(name) for name in frame["obj_id"]]
        places = zip(frame["ra"].to_numpy(np.float64), frame["dec"].to_numpy(np.float64), strict=True)
        return [position_name(ra, dec) if np.isfinite([ra, dec]).all() else "no position" for ra, dec in places]

    def classes(self) -> pd.DataFrame:
        """Return what is to be posted: ``row``, ``classification``, ``taxonomy_id``, ``probability``."""
        found = []
        for column, entry in self.pairs.items():
            values = _numbers(self.table[column])[self.rows.start : self.rows.stop]
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
        values = _numbers(table[column])
        if len(last) < len(names) or not ((values >= 0) & (values <= 1)).all():
            missing = next(name for name in names if name not in table.columns)
            raise SchemaError(
                f"--classification names {missing!r}, which is no column of the file, and its last {len(names)} "
                f"columns ({', '.join(last)}) do not all hold numbers from 0 to 1: name the columns by mapper keys"
            )
    return {column: there[name] for column, name in zip(last, names, strict=True)}


def check(fritz: Fritz, upload: Upload) -> int | None:
    """Check everything before the first write; return the number of the instrument, where photometry is sent.

    Raises
    ------
    FritzInputError
        With all that is wrong.
    FritzError
    """
    problems: dict[str, Any] = {}

    def note(look: Callable[[], Any]) -> Any:
        try:
            return look()
        except FritzInputError as error:
            for what, where in error.problems.items():
                problems[what] = (*problems.get(what, ()), *where)

    sent, names = upload.sent(), dict(zip(upload.rows, upload.names(), strict=True))
    problems |= local_problems(upload)
    places = upload.table.iloc[sent][["ra", "dec"]].assign(obj_id=[names[row] for row in sent])
    note(lambda: check_sources(places.astype({"obj_id": object})))
    rows = upload.classes()
    rows["obj_id"] = [names[row] if names[row] != "no position" else "_" for row in rows["row"]]
    note(lambda: check_rows(rows.drop_duplicates(["obj_id", "classification", "taxonomy_id"]), taxonomies(fritz)))
    note(lambda: check_groups(fritz, upload.posting.group_ids))
    instrument = note(lambda: instrument_id(fritz, upload.posting.instrument))
    if problems:
        raise FritzInputError({what: list(dict.fromkeys(where)) for what, where in problems.items()})
    return None if instrument is None else int(instrument)


def local_problems(upload: Upload) -> dict[str, Any]:
    """Return what is wrong with the probabilities, those below the threshold too."""
    wrong: list[str] = []
    names = dict(zip(upload.rows, upload.names(), strict=True))
    for column in upload.pairs:
        values = _numbers(upload.table[column])
        wrong += [f"{names[row]} {column} {values[row]:g}" for row in upload.rows if not 0.0 <= values[row] <= 1.0]
    same = [e for e in upload.pairs.values() if list(upload.pairs.values()).count(e) > 1]
    problems: dict[str, Any] = {"probabilities outside 0 to 1": wrong} if wrong else {}
    if same:
        problems["classes that several columns have"] = [e.fritz_label for e in dict.fromkeys(same)]
    return problems


def _numbers(column: pd.Series) -> np.ndarray:
    """Return a column as numbers; what is none is NaN."""
    return np.asarray(pd.to_numeric(column, errors="coerce"), dtype=np.float64)


def resolve(call: Call, fritz: Fritz, upload: Upload, resumed: Resumed) -> list[Target]:
    """Return the source of each row that is not sent yet.

    Raises
    ------
    FritzInputError
        If several rows are the same source.
    FritzError
    """
    sent, records = upload.sent(), upload.table.to_dict("records")
    origin = upload.survey_origin if upload.match_ids else None

    def ask(row: int) -> Target:
        if (begun := resumed.done.get(f"{row} new")) is not None:
            return Target(row, begun, float(records[row]["ra"]), float(records[row]["dec"]), True)
        groups = upload.posting.group_ids
        return target_of(fritz, row, records[row], groups, existing_ids=upload.existing_ids, survey_origin=origin)

    todo = [row for row in sent if str(row) not in resumed.done]
    call.say(f"looking for {len(todo)} sources on Fritz")
    with counting(call, "source", len(todo)) as add:
        found = []
        for target in side_by_side(ask, todo, THREADS):
            found.append(target)
            add(1)
    names = [target.obj_id for target in found] + [str(resumed.done[str(row)]) for row in sent if row not in todo]
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise FritzInputError({"sources that several rows of the file are": twice})
    if not (upload.existing_ids or upload.match_ids) and (near := close(found)):
        raise FritzInputError({"rows of the file that are within 2 arcsec of each other": near})
    return found


def close(targets: list[Target]) -> list[str]:
    """Return the pairs of sources within 2 arcsec of each other: the first to be made would be the second as well."""
    from scipy.spatial import cKDTree

    from scope_dask.crossmatch.sphere import chord, unit_vectors

    if not targets:
        return []
    vectors = unit_vectors([target.ra for target in targets], [target.dec for target in targets])
    pairs = cKDTree(vectors).query_pairs(chord(RADIUS_ARCSEC), output_type="ndarray")
    return [f"{targets[i].row} and {targets[j].row}" for i, j in sorted(pairs.tolist())]


def run_upload(call: Call, fritz: Fritz, kowalski: Callable[[], Kowalski], upload: Upload) -> pd.DataFrame:
    """Upload a table.

    Parameters
    ----------
    call : Call
    fritz : Fritz
    kowalski : callable
        Makes the access to Kowalski, where light curves are needed.
    upload : Upload

    Returns
    -------
    pandas.DataFrame
        The classifications with what became of them, as `upload_classifications` gives it; also in the result file.

    Raises
    ------
    FritzInputError
        Before the first write, with all that is wrong.
    FritzError
        If the service fails for good: the same call goes on from there.
    """
    from scope_dask.formats import write_table

    instrument = check(fritz, upload)
    with Resumed(journal_of(upload.result), upload.request) as resumed:
        targets = resolve(call, fritz, upload, resumed)
        new = sum(target.new for target in targets)
        call.say(f"{new} of {len(targets)} sources are new to Fritz or to a group")
        access = kowalski() if any(upload.posting.needs_curves(target) for target in targets) else None
        with _copied(upload, resumed), counting(call, "source", len(targets)) as add:
            _send_all(fritz, access, upload, targets, instrument, resumed, add)
        journal = journal_of(upload.result, ".classifications")
        result = _classify(call, fritz, upload, resumed, journal)
        write_table(result, upload.result)
        resumed.finish()
        journal.unlink(missing_ok=True)
    return result


def _send_all(
    fritz: Fritz,
    kowalski: Kowalski | None,
    upload: Upload,
    targets: list[Target],
    instrument: int | None,
    resumed: Resumed,
    add: Callable[[int], None],
) -> None:
    """Send the sources with what belongs to them, and record each."""
    written = time.monotonic()
    for target, points in with_points(kowalski, targets, upload.posting):
        values = upload.table.iloc[target.row].to_dict()
        if target.new and f"{target.row} new" not in resumed.done:
            resumed.add(f"{target.row} new", target.obj_id)
        send(fritz, target, values, points, upload.posting, instrument)
        resumed.add(str(target.row), target.obj_id)
        if time.monotonic() - written > COPY_SECONDS:
            written = time.monotonic()
            _write_copy(upload, resumed)
        add(1)


def _classify(call: Call, fritz: Fritz, upload: Upload, resumed: Resumed, journal: Path) -> pd.DataFrame:
    rows = upload.classes()
    rows.insert(0, "obj_id", [str(resumed.done[str(row)]) for row in rows.pop("row")])
    sources = rows["obj_id"].nunique()
    with counting(call, "classified source", sources) as add:
        before = 0

        def progress(done: int, total: int) -> None:
            nonlocal before
            add(done - before)
            before = done

        return upload_classifications(fritz, rows, upload.classifying, journal=journal, progress=progress)


@contextlib.contextmanager
def _copied(upload: Upload, resumed: Resumed) -> Iterator[None]:
    """Leave the copy of the table with what is done, whatever happens."""
    try:
        yield
    finally:
        _write_copy(upload, resumed)


def _write_copy(upload: Upload, resumed: Resumed) -> None:
    """Write the table with the ids of its sources in ``obj_id``."""
    from scope_dask.formats import write_table

    if upload.copy is None:
        return
    frame = upload.table.copy()
    here = [resumed.done.get(str(row)) for row in range(len(frame))]
    before = frame.pop("obj_id").astype("string") if "obj_id" in frame else [None] * len(frame)
    ids = [found if found is not None else old for found, old in zip(here, before, strict=True)]
    # First: the last columns may be taken for probabilities when the file is uploaded again.
    frame.insert(0, "obj_id", pd.array(ids, dtype="string"))
    write_table(frame, upload.copy)
