"""The pipeline: sources → lightcurves → features → scores, planned, run and resumed as one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dask.utils import format_bytes

from scope_dask import config
from scope_dask.conditioning.lightcurves import LIGHTCURVES_STAGE
from scope_dask.config import ArchiveOptions, PipelineOptions
from scope_dask.extraction.features import FEATURES_STAGE
from scope_dask.schema import LIGHTCURVES
from scope_dask.summary import RunSummary

BYTES_PER_POINT = 20  # hjd f8, mag f4, magerr f4, catflags i4


@dataclass(frozen=True)
class Plan:
    """What a run would do."""

    source: str
    partitions: int
    rows: int
    bytes_read: int
    stages: tuple[tuple[str, str, int], ...]
    out: str
    done: int

    def __str__(self) -> str:
        size = f"{self.rows:,} light curves, about {format_bytes(self.bytes_read)} in memory"
        lines = [f"sources      {self.source}: {size}, {self.partitions:,} partitions"]
        lines += [f"{name:<12} {options} → {columns} columns" for name, options, columns in self.stages]
        done = f" ({self.done:,} partitions are there already)" if self.done else ""
        return "\n".join([*lines, f"out          {self.out}{done}"])


class Pipeline:
    """A pipeline made from options; its tables are lazy until `run`.

    Parameters
    ----------
    options : PipelineOptions

    Examples
    --------
    >>> import scope_dask as sd
    >>> print(sd.Pipeline.from_config("smoke.yaml").plan())  # doctest: +SKIP
    """

    def __init__(self, options: PipelineOptions) -> None:
        self.options = options

    @classmethod
    def from_config(cls, source: str | os.PathLike[str] | Mapping[str, Any], **changes: Any) -> Pipeline:
        """Make a pipeline from a YAML file (or the mapping that it holds).

        Parameters
        ----------
        source : path or mapping
        **changes
            Fields of `PipelineOptions` that replace those of the file.

        Raises
        ------
        SourceError, OptionError
        """
        if isinstance(source, Mapping):
            options = config.from_mapping(PipelineOptions, source, "configuration")
        else:
            options = config.load(source)
        return cls(replace(options, **changes))

    def sources(self) -> Any:
        """Return the lazy table of light curves as the source has them."""
        if self.options.sources.simulate is not None:
            from scope_dask.simulate import simulate_sources

            return simulate_sources(self.options.sources.simulate)
        from scope_dask.sources.archive import read_archive

        archive = self.options.sources.archive
        assert archive is not None
        arguments = {name: getattr(archive, name) for name in ArchiveOptions.__dataclass_fields__ if name != "path"}
        path = archive.path if isinstance(archive.path, str) else list(archive.path)
        return read_archive(path, **arguments)

    def tables(self) -> dict[str, Any]:
        """Return the lazy tables that a run writes: ``features`` and, with models, ``scores``.

        Raises
        ------
        SourceError, SchemaError, ModelError
            Whatever can be found wrong before anything is computed.
        """
        curves = LIGHTCURVES_STAGE(self.sources(), self.options.lightcurves)
        features = FEATURES_STAGE(curves, self.options.features)
        tables = {"features": features}
        if self.options.scores is not None:
            from scope_dask.inference.models import load_models
            from scope_dask.inference.scores import scores

            tables["scores"] = scores(features, load_models(self.options.scores.models), self.options.features.fourier)
        return tables

    def plan(self) -> Plan:
        """Return what a run would read, compute and write; no data row is read."""
        from scope_dask.journal import Journal
        from scope_dask.writing import JOURNAL, is_done

        tables = self.tables()
        rows, nbytes, what = self._size()
        periods = self.options.features.periods
        stages = [
            ("lightcurves", _short(self.options.lightcurves), len(LIGHTCURVES)),
            (
                "features",
                f"{' '.join(periods.algorithms)}, up to {periods.max_freq:g}/d",
                len(tables["features"].columns),
            ),
        ]
        if self.options.scores is not None:
            stages.append(("scores", f"models of {self.options.scores.models}", len(tables["scores"].columns)))
        root = Path(self.options.out)
        done = sum(is_done(r, root) for r in Journal(root / JOURNAL).read().values())
        return Plan(what, tables["features"].npartitions, rows, nbytes, tuple(stages), self.options.out, done)

    def _size(self) -> tuple[int, int, str]:
        """Return (light curves, bytes in memory, description) of the source."""
        simulated = self.options.sources.simulate
        if simulated is not None:
            count = simulated.n_light_curves
            return count, count * simulated.n_points[1] * BYTES_PER_POINT, f"simulated field {simulated.field}"
        from scope_dask.sources.archive import slices_of

        slices = slices_of(self.sources())
        assert slices is not None
        assert self.options.sources.archive is not None
        return int(slices.rows.sum()), int(slices.nbytes.sum()), f"archive {self.options.sources.archive.path}"

    def run(self, client: Any = None, *, resume: bool = True, overwrite: bool = False) -> RunSummary:
        """Compute and write the tables, one partition at a time.

        An interrupted run goes on where it stopped. A partition that cannot be computed is set aside with the reason.

        Parameters
        ----------
        client : distributed.Client, optional
            Of a running cluster; by default a local one is started for the run.
        resume, overwrite : bool
            Go on with an earlier run of the same options in the same folder, or delete it first.

        Returns
        -------
        RunSummary

        Raises
        ------
        UsageError
            If the output folder is in use by something else.
        """
        from scope_dask.diagnostics import cluster_for, recorded
        from scope_dask.report import write_report
        from scope_dask.writing import WriteOptions, prepare, write_tables

        run = self.options.run
        description = config.to_mapping(replace(self.options, run=config.RunOptions()))
        how = WriteOptions(
            resume=resume,
            overwrite=overwrite,
            partitions_in_flight=run.partitions_in_flight,
            description=description,
            metadata={"fourier": self.options.features.fourier, "periods": description["features"]["periods"]},
        )
        tables, root = self.tables(), Path(self.options.out)
        prepare(root, tables, how)  # a folder that cannot be used is refused before a cluster starts
        how = replace(how, resume=True, overwrite=False)
        with cluster_for(client, run) as active:
            with recorded(root, run.performance_report):
                summary = write_tables(tables, root, active, how)
            write_report(root, summary, config.dump(self.options))
        return summary


def _short(options: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in config.to_mapping(options).items())
