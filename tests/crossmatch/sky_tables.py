"""Small catalogues and brute-force references for the tests of the cross-matches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.coordinates import SkyCoord


def sources(ra: Any, dec: Any, first_id: int = 1) -> pd.DataFrame:
    """Return a partition of sources."""
    ra = np.asarray(ra, dtype=np.float64)
    return pd.DataFrame({"_id": first_id + np.arange(len(ra)), "ra": ra, "dec": np.asarray(dec, dtype=np.float64)})


def save(path: Path, columns: Any, row_group_size: int = 100) -> Path:
    """Write a catalogue in row groups of neighbours in declination."""
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    pq.write_table(table.sort_by("dec"), path, row_group_size=row_group_size)
    return path


def separations(sources: pd.DataFrame, ra: Any, dec: Any) -> np.ndarray:
    """Return all separations in arcsec, shape (sources, catalogue), by astropy."""
    ours = SkyCoord(sources["ra"].to_numpy() * u.deg, sources["dec"].to_numpy() * u.deg)
    theirs = SkyCoord(np.asarray(ra) * u.deg, np.asarray(dec) * u.deg)
    return ours[:, None].separation(theirs[None, :]).arcsec


def patch(rng: np.random.Generator, ra: float, dec: float, size: int, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Return positions within `width` deg of a point, spread evenly on the sphere, also across a pole."""
    centre = SkyCoord(ra * u.deg, dec * u.deg)
    distance, angle = width * np.sqrt(rng.uniform(0, 1, size)), rng.uniform(0, 360, size)
    points = centre.directional_offset_by(angle * u.deg, distance * u.deg)
    return points.ra.deg, points.dec.deg
