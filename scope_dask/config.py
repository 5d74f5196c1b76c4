"""Options from YAML: the fields of the stages' dataclasses, checked once, at the edge."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from scope_dask.conditioning.lightcurves import LightCurveOptions
from scope_dask.errors import OptionError, SourceError, nearest
from scope_dask.extraction.features import FeatureOptions
from scope_dask.simulate import SimulationOptions
from scope_dask.sources.kowalski.options import PARTITION_ROWS, PROGRAM_IDS
from scope_dask.sources.layouts import HJD_OF_HMJD_ZERO
from scope_dask.sources.lists import RADIUS_ARCSEC
from scope_dask.sources.rubin.photometry import BANDS, LOW, MIN_SNR, Low
from scope_dask.sources.rubin.photometry import PARTITION_BYTES as RUBIN_PARTITION_BYTES
from scope_dask.sources.slices import PARTITION_BYTES

T = TypeVar("T")


Numbers = tuple[int, ...] | int | None
Paths = str | tuple[str, ...]
Cone = tuple[float, float, float] | None


def _one_list(ids: Any, source_list: str | None) -> None:
    if ids is not None and source_list is not None:
        raise OptionError("ids and source_list are both given: name the light curves in one place")


@dataclasses.dataclass(frozen=True, slots=True)
class ArchiveOptions:
    """Light curves from Parquet files (the arguments of `read_archive`).

    `source_list` is a file of ids or positions (`sources.lists.read_list`), `radius_arcsec` the radius around its
    positions.
    """

    path: Paths
    field: Numbers = None
    ccd: Numbers = None
    quad: Numbers = None
    ids: tuple[int, ...] | None = None
    cone: Cone = None
    source_list: str | None = None
    radius_arcsec: float = RADIUS_ARCSEC
    partition_bytes: str | int = PARTITION_BYTES

    def __post_init__(self) -> None:
        _one_list(self.ids, self.source_list)


@dataclasses.dataclass(frozen=True, slots=True)
class HatsOptions:
    """Light curves of a HATS catalogue or collection (the arguments of `read_hats`); lists as for `ArchiveOptions`."""

    path: str
    columns: dict[str, str | int | None] | None = None
    time_offset: float = HJD_OF_HMJD_ZERO
    field: Numbers = None
    ccd: Numbers = None
    quad: Numbers = None
    ids: tuple[int, ...] | None = None
    cone: Cone = None
    source_list: str | None = None
    radius_arcsec: float = RADIUS_ARCSEC
    partition_bytes: str | int = PARTITION_BYTES

    def __post_init__(self) -> None:
        _one_list(self.ids, self.source_list)


@dataclasses.dataclass(frozen=True, slots=True)
class RubinOptions:
    """Rubin's forced photometry (the arguments of `read_rubin`); lists as for `ArchiveOptions`."""

    path: str | None = None
    objects: Paths | None = None
    forced_sources: Paths | None = None
    visits: Paths | None = None
    tract: Numbers = None
    bands: tuple[str, ...] = tuple(BANDS)
    ids: tuple[int, ...] | None = None
    cone: Cone = None
    source_list: str | None = None
    radius_arcsec: float = RADIUS_ARCSEC
    min_snr: float = MIN_SNR
    low: Low = LOW
    flags: tuple[str, ...] | None = None
    partition_bytes: str | int = RUBIN_PARTITION_BYTES

    def __post_init__(self) -> None:
        _one_list(self.ids, self.source_list)


@dataclasses.dataclass(frozen=True, slots=True)
class KowalskiSourceOptions:
    """Light curves of Kowalski (the arguments of `read_kowalski`); `source_list` is a file with ids.

    Addresses and credentials come from the environment and the user's ``config.yaml``.
    """

    field: Numbers = None
    ccd: Numbers = None
    quad: Numbers = None
    ids: tuple[int, ...] | None = None
    cone: Cone = None
    source_list: str | None = None
    min_epochs: int = 0
    max_timestamp_hjd: float | None = None
    program_ids: tuple[int, ...] = PROGRAM_IDS
    limit: int | None = None
    catalog: str | None = None
    partition_rows: int = PARTITION_ROWS

    def __post_init__(self) -> None:
        _one_list(self.ids, self.source_list)


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


def from_mapping(options: type[T], content: Any, where: str) -> T:
    """Build an options dataclass from plain dicts and lists.

    Raises
    ------
    OptionError
        One sentence on the first thing that is wrong: an unknown key (with the nearest known one), a value of the wrong
        type or outside its range.
    """
    _check_keys(options, content, where)
    try:
        return TypeAdapter(options).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        if isinstance(cause := first.get("ctx", {}).get("error"), OptionError):
            raise OptionError(f"{where}: {cause}") from None
        # A union of types reports each branch with its type's name last: keep the keys only.
        key = ".".join(str(part) for part in first["loc"] if isinstance(part, int) or str(part).isidentifier())
        raise OptionError(f"{where}: {key or 'the document'} is {first['input']!r}; {first['msg']}") from None


def _check_keys(options: type, content: Any, where: str) -> None:
    if not isinstance(content, Mapping):
        raise OptionError(f"{where}: expected keys and values, found {content!r}")
    hints = get_type_hints(options)
    for key, value in content.items():
        if key not in hints:
            raise OptionError(f"{where}: there is no option {key!r}{nearest(key, hints)}; there are {', '.join(hints)}")
        inner = next((t for t in (hints[key], *get_args(hints[key])) if dataclasses.is_dataclass(t)), None)
        if inner is not None and value is not None:
            _check_keys(inner, value, f"{where}: {key}")  # type: ignore[arg-type]


def read_yaml(path: str | os.PathLike[str]) -> Any:
    """Read a YAML file.

    Raises
    ------
    SourceError
        If it is absent or not YAML.
    """
    try:
        return yaml.safe_load(Path(path).read_bytes())
    except OSError as error:
        raise SourceError(f"the configuration {path} cannot be read: {error.strerror or error}") from None
    except yaml.YAMLError as error:
        raise SourceError(f"the configuration {path} is not YAML: {' '.join(str(error).split())}") from None


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


def packaged_configs() -> Path:
    """Return the folder of the configurations that travel with the package."""
    installed = Path(__file__).parent / "configs"
    return installed if installed.is_dir() else Path(__file__).parents[1] / "configs"


def to_mapping(options: Any) -> Any:
    """Return options as plain dicts and lists, fit for YAML and JSON; the inverse of `from_mapping`."""
    if dataclasses.is_dataclass(options):
        return {f.name: to_mapping(getattr(options, f.name)) for f in dataclasses.fields(options)}
    if isinstance(options, Mapping):
        return {key: to_mapping(value) for key, value in options.items()}
    if isinstance(options, list | tuple):
        return [to_mapping(value) for value in options]
    return options


def dump(options: PipelineOptions) -> str:
    """Return options as YAML."""
    return str(yaml.safe_dump(to_mapping(options), sort_keys=False, allow_unicode=True))
