"""Running a feature generation: partitions written and recorded beside the file, then joined to it."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from distributed import Client

from scope_dask._version import __version__
from scope_dask.config import RunOptions
from scope_dask.errors import RunError
from scope_dask.formats import join_files, part_files
from scope_dask.formats.atomic import locked
from scope_dask.formats.frames import metadata_of
from scope_dask.generation.gpu import require_gpu
from scope_dask.generation.joining import join_features
from scope_dask.generation.layout import FeatureFolder
from scope_dask.generation.meta import add_entry, write_kept_sources
from scope_dask.generation.options import GenerationOptions, Quadrant, SpecificIds
from scope_dask.generation.origins import Catalogs, Origin
from scope_dask.generation.table import feature_table
from scope_dask.journal import Record
from scope_dask.mapping import to_mapping
from scope_dask.summary import RunSummary
from scope_dask.writing import MANIFEST, WriteOptions, prepare, write_tables

TABLE = "features"
_GONE = ("KowalskiUnavailableError", "KowalskiTimeoutError", "KowalskiAuthError")
_MOST_GONE = 3


@dataclass(frozen=True)
class Job:
    """One file of features: of what, from where, and where to.

    Attributes
    ----------
    origin : Origin
    what : Quadrant or SpecificIds
    folder : FeatureFolder
    options : GenerationOptions
    catalogs : Catalogs
    names : mapping of str to str
        Names of the catalogues ``ZTF_source_catalog``, ``ZTF_alerts_catalog`` and ``Gaia_catalog``, for the metadata.
    """

    origin: Origin
    what: Quadrant | SpecificIds
    folder: FeatureFolder
    options: GenerationOptions = field(default_factory=GenerationOptions)
    catalogs: Catalogs = field(default_factory=Catalogs)
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder.file(self.what)

    def table(self) -> Any:
        """Return the lazy table; for errors see `feature_table`."""
        return feature_table(self.origin, self.what, self.options, self.catalogs)

    @property
    def description(self) -> dict[str, Any]:
        """What a resumed run is compared by, and the metadata say of the options."""
        options = to_mapping(self.options)
        del options["period_batch_size"]
        return {"source": self.origin.name, "sources": str(self.what), **options}


@dataclass(frozen=True)
class Generated:
    """What a run made.

    Attributes
    ----------
    path : Path or None
        The file; None where nothing was to be saved.
    rows : int
    summary : RunSummary or None
        None where the file was there already.
    """

    path: Path | None
    rows: int
    summary: RunSummary | None


def generate(
    job: Job,
    client: Client | None = None,
    run: RunOptions | None = None,
    *,
    save: bool = True,
    overwrite: bool = False,
) -> Generated:
    """Compute the features of a quadrant or of specific ids, and write them to one file.

    Partitions are written under ``.parts`` beside the file, and joined to it when all of them are done; a run that was
    interrupted goes on. A file that is there already, of the same sources and options, is not computed again.

    Parameters
    ----------
    job : Job
    client : distributed.Client, optional
        Of a running cluster; by default a local one is started for the run.
    run : RunOptions, optional
        How the local cluster computes.
    save : bool
        False: compute, and leave no file.
    overwrite : bool
        Compute again what is there, and delete an unfinished run of other options.

    Returns
    -------
    Generated

    Raises
    ------
    RunError
        If partitions could not be computed, or Kowalski does not answer any more; what is done is kept for the next
        run. If a GPU is asked for and there is none. If another process computes the same file now.
    UsageError
        If an unfinished run of other options is in the way, or the table cannot be set up.
    """
    table = job.table()
    with _alone(job.path):
        return _generate(job, table, client, run or RunOptions(), save, overwrite)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes, such as a job of the same quadrant, from writing the same partitions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    try:
        with locked(lock, wait=False):
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
    except BlockingIOError:
        raise RunError(f"{path} is being computed by another process: nothing is left to do here") from None


def _generate(job: Job, table: Any, client: Client | None, run: RunOptions, save: bool, overwrite: bool) -> Generated:
    if save and not overwrite and (rows := _same_file(job.path, table._name)) is not None:
        shutil.rmtree(job.folder.parts(job.what), ignore_errors=True)
        return Generated(job.path, rows, None)
    parts = job.folder.parts(job.what)
    how = WriteOptions(resume=True, overwrite=overwrite, description=job.description, watch=_Watch())
    prepare(parts, {TABLE: table}, how)  # a run that is in the way is named before a cluster starts
    from scope_dask.diagnostics import cluster_for

    if client is None and job.options.features.device == "gpu":
        require_gpu(None)
    with cluster_for(client, run, job.options.features.periods) as active:
        if client is not None and job.options.features.device == "gpu":
            require_gpu(client)
        summary = write_tables({TABLE: table}, parts, active, replace(how, overwrite=False))
    if summary.failed:
        raise RunError(_incomplete(summary))
    rows = summary.rows.get(TABLE, 0)
    if save:
        rows = _finish(job, parts, table._name, summary)
    shutil.rmtree(parts)
    return Generated(job.path if save else None, rows, summary)


class _Watch:
    """Ends a run when one partition after the other fails because Kowalski does not answer."""

    def __init__(self) -> None:
        self.gone = 0

    def __call__(self, record: Record) -> None:
        reason = "" if record["ok"] else str(record["reason"])
        self.gone = self.gone + 1 if reason.startswith(_GONE) else 0
        if self.gone >= _MOST_GONE:
            raise RunError(f"the run ends after {self.gone} partitions in a row: {reason.partition(': ')[2]}")


def _incomplete(summary: RunSummary) -> str:
    """Say what is missing."""
    partition, reason = min(summary.failed.items())
    count = len(summary.failed)
    return (
        f"{count} of {summary.partitions} partitions could not be computed, such as partition {partition} ({reason}); "
        "there is no file yet, the other partitions are kept: the same command tries again what is missing"
    )


def _same_file(path: Path, fingerprint: str) -> int | None:
    """Return the rows of a file that this table made, or None."""
    try:
        footer = pq.read_metadata(path)
    except (OSError, pa.ArrowException):
        return None
    stated = metadata_of(footer.schema.to_arrow_schema())
    return int(footer.num_rows) if stated.get("fingerprint") == fingerprint else None


def _finish(job: Job, parts: Path, fingerprint: str, summary: RunSummary) -> int:
    """Join the partitions, write what was set aside and the entry of the quadrant; return the rows."""
    start = json.loads((parts / MANIFEST).read_text())["started"]
    times = {"start": start, "end": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    metadata = _metadata(job, times) | {"fingerprint": fingerprint}
    aside, target = part_files(parts / "set_aside"), job.folder.set_aside(job.what)
    if aside:
        join_files(aside, target, {"scope_code_version": __version__})
    else:
        target.unlink(missing_ok=True)
    add_entry(job.folder.meta, job.what, _entry(job, times, summary))
    rows = join_features(part_files(parts / TABLE), job.path, metadata)
    if isinstance(job.what, SpecificIds) and job.options.bright_stars is not None and job.catalogs.gaia is not None:
        write_kept_sources(job.path)
    return rows


def _metadata(job: Job, times: Mapping[str, str]) -> dict[str, Any]:
    """Return the metadata of the file."""
    options = job.options
    kernels = {name: name for name in options.written}
    if options.find_periods and options.periods.nested:
        kernels["ELS_ECE_EAOV"] = options.periods.nested
    return {
        "scope_code_version": __version__,
        "feature_generation_start_dateTime_utc": times["start"],
        "feature_generation_end_dateTime_utc": times["end"],
        **job.names,
        "fourier": options.features.fourier,
        "periods": to_mapping(options.periods),
        "period_kernels": kernels,
        "options": job.description,
    }


def _entry(job: Job, times: Mapping[str, str], summary: RunSummary) -> dict[str, Any]:
    """Return what ``meta.json`` says of the file."""
    return {
        "minobs": job.options.lightcurves.min_n_lc_points,
        "start_time_utc": times["start"],
        "end_time_utc": times["end"],
        **job.names,
        "total": summary.rows.get(TABLE, 0),
        "dropped": {name: stage.dropped for name, stage in summary.stages.items() if stage.dropped},
        "set_aside": {name: stage.set_aside for name, stage in summary.stages.items() if stage.set_aside},
    }
