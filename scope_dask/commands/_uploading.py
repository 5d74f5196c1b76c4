"""Uploading a table of scores to Fritz: checked as a whole, then sent, each thing once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from scope_dask.commands._posting import send, with_points
from scope_dask.commands._resuming import THREADS, Resumed, counting, journal_of
from scope_dask.commands._threads import side_by_side
from scope_dask.commands._upload_table import Upload, check
from scope_dask.fritz import FritzInputError
from scope_dask.fritz.matching import Target, target_of
from scope_dask.fritz.saving import saving
from scope_dask.fritz.upload import upload_classifications

if TYPE_CHECKING:
    from scope_dask.commands._parser import Call
    from scope_dask.fritz import Fritz
    from scope_dask.sources.kowalski import Kowalski


def resolve(call: Call, fritz: Fritz, upload: Upload, resumed: Resumed) -> list[Target]:
    """Return the source of each row that is not sent yet.

    Raises
    ------
    FritzInputError
        If several rows are the same source.
    FritzError
    """
    records = upload.table.to_dict("records")
    origin = upload.survey_origin if upload.match_ids else None

    def ask(row: int) -> Target:
        if (begun := resumed.done.get(f"{row} new")) is not None:
            return Target(row, begun, float(records[row]["ra"]), float(records[row]["dec"]), True)
        groups = upload.posting.group_ids
        return target_of(fritz, row, records[row], groups, existing_ids=upload.existing_ids, survey_origin=origin)

    sent = upload.sent()
    todo = [row for row in sent if str(row) not in resumed.done]
    call.say(f"looking for {len(todo)} sources on Fritz")
    with counting(call, "source", len(todo)) as add:
        found = []
        for target in side_by_side(ask, todo, THREADS):
            found.append(target)
            add(1)
    names = [target.obj_id for target in found]
    names += [str(resumed.done[str(row)]) for row in sent if str(row) in resumed.done]
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise FritzInputError({"sources that several rows of the file are": twice})
    return found


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
    instrument = check(fritz, upload)
    with Resumed(journal_of(upload.result), upload.request) as resumed:
        targets = resolve(call, fritz, upload, resumed)
        new = sum(target.new for target in targets)
        call.say(f"{new} of {len(targets)} sources are new to Fritz or to a group")
        access = kowalski() if any(upload.posting.needs_curves(target) for target in targets) else None
        with saving(lambda: _write_copy(upload, resumed)) as step, counting(call, "source", len(targets)) as add:
            for _ in _send_all(fritz, access, upload, targets, instrument, resumed):
                step()
                add(1)
        journal = journal_of(upload.result, ".classifications")
        result = _classify(call, fritz, upload, resumed, journal)
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
) -> Iterator[Target]:
    """Send the sources with what belongs to them, record each, and yield it."""
    records = upload.table.to_dict("records")  # a row as a Series would make integers floating
    for target, points in with_points(kowalski, targets, upload.posting):
        if target.new and f"{target.row} new" not in resumed.done:
            resumed.add(f"{target.row} new", target.obj_id)
        send(fritz, target, records[target.row], points, upload.posting, instrument)
        resumed.add(str(target.row), target.obj_id)
        yield target


def _classify(call: Call, fritz: Fritz, upload: Upload, resumed: Resumed, journal: Path) -> pd.DataFrame:
    """Post the classifications; the result file is saved as they come."""
    from scope_dask.formats import write_table

    rows = upload.classes()
    rows.insert(0, "obj_id", [str(resumed.done[str(row)]) for row in rows.pop("row")])
    with counting(call, "classified source", rows["obj_id"].nunique()) as add:
        before = 0

        def progress(done: int, total: int) -> None:
            nonlocal before
            add(done - before)
            before = done

        return upload_classifications(
            fritz,
            rows,
            upload.classifying,
            journal=journal,
            progress=progress,
            save=lambda result: write_table(result, upload.result),
        )


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
