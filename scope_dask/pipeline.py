"""The pipeline: sources → lightcurves → features → scores, planned, run and resumed as one."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from dask.utils import format_bytes

from scope_dask import config
from scope_dask.conditioning.lightcurves import LIGHTCURVES_STAGE
from scope_dask.config import PipelineOptions
from scope_dask.errors import OptionError
from scope_dask.extraction.features import FEATURES_STAGE
from scope_dask.mapping import from_mapping, to_mapping
from scope_dask.schema import LIGHTCURVES
from scope_dask.sources.slices import Slices, pieces_of
from scope_dask.summary import RunSummary

BYTES_PER_POINT = 20  # hjd f8, mag f4, magerr f4, catflags i4


_READERS = {
    "archive": ("scope_dask.sources.archive", "read_archive"),
    "kowalski": ("scope_dask.sources.kowalski.reader", "read_kowalski"),
    "hats": ("scope_dask.sources.hats", "read_hats"),
    "rubin": ("scope_dask.sources.rubin.reader", "read_rubin"),
}


@dataclass(frozen=True)
class SourceSize:
    """How much a source holds: `rows` of a `unit`, and bytes in memory where that is known beforehand."""

    what: str
    rows: int
    unit: str
    nbytes: int | None

    def __str__(self) -> str:
        memory = "" if self.nbytes is None else f", about {format_bytes(self.nbytes)} in memory"
        return f"{self.what}: {self.rows:,} {self.unit}{memory}"


@dataclass(frozen=True)
class Plan:
    """What a run would do."""

    source: SourceSize
    partitions: int
    stages: tuple[tuple[str, str, int], ...]
    out: str
    done: int

    def __str__(self) -> str:
        lines = [f"sources      {self.source}, {self.partitions:,} partitions"]
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
            options = from_mapping(PipelineOptions, source, "configuration")
        else:
            options = config.load(source)
        return cls(replace(options, **changes))

    def sources(self) -> Any:
        """Return the lazy table of light curves as the source has them."""
        name, options = self.options.sources.chosen
        if name == "simulate":
            from scope_dask.simulate import simulate_sources

            return simulate_sources(options)
        module, reader = _READERS[name]
        return getattr(importlib.import_module(module), reader)(**_arguments(options))

    def tables(self) -> dict[str, Any]:
        """Return the lazy tables that a run writes: ``features`` and, with models, ``scores``.

        Raises
        ------
        SourceError, SchemaError, ModelError
            Whatever can be found wrong before anything is computed.
        """
        return self._tables(self.sources())

    def _tables(self, raw: Any) -> dict[str, Any]:
        curves = LIGHTCURVES_STAGE(raw, self.options.lightcurves)
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

        raw = self.sources()
        tables = self._tables(raw)
        size = self._size(raw)
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
        done = sum(is_done(r, root) for r in Journal(root / JOURNAL).latest())
        return Plan(size, tables["features"].npartitions, tuple(stages), self.options.out, done)

    def _size(self, raw: Any) -> SourceSize:
        name, options = self.options.sources.chosen
        if name == "simulate":
            count = options.n_light_curves
            nbytes = count * options.n_points[1] * BYTES_PER_POINT
            return SourceSize(f"simulated field {options.field}", count, "light curves", nbytes)
        if name == "kowalski":
            from scope_dask.sources.kowalski.reader import Pieces

            pieces = pieces_of(raw, Pieces)
            return SourceSize("Kowalski", 0 if pieces is None else int(pieces.rows.sum()), "light curves", None)
        if name == "rubin":
            from scope_dask.sources.rubin.ranges import Ranges

            ranges = pieces_of(raw, Ranges)
            assert ranges is not None
            where = options.path or options.forced_sources
            nbytes = int(ranges.nbytes.sum())
            return SourceSize(f"Rubin's tables {where}", int(ranges.rows.sum()), "forced measurements", nbytes)
        slices = pieces_of(raw, Slices)
        assert slices is not None
        what = {"archive": "archive", "hats": "HATS catalogue"}[name]
        return SourceSize(f"{what} {options.path}", int(slices.rows.sum()), "light curves", int(slices.nbytes.sum()))

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
        description = to_mapping(replace(self.options, run=config.RunOptions()))
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
        with cluster_for(client, run, self.options.features.periods) as active:
            with recorded(root, run.performance_report):
                summary = write_tables(tables, root, active, how)
            write_report(root, summary, config.dump(self.options))
        return summary


def _arguments(options: Any) -> dict[str, Any]:
    """Return the arguments of a reader: the fields of its options, and what their list of sources selects."""
    arguments = {f.name: getattr(options, f.name) for f in fields(options)}
    radius = arguments.pop("radius_arcsec", None)
    path = arguments.pop("source_list")
    if path is not None:
        arguments |= _selected(path, radius)
    return arguments


def _selected(path: str, radius_arcsec: float | None) -> dict[str, Any]:
    from scope_dask.sources.lists import read_list

    sources = read_list(path)
    if radius_arcsec is None and sources.ids is None:
        raise OptionError(f"{path} has no ids, by which light curves are asked for here: look the positions up first")
    return sources.selection(radius_arcsec or 0.0)


def _short(options: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in to_mapping(options).items())
