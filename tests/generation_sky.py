"""A quadrant of stars, with catalogues around them, for the test Kowalski and as local files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from catalog_documents import catalog_documents
from kowalski_documents import matchfile_id, source_documents
from kowalski_server import KowalskiServer
from kowalski_sky import access, write_config

from scope_dask import ragged
from scope_dask.conditioning.lightcurves import LightCurveOptions
from scope_dask.crossmatch import LocalCatalog
from scope_dask.crossmatch.schema import EXTERNAL_FIELDS
from scope_dask.extraction.features import FeatureOptions
from scope_dask.generation import Catalogs, GenerationOptions, KowalskiOrigin, Quadrant
from scope_dask.periods.options import PeriodOptions
from scope_dask.schema import RAW_LIGHTCURVES
from scope_dask.sources.archive import write_archive
from scope_dask.sources.kowalski.as_catalog import KowalskiCatalog

# On Python 3.11 before 3.11.9 the profiler of Dask's workers can freeze a process that starts threads, as the test
# server does (CPython issue 106883).
QUIET = {"distributed.worker.profile.enabled": False}
SOURCES, ALERTS, GAIA = "ZTF_sources_20230109", "ZTF_alerts", "Gaia_EDR3"
HERE = Quadrant(301, 2, 4)
PLACES = {(301, 2, 4): 10, (301, 2, 3): 3}  # stars, each in g and r
LARGE = 2**60 + 1
END = 2459951.5
QUICK = GenerationOptions(
    lightcurves=LightCurveOptions(min_n_lc_points=30),
    features=FeatureOptions(periods=PeriodOptions(algorithms=("ELS_ECE_EAOV",), max_freq=1.0), device="cpu"),
)


def light_curves(seed: int = 4) -> pd.DataFrame:
    """Return the light curves of both quadrants; some are short, some have points after the last date."""
    rng = np.random.default_rng(seed)
    rows, curves = [], []
    for (field, ccd, quad), stars in PLACES.items():
        for star in range(stars):
            ra, dec = 150.0 + 0.02 * star + 0.3 * (quad - 4), 20.0 + 0.05 * rng.random()
            period = rng.uniform(0.4, 3.0)
            for band in (1, 2):
                place = (field, ccd, quad)
                shift = rng.normal(0, 2e-5, 2)
                rows.append((matchfile_id(*place, band, star), ra + shift[0], dec + shift[1], *place, band))
                points = 12 if star == 1 else int(rng.integers(60, 120))
                t = np.sort(np.round(rng.uniform(2458200, 2460100 if star == 6 else 2459900, points), 5))
                mag = np.round(16 + 0.4 * np.sin(2 * np.pi * t / period) + rng.normal(0, 0.03, points), 5)
                flags = rng.choice([0, 0, 0, 0, 32768], points).astype(np.int32)
                curves.append((t, mag, np.round(rng.uniform(0.02, 0.05, points), 5), flags))
    frame = pd.DataFrame(rows, columns=["_id", "ra", "dec", "field", "ccd", "quad", "filter"])
    offsets = np.cumsum([0, *(len(curve[0]) for curve in curves)])
    for k, name in enumerate(("hjd", "mag", "magerr", "catflags")):
        frame[name] = ragged.join(np.concatenate([curve[k] for curve in curves]), offsets)
    return frame[RAW_LIGHTCURVES.names].sort_values("_id", ignore_index=True)


def catalog_tables(seed: int = 5) -> dict[str, pd.DataFrame]:
    """Return Gaia (a bright star spoils the fourth star), AllWISE, PS1 and alerts around the stars."""
    rng = np.random.default_rng(seed)
    stars = light_curves().drop_duplicates("ra")[["ra", "dec"]].iloc[::2].reset_index(drop=True)

    def around(sigma: float, repeat: int = 1) -> pd.DataFrame:
        table = stars.loc[np.repeat(stars.index, repeat)].reset_index(drop=True)
        return table + rng.normal(0, sigma, table.shape)

    tables = {name: around(1e-4) for name in EXTERNAL_FIELDS}
    for name, fields in EXTERNAL_FIELDS.items():
        for column in fields:
            tables[name][column] = rng.uniform(13.5, 18, len(stars))
        tables[name]["_id"] = LARGE + np.arange(len(stars))
    tables["AllWISE"]["ph_qual"] = "AABU"
    tables["AllWISE"].loc[0, "w1mpro"] = np.nan
    bright = pd.DataFrame({"ra": [150.06 + 0.005], "dec": [20.025], "_id": [LARGE - 1], "phot_g_mean_mag": [6.0]})
    tables[GAIA] = pd.concat([tables[GAIA].assign(bp_rp=0.8), bright.assign(bp_rp=0.5)], ignore_index=True)
    alerts = around(1e-4, 3)
    tables[ALERTS] = alerts.assign(braai=np.where(rng.random(len(alerts)) < 0.2, np.nan, rng.random(len(alerts))))
    return tables


def server(**arguments: Any) -> KowalskiServer:
    """Return a test Kowalski with all of it."""
    collections = {name: catalog_documents(table) for name, table in catalog_tables().items()}
    return KowalskiServer({SOURCES: source_documents(light_curves()), **collections}, **arguments)


def configure(running: KowalskiServer, **more: Any) -> None:
    """Write a ``config.yaml`` into the working folder that leads to such a server."""
    write_config(Path(), running, kowalski={"collections": {"sources": SOURCES}}, **more)


def from_kowalski(running: KowalskiServer, partition_rows: int = 6, **options: Any) -> dict[str, Any]:
    """Return origin and catalogues of a job from Kowalski."""
    kowalski = access(running, **options)
    external = {name: KowalskiCatalog(kowalski, name) for name in EXTERNAL_FIELDS}
    catalogs = Catalogs(KowalskiCatalog(kowalski, GAIA), KowalskiCatalog(kowalski, ALERTS), external)
    return {"origin": KowalskiOrigin(kowalski, SOURCES, partition_rows), "catalogs": catalogs}


def save(folder: Path) -> dict[str, Path]:
    """Write the light curves as an archive, and the catalogues; return the paths by name."""
    import dask.dataframe as dd

    write_archive(dd.from_pandas(light_curves(), npartitions=3, sort=False), folder / "archive")
    for name, table in catalog_tables().items():
        table.to_parquet(folder / f"{name}.parquet")
    return {"archive": folder / "archive", **{name: folder / f"{name}.parquet" for name in catalog_tables()}}


def local_catalogs(paths: dict[str, Path]) -> Catalogs:
    """Return the catalogues of `save`."""
    external = {name: LocalCatalog(paths[name]) for name in EXTERNAL_FIELDS}
    return Catalogs(LocalCatalog(paths[GAIA]), LocalCatalog(paths[ALERTS]), external)


def sorted_features(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table of features in the order of the ids, its metadata left out."""
    out = frame.sort_values("_id", ignore_index=True)
    out.attrs = {}
    return out
