"""CPU time per source of bright-star exclusion, cross-match and alert statistics, beside a loop over sources.

    OMP_NUM_THREADS=1 python bench/crossmatch.py [--sources 1000] [--rounds 7]

A partition is sources of one quadrant (0.85 deg wide); the catalogues are Parquet files with row groups of 100,000
rows. The loop does for each source what a program that takes one at a time must do: astropy's separations to the rows
that a cone search gave for it, then the rule. It is given those rows, while ours finds and reads them: *first* with
nothing in memory, *next* for the partitions of the same quadrant that follow. One process, medians of CPU time. SCoPe
0.9.5, measured for the exclusion alone: 1.0 ms a source with 50 stars within 300 arcsec, 1.9 ms with 200.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.coordinates import SkyCoord
from workload import cpu_seconds, machine

from scope_dask.crossmatch import LocalCatalog, alert_statistics, crossmatch, drop_close_bright_stars
from scope_dask.crossmatch.bright_stars import exclusion_radius, tycho_magnitudes
from scope_dask.crossmatch.matching import neighbours
from scope_dask.crossmatch.parts import _memory
from scope_dask.crossmatch.schema import EXTERNAL_FIELDS

WIDTH, MARGIN = 0.85, 0.1
BRIGHT = 0.01  # of all stars
LOOPED = 100


def positions(rng: np.random.Generator, size: int, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Return positions in a quadrant and a margin around it."""
    half = WIDTH / 2 + margin
    dec = rng.uniform(30 - half, 30 + half, size)
    return 120 + rng.uniform(-half, half, size) / np.cos(np.radians(30)), dec


def catalog(folder: Path, name: str, rng: np.random.Generator, size: int, fields: list[str]) -> LocalCatalog:
    """Write a catalogue of random stars in strips of declination; BRIGHT of them have G < 13."""
    ra, dec = positions(rng, size, MARGIN)
    columns = {"_id": np.arange(size), "ra": ra, "dec": dec, **{f: rng.uniform(0, 2, size) for f in fields}}
    columns["phot_g_mean_mag"] = np.where(rng.uniform(size=size) < BRIGHT, rng.uniform(8, 13, size), 18.0)
    path = folder / f"{name}.parquet"
    pq.write_table(pa.table(columns).sort_by("dec"), path, row_group_size=100_000)
    return LocalCatalog(path)


def cones(table: Any, batch: pd.DataFrame, radius: float, fields: list[str], below: Any = None) -> list[pd.DataFrame]:
    """Return what a cone search gives for each source."""
    found = neighbours(table, batch, radius, fields, below)
    return [found.table.iloc[found.j[found.i == k]] for k in range(len(batch))]


def apart(ra: float, dec: float, stars: pd.DataFrame) -> np.ndarray:
    """Return the separations of one source from some stars in arcsec."""
    theirs = SkyCoord(stars["ra"].to_numpy() * u.deg, stars["dec"].to_numpy() * u.deg)
    return SkyCoord(ra * u.deg, dec * u.deg).separation(theirs).arcsec


def loop_bright(batch: pd.DataFrame, answers: list[pd.DataFrame]) -> list[int]:
    """Return the sources that are left, one at a time."""
    left = []
    for (_, source), stars in zip(batch.iterrows(), answers, strict=False):
        g, color = (stars[c].to_numpy() for c in ("phot_g_mean_mag", "bp_rp"))
        radius = exclusion_radius(*tycho_magnitudes(g, color))
        distance = apart(source["ra"], source["dec"], stars)
        if len(stars) and distance.min() < 2.0:
            own = distance.argmin()
            distance = apart(stars["ra"].iloc[own], stars["dec"].iloc[own], stars)
            distance[own] = np.inf
        if not (distance < radius).any():
            left.append(int(source["_id"]))
    return left


def loop_nearest(batch: pd.DataFrame, answers: list[pd.DataFrame], fields: list[str]) -> list[dict[str, float]]:
    """Return the fields of the nearest star of each source, one at a time."""
    rows = []
    for (_, source), stars in zip(batch.iterrows(), answers, strict=False):
        if len(stars):
            best = stars.iloc[apart(source["ra"], source["dec"], stars).argmin()]
            rows.append({f: best[f] for f in fields})
        else:
            rows.append(dict.fromkeys(fields, np.nan))
    return rows


def loop_alerts(answers: list[pd.DataFrame]) -> list[tuple[int, float]]:
    """Return number and mean score of the alerts of each source, one at a time."""
    return [(len(found), found["braai"].mean()) for found in answers]


def line(name: str, stage: Callable[[], Any], count: int, loop: Callable[[], Any], rounds: int) -> str:
    """Return a row of the table: microseconds per source of the loop, of ours first and next, and the ratios."""

    def fresh() -> None:
        _memory.clear()
        stage()

    seconds = cpu_seconds({"loop": loop, "first": fresh, "next": stage}, rounds)
    plain, first, following = seconds["loop"] / LOOPED, seconds["first"] / count, seconds["next"] / count
    return (
        f"| {name} | {1e6 * plain:.0f} | {1e6 * first:.1f} | {1e6 * following:.1f} | "
        f"{plain / first:.1f} | {plain / following:.1f} |"
    )


def rows(folder: Path, count: int, rounds: int) -> Iterator[str]:
    """Yield the rows of the table."""
    rng = np.random.default_rng(1)
    ra, dec = positions(rng, count, 0.0)
    batch = pd.DataFrame({"_id": np.arange(count), "ra": ra, "dec": dec})
    some, fields = batch.iloc[:LOOPED], list(EXTERNAL_FIELDS["Gaia_EDR3"])
    for stars in (50, 200):
        size = int(stars / (np.pi * (300 / 3600) ** 2) * (WIDTH + 2 * MARGIN) ** 2 / BRIGHT)
        gaia = catalog(folder, f"gaia{stars}", rng, size, ["bp_rp", *fields[2:]])
        answers = cones(gaia, some, 300.0, ["phot_g_mean_mag", "bp_rp"], {"phot_g_mean_mag": 13.0})
        stage, loop = (
            functools.partial(drop_close_bright_stars, batch, gaia),
            functools.partial(loop_bright, some, answers),
        )
        assert loop() == drop_close_bright_stars(some, gaia)["_id"].tolist()
        yield line(f"bright stars, {stars} within 300″ ({size:,} rows of Gaia)", stage, count, loop, rounds)
    stage = functools.partial(crossmatch, batch, {"Gaia_EDR3": gaia})
    loop = functools.partial(loop_nearest, some, cones(gaia, some, 2.0, fields), fields)
    yield line("cross-match with the latter, 2″, 12 columns", stage, count, loop, rounds)
    alerts = catalog(folder, "alerts", rng, 300_000, ["braai"])
    loop = functools.partial(loop_alerts, cones(alerts, some, 2.0, ["braai"]))
    yield line("alerts, 2″, of 300,000", functools.partial(alert_statistics, batch, alerts), count, loop, rounds)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--sources", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(f"{machine()}\n")
    print("| µs per source | loop | ours, first | ours, next | loop / first | loop / next |")
    print("|---|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        for row in rows(Path(folder), options.sources, options.rounds):
            print(row, flush=True)


if __name__ == "__main__":
    main()
