"""How light curves lie in Parquet: IRSA's bulk files and our own archive, told apart by their columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from scope_dask.errors import SourceError
from scope_dask.schema import CURVES, RAW_LIGHTCURVES, SOURCES

VERSION = 1
METADATA_KEY = b"scope"
ARCHIVE = "scope_dask archive"
HJD_OF_HMJD_ZERO = 2400000.5
LISTS = (*CURVES.names, "catflags")
SCALARS = tuple(SOURCES.names)


class TimePrecisionWarning(UserWarning):
    """Times were stored with a step that matters for periods."""


@dataclass(frozen=True)
class Layout:
    """A layout of light-curve files.

    Attributes
    ----------
    name : str
    columns : dict of str to str
        Column of the file that each column of ``RAW_LIGHTCURVES`` comes from.
    signature : frozenset of str
        Columns that tell the layout.
    time_offset : float
        Days to add to the stored times to have HJD.
    typical_time : float
        A time as it is stored in these files, for the step of float32.
    optional : frozenset of str
        Columns of the file that may be absent.
    derived : dict of str to callable
        How a column is computed from the stored one, where it is not the stored one itself.
    constants : dict of str to int
        Columns of ``RAW_LIGHTCURVES`` that the files do not have, with their one value.
    advice : str
        What to do about a file without the columns.
    """

    name: str
    columns: dict[str, str]
    signature: frozenset[str]
    time_offset: float
    typical_time: float
    optional: frozenset[str] = frozenset()
    derived: dict[str, Callable[[np.ndarray], np.ndarray]] = field(default_factory=dict)
    constants: dict[str, int] = field(default_factory=dict)
    advice: str = "fetch the file again or leave it out"

    def stored(self, names: list[str], present: Collection[str]) -> list[str]:
        """Return the columns to read for `names`, each once, of those `present` in the file."""
        wanted = dict.fromkeys(self.columns[n] for n in names if n in self.columns)
        return [c for c in wanted if c in present]


def ccd_of(rc: np.ndarray) -> np.ndarray:
    """Return the CCD (1 to 16) of a ZTF readout channel, rc = 4 (ccd - 1) + quad - 1."""
    return rc // 4 + 1


def quad_of(rc: np.ndarray) -> np.ndarray:
    """Return the quadrant (1 to 4) of a ZTF readout channel."""
    return rc % 4 + 1


IRSA = Layout(
    name="IRSA's bulk light curves",
    columns={
        "_id": "objectid",
        "ra": "objra",
        "dec": "objdec",
        "field": "fieldid",
        "ccd": "rcid",
        "quad": "rcid",
        "filter": "filterid",
        "hjd": "hmjd",
        "mag": "mag",
        "magerr": "magerr",
        "catflags": "catflags",
    },
    signature=frozenset({"objectid", "hmjd"}),
    time_offset=HJD_OF_HMJD_ZERO,
    typical_time=59000.0,
    derived={"ccd": ccd_of, "quad": quad_of},
)

OWN = Layout(
    name="the archive of write_archive",
    columns={n: n for n in RAW_LIGHTCURVES.names},
    signature=frozenset({"_id", "hjd"}),
    time_offset=0.0,
    typical_time=2459000.5,
    optional=frozenset({"catflags"}),
)


def layout_of(names: list[str]) -> Layout | None:
    """Return the layout of a file with these columns, or None."""
    return next((layout for layout in (IRSA, OWN) if layout.signature <= set(names)), None)


def check_columns(layout: Layout, types: Mapping[str, pa.DataType], path: str) -> None:
    """Check that a file with columns of these types has those of its layout, with types that can be cast.

    Raises
    ------
    SourceError
        Naming the file, what is missing or wrong, and what was expected.
    """
    needed = dict.fromkeys(layout.columns.values())
    missing = [c for c in needed if c not in types and c not in layout.optional]
    if missing:
        raise SourceError(
            f"{path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)} of {layout.name}; "
            f"it has {', '.join(types)}: {layout.advice}"
        )
    kinds = {stored: RAW_LIGHTCURVES[name].dtype for name, stored in layout.columns.items()}
    for stored, kind in kinds.items():
        if stored in types and not _castable(types[stored], kind):
            raise SourceError(f"{path} has {stored} as {types[stored]}, expected {_EXPECTED[kind]}")


def check_version(metadata: Mapping[bytes, bytes] | None, path: str) -> None:
    """Check that a file of our own archive is not of a later version than this program reads.

    Raises
    ------
    SourceError
    """
    stored = json.loads((metadata or {}).get(METADATA_KEY, b"{}"))
    if stored.get("layout") == ARCHIVE and stored.get("version", VERSION) > VERSION:
        raise SourceError(
            f"{path} is version {stored['version']} of the archive layout, this program reads up to "
            f"{VERSION}: install a newer scope_dask"
        )


_EXPECTED = {
    "int64": "an integer",
    "float64": "a floating-point number",
    "list<float64>": "a list of floating-point numbers",
    "list<float>": "a list of floating-point numbers",
    "list<int32>": "a list of integers",
}


def _castable(dtype: pa.DataType, kind: str) -> bool:
    if kind.startswith("list"):
        if not (pa.types.is_list(dtype) or pa.types.is_large_list(dtype)):
            return False
        dtype = dtype.value_type
    return bool(pa.types.is_integer(dtype) if "int" in kind else pa.types.is_floating(dtype))


def float_step(layout: Layout) -> str:
    """Say the step of times that a layout stores as float32."""
    days = float(np.spacing(np.float32(layout.typical_time)))
    return f"{days:.4g} d = {days * 1440:.3g} minutes"
