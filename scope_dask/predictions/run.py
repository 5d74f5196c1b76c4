"""Writing predictions: partitions written and recorded beside the file, then joined to it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from dask.tokenize import tokenize
from distributed import Client

from scope_dask._version import __version__
from scope_dask.errors import RunError
from scope_dask.formats import join_files, part_files, parts_folder
from scope_dask.formats.atomic import replacing
from scope_dask.formats.frames import metadata_of
from scope_dask.inference.models import Models
from scope_dask.inference.scores import check_fourier
from scope_dask.predictions.layout import Target
from scope_dask.predictions.reading import FeatureFiles
from scope_dask.predictions.scoring import identification, read_columns, tables
from scope_dask.summary import RunSummary
from scope_dask.writing import MANIFEST, WriteOptions, ensured_client, write_tables

FLAGS = "flags"
BATCH_ROWS = 100_000


@dataclass(frozen=True)
class Job:
    """What is scored, with what, and where predictions go.

    Attributes
    ----------
    target : Target
    files : FeatureFiles
    models : Models
    root : Path
        The folder with ``preds_dnn`` and ``preds_xgb``.
    batch_rows : int
        Most rows that are scored at a time; no score depends on it.
    period : str
        Column with the period, taken over where the features have it.
    flags : bool
        Write which features each light curve lacked.
    csv : bool
        Write every file as CSV too.
    metadata : bool
        Write metadata, and ``meta.json``.
    """

    target: Target
    files: FeatureFiles
    models: Models
    root: Path = field(default_factory=Path)
    batch_rows: int = BATCH_ROWS
    period: str = "period"
    flags: bool = False
    csv: bool = False
    metadata: bool = True

    @property
    def outputs(self) -> dict[str, Path]:
        """The files of predictions by algorithm."""
        algorithms = dict.fromkeys(model.algorithm for model in self.models)
        return {algorithm: self.target.predictions(self.root, algorithm) for algorithm in algorithms}

    @property
    def parts(self) -> Path:
        """The folder of the partitions of a file in the making."""
        return parts_folder(next(iter(self.outputs.values())))

    @cached_property
    def tables(self) -> dict[str, Any]:
        """The lazy tables, by algorithm and ``flags``.

        Raises
        ------
        ModelError, SchemaError
            If the features are not those of the models.
        """
        check_fourier(self.models, self.files.stated("fourier", "raw"))
        taken = identification(self.files.columns, self.period)
        have = set(self.files.columns)
        columns = [name for name in read_columns(self.models, taken) if name in have]
        return tables(self.files.table(columns, self.batch_rows), self.models, taken, self.flags)

    @property
    def fingerprint(self) -> str:
        """Tells the predictions of other files, models or columns apart; not how they are computed."""
        return str(tokenize(__version__, self.files.files, self.models, self.period))

    def written(self, algorithm: str) -> list[Path]:
        """Return the files of an algorithm."""
        path = self.outputs[algorithm]
        flagged = [path.with_name(f"{path.stem}_flagged.json")] if self.flags else []
        return [path, *([path.with_suffix(".csv")] if self.csv else []), *flagged]

    def set_aside(self, algorithm: str) -> Path:
        """Return the file with the light curves that were not scored, out of the way of those who read scores."""
        path = self.outputs[algorithm]
        return path.parents[1] / "set_aside" / path.parent.name / path.name


@dataclass(frozen=True)
class Predicted:
    """What a run made.

    Attributes
    ----------
    paths : tuple of Path
        The files of predictions, one an algorithm.
    rows : int
    summary : RunSummary or None
        None where the files were there already.
    """

    paths: tuple[Path, ...]
    rows: int
    summary: RunSummary | None = None


def run(job: Job, client: Client | None = None, *, overwrite: bool = False) -> Predicted:
    """Score light curves with all models in one pass over their features, and write one file an algorithm.

    Partitions are written under ``.parts`` beside the file and joined to it when all of them are done; a run that was
    interrupted goes on. Files that are there already, of the same features and models, are not computed again.

    Parameters
    ----------
    job : Job
    client : distributed.Client, optional
        By default the one in use, or threads in this process.
    overwrite : bool
        Compute again what is there.

    Raises
    ------
    SchemaError, ModelError
        If features are not those of the models, or a light curve is there twice.
    RunError
        If partitions could not be computed; what is done is kept for the next run.
    """
    tables = job.tables
    if not overwrite and (rows := _there(job)) is not None:
        return Predicted(tuple(job.outputs.values()), rows)
    job.files.check_ids()
    if overwrite or _of_another_run(job.parts, {name: table._name for name, table in tables.items()}):
        shutil.rmtree(job.parts, ignore_errors=True)
    how = WriteOptions(resume=True, description={"target": str(job.target)})
    if client is None:
        with ensured_client() as own:
            summary = write_tables(tables, job.parts, own, how)
    else:
        summary = write_tables(tables, job.parts, client, how)
    if summary.failed:
        partition, reason = min(summary.failed.items())
        raise RunError(
            f"{len(summary.failed)} of {summary.partitions} partitions could not be scored, such as partition "
            f"{partition} ({reason}); there is no file yet, the same command tries again what is missing"
        )
    rows = _join(job)
    shutil.rmtree(job.parts)
    return Predicted(tuple(job.outputs.values()), rows, summary)


def _there(job: Job) -> int | None:
    """Return the rows of files that are these predictions, or None; without metadata they tell nothing."""
    rows = None
    if not job.metadata:
        return None
    for algorithm, path in job.outputs.items():
        if not all(file.is_file() for file in job.written(algorithm)):
            return None
        footer = pq.read_metadata(path)
        if metadata_of(footer.schema.to_arrow_schema()).get("inference_fingerprint") != job.fingerprint:
            return None
        rows = int(footer.num_rows)
    return rows


def _of_another_run(parts: Path, fingerprint: Mapping[str, str]) -> bool:
    """Tell whether unfinished partitions are of other features or models: they are worth nothing."""
    try:
        known = json.loads((parts / MANIFEST).read_text())
    except (OSError, ValueError):
        return parts.exists()
    return bool(known.get("fingerprint") != fingerprint or known.get("scope_dask") != __version__)


def _join(job: Job) -> int:
    """Join the partitions of every file; return the rows."""
    metadata = _metadata(job)
    rows = 0
    aside = part_files(job.parts / "set_aside")
    for algorithm, path in job.outputs.items():
        _, *others = job.written(algorithm)
        if job.flags:
            write_flags(part_files(job.parts / FLAGS), others.pop())
        if aside:
            join_files(aside, job.set_aside(algorithm), {"scope_code_version": __version__})
        else:
            job.set_aside(algorithm).unlink(missing_ok=True)
        own = part_files(job.parts / algorithm)
        for other in others:
            join_files(own, other, metadata)
        rows = join_files(own, path, metadata)  # the last: where it is, the others are
        if job.metadata:
            _write_meta(path.parent, algorithm, [m for m in job.models if m.algorithm == algorithm])
    return rows


def _metadata(job: Job) -> dict[str, Any]:
    if not job.metadata:
        return {}
    own = {
        "scope_code_version": __version__,
        "inference_scope_code_version": __version__,
        "inference_dateTime_utc": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
        "inference_models": {model.column: {"path": model.path, "sha256": model.sha256} for model in job.models},
        "inference_fingerprint": job.fingerprint,
    }
    return {**job.files.metadata, **own}


def _write_meta(folder: Path, algorithm: str, models: Sequence[Any]) -> None:
    """Write ``meta.json``: the models, and the light curves of the files in the folder."""
    totals = {path.stem: pq.read_metadata(path).num_rows for path in sorted(folder.glob("*.parquet"))}
    name = folder.name.removeprefix("field_")
    whole = totals.get(folder.name)
    content = {
        "field": int(name) if name.isdecimal() else name,
        f"{algorithm}_models": [model.path for model in models],
        "total": sum(totals.values()) if whole is None else whole,
        "files": totals,
    }
    with replacing(folder / "meta.json") as temporary:
        temporary.write_text(json.dumps(content, indent=1))


def write_flags(parts: Sequence[Path], path: Path) -> None:
    """Write which features every light curve lacks as JSON, ``{"<id>": [names]}``, an empty list where none."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        separator = "{"
        for line in _flag_lines(parts):
            file.write(f"{separator}\n{line}")
            separator = ","
        file.write("\n}\n" if separator == "," else "{}\n")


def _flag_lines(parts: Sequence[Path]) -> Iterator[str]:
    for part in parts:
        with pq.ParquetFile(part) as file:
            for batch in file.iter_batches(columns=["_id", "missing"]):
                table = pa.Table.from_batches([batch])
                rows = zip(table.column("_id").to_pylist(), table.column("missing").to_pylist(), strict=True)
                yield from (f'"{i}": {json.dumps(names or [])}' for i, names in rows)
