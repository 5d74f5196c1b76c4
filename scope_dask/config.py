"""Options from YAML: the fields of the stages' dataclasses, checked once, at the edge."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import yaml

from scope_dask.conditioning.lightcurves import LightCurveOptions
from scope_dask.errors import OptionError
from scope_dask.extraction.features import FeatureOptions
from scope_dask.mapping import from_mapping, packaged_configs, read_yaml, to_mapping
from scope_dask.simulate import SimulationOptions
from scope_dask.sources.kowalski.options import PARTITION_ROWS, PROGRAM_IDS
from scope_dask.sources.layouts import HJD_OF_HMJD_ZERO
from scope_dask.sources.lists import RADIUS_ARCSEC
from scope_dask.sources.rubin.photometry import BANDS, LOW, MIN_SNR, Low
from scope_dask.sources.rubin.photometry import PARTITION_BYTES as RUBIN_PARTITION_BYTES
from scope_dask.sources.slices import PARTITION_BYTES

Numbers = tuple[int, ...] | int | None
Paths = str | tuple[str, ...]
Cone = tuple[float, float, float] | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """Which light curves: those of ids, of a cone (ra, dec in deg, radius in arcsec), or of a file that lists them."""

    ids: tuple[int, ...] | None = None
    cone: Cone = None
    source_list: str | None = None

    def __post_init__(self) -> None:
        if self.ids is not None and self.source_list is not None:
            raise OptionError("ids and source_list are both given: name the light curves in one place")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _ChosenQuadrants(_Chosen):
    """Of some fields, CCDs and quadrants as well."""

    field: Numbers = None
    ccd: Numbers = None
    quad: Numbers = None


@dataclasses.dataclass(frozen=True, slots=True)
class ArchiveOptions(_ChosenQuadrants):
    """Light curves from Parquet files (the arguments of `read_archive`).

    `source_list` is a file of ids or positions (`sources.lists.read_list`), `radius_arcsec` the radius around its
    positions.
    """

    path: Paths
    radius_arcsec: float = RADIUS_ARCSEC
    partition_bytes: str | int = PARTITION_BYTES


@dataclasses.dataclass(frozen=True, slots=True)
class HatsOptions(_ChosenQuadrants):
    """Light curves of a HATS catalogue or collection (the arguments of `read_hats`); lists as for `ArchiveOptions`."""

    path: str
    columns: dict[str, str | int | None] | None = None
    time_offset: float = HJD_OF_HMJD_ZERO
    radius_arcsec: float = RADIUS_ARCSEC
    partition_bytes: str | int = PARTITION_BYTES


@dataclasses.dataclass(frozen=True, slots=True)
class RubinOptions(_Chosen):
    """Rubin's forced photometry (the arguments of `read_rubin`); lists as for `ArchiveOptions`."""

    path: str | None = None
    objects: Paths | None = None
    forced_sources: Paths | None = None
    visits: Paths | None = None
    tract: Numbers = None
    bands: tuple[str, ...] = tuple(BANDS)
    radius_arcsec: float = RADIUS_ARCSEC
    min_snr: float = MIN_SNR
    low: Low = LOW
    flags: tuple[str, ...] | None = None
    partition_bytes: str | int = RUBIN_PARTITION_BYTES


@dataclasses.dataclass(frozen=True, slots=True)
class KowalskiSourceOptions(_ChosenQuadrants):
    """Light curves of Kowalski (the arguments of `read_kowalski`); `source_list` is a file with ids.

    Addresses and credentials come from the environment and the user's ``config.yaml``.
    """

    min_epochs: int = 0
    max_timestamp_hjd: float | None = None
    program_ids: tuple[int, ...] = PROGRAM_IDS
    limit: int | None = None
    catalog: str | None = None
    partition_rows: int = PARTITION_ROWS


@dataclasses.dataclass(frozen=True, slots=True)
class SourceOptions:
    """Where the light curves come from: exactly one of these."""

    archive: ArchiveOptions | None = None
    simulate: SimulationOptions | None = None
    kowalski: KowalskiSourceOptions | None = None
    hats: HatsOptions | None = None
    rubin: RubinOptions | None = None

    def __post_init__(self) -> None:
        names = [field.name for field in dataclasses.fields(self)]
        found = [name for name in names if getattr(self, name) is not None]
        if len(found) != 1:
            raise OptionError(
                f"sources needs exactly one of {', '.join(names)}, found {' and '.join(found) or 'none of them'}"
            )

    @property
    def chosen(self) -> tuple[str, Any]:
        """The name and the options of the one that is given."""
        return next((f.name, own) for f in dataclasses.fields(self) if (own := getattr(self, f.name)) is not None)


@dataclasses.dataclass(frozen=True, slots=True)
class ScoreOptions:
    """Which models score the features: a folder of `scope_dask.train`'s models."""

    models: str


@dataclasses.dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run computes.

    Attributes
    ----------
    n_workers : int or None
        Worker processes of the local cluster, one thread each; None: one per core.
    memory_limit : str
        Of each worker, such as ``2 GiB``; ``auto``: an equal share of the machine.
    partitions_in_flight : int
        Upper bound of the partitions submitted and not yet finished.
    dashboard_address : str
        Where the Dask dashboard listens.
    performance_report : bool
        Save Dask's performance report with the run.
    """

    n_workers: int | None = None
    memory_limit: str = "auto"
    partitions_in_flight: int = 1000
    dashboard_address: str = "127.0.0.1:8787"
    performance_report: bool = True

    def __post_init__(self) -> None:
        for name in ("n_workers", "partitions_in_flight"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise OptionError(f"{name} is {value}; it must be 1 or more")


@dataclasses.dataclass(frozen=True, slots=True)
class PipelineOptions:
    """A whole pipeline: sources → lightcurves → features → scores, and where its tables go."""

    out: str
    sources: SourceOptions
    lightcurves: LightCurveOptions = dataclasses.field(default_factory=LightCurveOptions)
    features: FeatureOptions = dataclasses.field(default_factory=FeatureOptions)
    scores: ScoreOptions | None = None
    run: RunOptions = dataclasses.field(default_factory=RunOptions)


def load(path: str | os.PathLike[str]) -> PipelineOptions:
    """Read the options of a pipeline from a YAML file; a bare name is also looked for among the packaged ones.

    Raises
    ------
    SourceError, OptionError
    """
    return from_mapping(PipelineOptions, read_yaml(find(path)), str(path))


def find(path: str | os.PathLike[str]) -> Path:
    """Return `path`, or the packaged configuration of that name where there is no such file."""
    path = Path(path)
    packaged = packaged_configs() / path.name
    return packaged if not path.exists() and path.parent in (Path(), Path("configs")) and packaged.exists() else path


def dump(options: PipelineOptions) -> str:
    """Return options as YAML."""
    return str(yaml.safe_dump(to_mapping(options), sort_keys=False, allow_unicode=True))
