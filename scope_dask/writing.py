"""Writing lazy tables partition by partition: atomic files, done-records, resume, and what was set aside."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask
import dask.dataframe as dd
import pandas as pd
from distributed import Client

from scope_dask import tally
from scope_dask._version import __version__
from scope_dask.errors import DISK_FULL, UsageError
from scope_dask.formats.atomic import replacing
from scope_dask.formats.parquet import write_parquet
from scope_dask.journal import Journal, Record
from scope_dask.progress import Progress
from scope_dask.schema import SET_ASIDE
from scope_dask.summary import RunSummary
from scope_dask.watching.announce import announced
from scope_dask.watching.state import RunState, fields_of
from scope_dask.windows import outcomes, report

JOURNAL = "_records.jsonl"
MANIFEST = "run.json"
FILES_PER_FOLDER = 1000
MOST_CHANGES = 3  # named in a message


@dataclass(frozen=True)
class WriteOptions:
    """How lazy tables are written.

    Attributes
    ----------
    resume : bool
        Go on with an earlier, interrupted write of the same tables; partitions already written are not computed again.
    overwrite : bool
        Delete what the output folder holds first.
    partitions_in_flight : int
        Upper bound of the partitions submitted and not yet finished.
    description : mapping
        Kept in the manifest ``run.json`` and compared when resuming, to name what differs.
    metadata : mapping
        Goes into every file, as JSON under the schema metadata key ``scope``, beside ``scope_code_version``.
    watch : callable, optional
        Called with the record of each partition, once it is in the journal; what it raises ends the run, and what is
        done is kept.
    """

    resume: bool = False
    overwrite: bool = False
    partitions_in_flight: int = 1000
    description: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    watch: Callable[[Record], None] | None = None


def write(frame: Any, path: str | os.PathLike[str], *, resume: bool = False, overwrite: bool = False) -> RunSummary:
    """Compute a lazy table and write it as Parquet, one file a partition.

    Parameters
    ----------
    frame : dask.dataframe.DataFrame
    path : str or path
        Output folder.
    resume, overwrite : bool
        Go on with an earlier write of the same table, or delete it first; without either the folder must not be in use.

    Returns
    -------
    RunSummary
        Rows in, kept, dropped and set aside by stage. Partitions that cannot be computed are listed in
        ``<path>/_set_aside`` (Parquet) while the others are written.

    Raises
    ------
    UsageError
        If the folder is in use, or holds another table.
    """
    with ensured_client() as client:
        return write_tables({"": frame}, Path(path), client, WriteOptions(resume=resume, overwrite=overwrite))


@contextlib.contextmanager
def ensured_client() -> Iterator[Client]:
    """Yield the Dask client in use, or one of threads in this process for the time of the block."""
    try:
        yield Client.current()
    except ValueError:
        with Client(processes=False, dashboard_address="127.0.0.1:0") as client:
            yield client


def write_tables(tables: Mapping[str, Any], root: Path, client: Client, options: WriteOptions) -> RunSummary:
    """Compute tables of equal partitioning together and write each to its folder below `root` ("" is `root` itself)."""
    count = next(iter(tables.values())).npartitions
    prepare(root, tables, options)
    state = RunState(root, count, fields_of(next(iter(tables.values()))))
    done = set()
    for record in Journal(root / JOURNAL).latest():
        if is_done(record, root):
            done.add(record["partition"])
            state.reuse(record)
    todo = [p for p in range(count) if p not in done]
    topic = f"scope_dask-{uuid.uuid4().hex}"
    lazy = _writer(tables, root, topic, options.metadata)
    done_now = outcomes(lazy, todo, client, options.partitions_in_flight, topic)
    with (
        announced(state, client),
        Journal(root / JOURNAL) as journal,
        Progress(state) as progress,
        contextlib.closing(done_now),  # at once where the run ends early: what is still under way is then given up
    ):
        for partition, outcome in done_now:
            if isinstance(outcome, OSError) and outcome.errno in DISK_FULL:
                raise outcome  # so would all the others
            record = (
                outcome
                if isinstance(outcome, dict)
                else _failed(partition, outcome, root / set_aside_path(tables, partition))
            )
            journal.append(record)
            state.add(record)
            progress.update()
            if options.watch is not None:
                options.watch(record)
    _finish(manifest_path(root, tables), state.summary)
    return state.summary


def prepare(root: Path, tables: Mapping[str, Any], options: WriteOptions) -> None:
    """Make the output folder fit for these tables, or say why it is not."""
    manifest = {
        "fingerprint": {name or "table": frame._name for name, frame in tables.items()},
        "scope_dask": __version__,
        "description": dict(options.description),
    }
    if options.overwrite and root.exists():
        shutil.rmtree(root)
    if root.exists() and any(root.iterdir()):
        known = _read_manifest(manifest_path(root, tables))
        if known is None:
            raise UsageError(
                f"{root} is not empty and holds no run of scope_dask: choose another folder or overwrite it"
            )
        if not options.resume:
            raise UsageError(f"{root} already holds a run: resume it, overwrite it, or choose another folder")
        if known["fingerprint"] != manifest["fingerprint"]:
            raise UsageError(
                f"{root} holds a run of other tables ({_difference(known, manifest)}): "
                "overwrite it or choose another folder"
            )
        return
    root.mkdir(parents=True, exist_ok=True)
    _write_json(manifest_path(root, tables), {**manifest, "started": _now()})


def manifest_path(root: Path, tables: Iterable[str]) -> Path:
    """Return the path of a run's manifest; readers of a table at the root pass over names that begin with _."""
    return root / (f"_{MANIFEST}" if "" in tables else MANIFEST)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _difference(known: dict[str, Any], manifest: dict[str, Any]) -> str:
    """Name what differs between two runs, as ``key: before → now``."""
    before, now = _flat(known.get("description", {})), _flat(manifest["description"])
    changes = [f"{k}: {before.get(k)} → {now.get(k)}" for k in sorted({*before, *now}) if before.get(k) != now.get(k)]
    if known.get("scope_dask") != manifest["scope_dask"]:
        changes.append(f"scope_dask: {known.get('scope_dask')} → {manifest['scope_dask']}")
    more = [f"and {len(changes) - MOST_CHANGES} more"] if len(changes) > MOST_CHANGES else []
    return "; ".join([*changes[:MOST_CHANGES], *more]) or "the input files or the model changed"


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat


def _read_manifest(path: Path) -> dict[str, Any] | None:
    try:
        manifest = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and "fingerprint" in manifest else None


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, default=str))


def _finish(path: Path, summary: RunSummary) -> None:
    _write_json(path, {**(_read_manifest(path) or {}), "finished": _now(), "summary": summary.as_dict()})


def is_done(record: Record, root: Path) -> bool:
    """Tell whether a record stands for files that are there, whole."""
    if not record.get("ok"):
        return False
    try:
        return all((root / path).stat().st_size == size for path, size in record["files"])
    except OSError:
        return False


def part_path(table: str, partition: int) -> Path:
    """Return the path of a partition's file below the root: at most 1000 files in a folder."""
    return Path(table) / f"{partition // FILES_PER_FOLDER:04d}" / f"part-{partition:07d}.parquet"


def set_aside_path(tables: Iterable[str], partition: int) -> Path:
    """Return the path of a partition's set-aside rows (Parquet), out of the way of readers of a table at the root."""
    if "" in tables:
        return part_path("_set_aside", partition).with_suffix(".set_aside")
    return part_path("set_aside", partition)


class _Numbers(Sequence[int]):
    """The numbers 0 to n - 1, named by n alone: Dask names its arguments anew for every window of partitions."""

    def __init__(self, n: int) -> None:
        self._range = range(n)

    def __len__(self) -> int:
        return len(self._range)

    def __getitem__(self, i: Any) -> Any:
        return self._range[i]

    def __dask_tokenize__(self) -> str:
        return f"numbers to {len(self)}"


def _numbered(partition: int) -> pd.DataFrame:
    return pd.DataFrame({"partition": [partition]})


def _writer(tables: Mapping[str, Any], root: Path, topic: str, metadata: Mapping[str, Any]) -> Any:
    """Return the lazy collection whose tasks write the tables' partitions and report what they did."""
    count = next(iter(tables.values())).npartitions
    with dask.config.set({"dataframe.convert-string": False}):  # one step less in each task
        numbers = dd.from_map(_numbered, _Numbers(count), meta=_numbered(0).iloc[:0])
    return dd.map_partitions(
        write_partition,
        numbers,
        *tables.values(),
        names=tuple(tables),
        root=str(root.resolve()),
        topic=topic,
        metadata={"scope_code_version": __version__, **metadata},
        meta=(None, object),
        align_dataframes=False,
        enforce_metadata=False,
        token="write",
    )


def write_partition(
    number: pd.DataFrame,
    *partitions: pd.DataFrame,
    names: tuple[str, ...],
    root: str,
    topic: str,
    metadata: Mapping[str, Any],
) -> None:
    """Write one partition of every table, then report its record."""
    partition = int(number["partition"].iloc[0])
    folder = Path(root)
    files = []
    for name, frame in zip(names, partitions, strict=True):
        path = part_path(name, partition)
        files.append([str(path), write_parquet(frame, folder / path, metadata)])
    history = max((tally.history(frame) for frame in partitions), key=len)
    aside = [(i, h["stage"], reason, partition) for h in history for i, reason in h["set_aside"]]
    _write_set_aside(aside, folder / set_aside_path(names, partition))
    counted = [{**h, "set_aside": _count(reason for _, reason in h["set_aside"])} for h in history]
    rows = {name: len(frame) for name, frame in zip(names, partitions, strict=True)}
    record = {"partition": partition, "ok": True, "files": files, "rows": rows, "fields": _fields(partitions[0])}
    report(topic, partition, record | {"history": counted})


def _fields(frame: pd.DataFrame) -> dict[str, int]:
    """Return the rows of each field, where the table tells fields."""
    if "field" not in frame.columns or not pd.api.types.is_integer_dtype(frame["field"].dtype):
        return {}
    return {str(name): int(count) for name, count in frame["field"].value_counts().to_dict().items()}


def _count(reasons: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for reason in reasons:
        counts[reason] = counts.get(reason, 0) + 1
    return counts


def _write_set_aside(rows: list[tuple[Any, str, str, int]], path: Path) -> None:
    if not rows:
        path.unlink(missing_ok=True)
        return
    frame = pd.DataFrame(rows, columns=SET_ASIDE.names)
    write_parquet(frame.astype(SET_ASIDE.dtypes()), path, {"scope_code_version": __version__})


def _failed(partition: int, error: BaseException, path: Path) -> Record:
    """Set a whole partition aside with the reason."""
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    _write_set_aside([(pd.NA, "partition", reason, partition)], path)
    return {"partition": partition, "ok": False, "reason": reason, "files": [], "rows": {}, "history": []}
