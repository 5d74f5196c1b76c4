"""Cutting the sky into tiles: HEALPix pixels where the package hats is there, else cells of zones of declination."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

HEALPIX_ORDER = 5  # pixels of 1.8°
ZONE_DEG = 1.8
_CELLS = 1000  # more than a zone has
MARGIN_ARCSEC = 10.0  # more than the light curves of a source are apart
INDEX = "_healpix_29"


def has_hats() -> bool:
    """Tell whether the packages of the extra ``catalog`` are there."""
    return all(importlib.util.find_spec(name) is not None for name in ("hats", "cdshealpix"))


@dataclass(frozen=True)
class Tiling:
    """Tiles of the sky, each with a number.

    Attributes
    ----------
    healpix : bool
        Whether tiles are HEALPix pixels of `order` (nested); else cells of zones.
    order : int
    """

    healpix: bool
    order: int = HEALPIX_ORDER

    def tile(self, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
        """Return the number of the tile of each position (deg), int64."""
        if self.healpix:
            from hats.pixel_math import healpix_shim

            return np.asarray(healpix_shim.radec2pix(self.order, ra, dec), np.int64)
        zone = np.clip(np.floor((dec + 90.0) / ZONE_DEG), 0, round(180 / ZONE_DEG) - 1).astype(np.int64)
        middle = np.radians((zone + 0.5) * ZONE_DEG - 90.0)
        cells = np.maximum(1, np.rint(360.0 * np.cos(middle) / ZONE_DEG)).astype(np.int64)
        return zone * _CELLS + np.minimum(np.floor(ra % 360.0 / 360.0 * cells).astype(np.int64), cells - 1)

    def tiles_near(self, ra: np.ndarray, dec: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """Return (tile, rows) of every tile that holds a position or is within the margin of it."""
        step = MARGIN_ARCSEC / 3600.0
        aside = np.minimum(step / np.maximum(np.cos(np.radians(dec)), 1e-9), 180.0)
        found = [self.tile(ra, dec)]
        for north in (-step, 0.0, step):
            high = np.clip(dec + north, -90.0, 90.0)
            found += [self.tile((ra + east * aside) % 360.0, high) for east in (-1, 0, 1) if east or north]
        rows = np.tile(np.arange(len(ra)), len(found))
        pairs = np.unique(np.column_stack([np.concatenate(found), rows]), axis=0)
        tiles, first = np.unique(pairs[:, 0], return_index=True)
        return [(int(t), own) for t, own in zip(tiles, np.split(pairs[:, 1], first[1:]), strict=True)]

    def path(self, root: Path, tile: int) -> Path:
        """Return the file of a tile."""
        if self.healpix:
            return root / "dataset" / f"Norder={self.order}" / f"Dir={tile // 10_000 * 10_000}" / f"Npix={tile}.parquet"
        return root / "dataset" / f"Zone={tile // _CELLS}" / f"Cell={tile % _CELLS}.parquet"

    def ordered(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of a tile with neighbours on the sky together; of HEALPix with the index column."""
        if not self.healpix:
            return frame.sort_values(["dec", "ra"], ignore_index=True)
        from hats.pixel_math.spatial_index import compute_spatial_index

        index = np.asarray(compute_spatial_index(frame["ra"].to_numpy(), frame["dec"].to_numpy()), np.int64)
        frame = frame.copy(deep=False)
        frame.insert(0, INDEX, index)
        return frame.sort_values([INDEX, "_id"], ignore_index=True)

    def finish(self, root: Path, tiles: list[int], rows: int) -> None:
        """Write what makes a folder of HEALPix pixels a HATS catalogue."""
        if not self.healpix:
            return
        import pyarrow.parquet as pq
        from hats.catalog import PartitionInfo, TableProperties
        from hats.pixel_math import HealpixPixel

        schema = pq.read_schema(self.path(root, tiles[0]))
        pq.write_metadata(schema, root / "dataset" / "_common_metadata")
        pixels = [HealpixPixel(self.order, tile) for tile in tiles]
        PartitionInfo.from_healpix(pixels).write_to_file(root / "partition_info.csv")
        properties: dict[str, Any] = {"catalog_name": root.name, "catalog_type": "object", "total_rows": rows}
        properties |= {"ra_column": "ra", "dec_column": "dec", "healpix_column": INDEX, "healpix_order": 29}
        TableProperties(**properties).to_properties_file(root)
