"""Small HATS catalogues, collections and indexes, laid out as the package hats lays them out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest


def hats_catalog(
    root: Path, table: pa.Table, orders: tuple[int, ...], sky: tuple[str, str] = ("ra", "dec"), **how: Any
) -> Path:
    """Write a catalogue whose pixels are of different orders; `how` goes to the Parquet writer."""
    hats = pytest.importorskip("hats")
    from hats.catalog import PartitionInfo, TableProperties
    from hats.pixel_math import HealpixPixel

    pixels = []
    for order, pixel, rows in pixels_of(table, orders, sky):
        path = hats.io.paths.pixel_catalog_file(root, HealpixPixel(order, pixel))
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.filter(pa.array(rows)), str(path), **how)
        pixels.append(HealpixPixel(order, pixel))
    # What lies beside the pixels is not data of the catalogue.
    pq.write_table(table.slice(0, 1), root / "dataset" / "data_thumbnail.parquet")
    pq.write_metadata(table.schema, root / "dataset" / "_common_metadata")
    PartitionInfo.from_healpix(pixels).write_to_file(root / "partition_info.csv")
    properties = TableProperties(
        catalog_name=root.name, catalog_type="object", total_rows=len(table), ra_column=sky[0], dec_column=sky[1]
    )
    properties.to_properties_file(root)
    return root


def pixels_of(table: pa.Table, orders: tuple[int, ...], sky: tuple[str, str]) -> list[tuple[int, int, np.ndarray]]:
    """Return (order, pixel, mask of its rows) of pixels of different orders that share no row."""
    from hats.pixel_math import healpix_shim

    ra, dec = (table[name].to_numpy().astype(np.float64) for name in sky)
    low = healpix_shim.radec2pix(orders[0], ra, dec)
    pixels = []
    for coarse in np.unique(low):
        order = orders[int(coarse) % len(orders)]
        fine = np.where(low == coarse, healpix_shim.radec2pix(order, ra, dec), -1)
        pixels += [(order, int(pixel), fine == pixel) for pixel in np.unique(fine[fine >= 0])]
    return pixels


def hats_collection(root: Path, main: str, margin: str | None = None, index: tuple[str, str] | None = None) -> Path:
    """Make a folder of catalogues a collection; `index` is (column, folder)."""
    lines = ["obs_collection=test", f"hats_primary_table_url={main}"]
    lines += [f"all_margins={margin}", f"default_margin={margin}"] if margin else []
    lines += [f"all_indexes={index[0]} {index[1]}", f"default_index={index[0]}"] if index else []
    (root / "collection.properties").write_text("\n".join([*lines, ""]))
    return root


def hats_index(root: Path, table: pa.Table, column: str, orders: tuple[int, ...], sky: tuple[str, str]) -> None:
    """Write the index of an id column: which pixel holds which id."""
    from hats.catalog import TableProperties

    parts = [
        pa.table(
            {
                column: table[column].filter(pa.array(rows)),
                "Norder": pa.array(np.full(rows.sum(), order, np.uint8)),
                "Dir": pa.array(np.full(rows.sum(), pixel // 10_000 * 10_000)),
                "Npix": pa.array(np.full(rows.sum(), pixel)),
            }
        )
        for order, pixel, rows in pixels_of(table, orders, sky)
    ]
    folder = root / "dataset" / "index"
    folder.mkdir(parents=True)
    collected: list[Any] = []
    whole = pa.concat_tables(parts).sort_by(column)
    pq.write_table(whole, folder / "part.0.parquet", metadata_collector=collected)
    collected[0].set_file_path("index/part.0.parquet")
    pq.write_metadata(whole.schema, root / "dataset" / "_metadata", metadata_collector=collected)
    TableProperties(
        catalog_name=root.name, catalog_type="index", total_rows=len(table), primary_catalog="x", indexing_column=column
    ).to_properties_file(root)
