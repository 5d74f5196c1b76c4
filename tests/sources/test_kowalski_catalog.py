"""Catalogues of Kowalski give the cross-matches what local copies of them give, in few queries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from catalog_documents import catalog_documents
from kowalski_server import KowalskiServer
from kowalski_sky import access
from numpy.testing import assert_array_equal

from scope_dask.crossmatch import Catalog, LocalCatalog, alert_statistics, crossmatch, drop_close_bright_stars
from scope_dask.crossmatch.sphere import separation_arcsec, unit_vectors
from scope_dask.sources.kowalski import KowalskiQueryError, disconnect
from scope_dask.sources.kowalski.as_catalog import KowalskiCatalog, covering

LARGE = 2**60 + 1
FIELDS = {"Gaia_EDR3": ("_id", "parallax", "phot_g_mean_mag")}


def sky(ra: float, dec: float, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return (sources, three light curves a star; Gaia, bright stars among them; alerts) around a position."""
    rng = np.random.default_rng(seed)
    stars = rng.uniform(-0.4, 0.4, (80, 2))
    near = np.repeat(stars, 3, axis=0) + rng.normal(0, 2e-5, (240, 2))
    field = np.concatenate([stars + rng.normal(0, 1e-4, stars.shape), rng.uniform(-0.5, 0.5, (400, 2))])
    alerts = np.repeat(stars[:20], 4, axis=0) + rng.normal(0, 3e-4, (80, 2))

    def table(offsets: np.ndarray, **columns: Any) -> pd.DataFrame:
        width = max(np.cos(np.radians(dec)), 1e-3)
        lat = np.clip(dec + offsets[:, 1], -90, 90)
        return pd.DataFrame({"ra": (ra + offsets[:, 0] / width) % 360.0, "dec": lat, **columns})

    sources = table(near, _id=np.arange(240))[["_id", "ra", "dec"]]
    magnitudes = {"phot_g_mean_mag": rng.uniform(9, 16, 480), "bp_rp": rng.uniform(0, 2, 480)}
    gaia = table(field, _id=LARGE + np.arange(480), parallax=rng.normal(size=480), **magnitudes)
    scores = np.where(rng.random(80) < 0.2, np.nan, rng.random(80))
    return sources, gaia, table(alerts, braai=scores)


@pytest.fixture(params=[(150.0, 20.0), (0.1, -60.0), (200.0, 89.7)], ids=["plain", "at RA 0", "at the pole"])
def catalogs(request, tmp_path) -> Iterator[tuple[pd.DataFrame, KowalskiServer, dict[str, Catalog], dict]]:
    """(sources, server, its catalogues, local copies of them)"""
    sources, gaia, alerts = sky(*request.param)
    gaia.to_parquet(tmp_path / "gaia.parquet")
    alerts.to_parquet(tmp_path / "alerts.parquet")
    server = KowalskiServer({"Gaia_EDR3": catalog_documents(gaia), "ZTF_alerts": catalog_documents(alerts)})
    there = {name: KowalskiCatalog(access(server), name) for name in ("Gaia_EDR3", "ZTF_alerts")}
    local = {
        "Gaia_EDR3": LocalCatalog(tmp_path / "gaia.parquet"),
        "ZTF_alerts": LocalCatalog(tmp_path / "alerts.parquet"),
    }
    yield sources, server, there, local
    disconnect()
    server.close()


def test_the_stages_give_the_same_from_kowalski_and_from_local_copies(catalogs) -> None:
    sources, _, there, local = catalogs
    assert isinstance(there["Gaia_EDR3"], Catalog)
    for stage in (
        lambda own: drop_close_bright_stars(sources, own["Gaia_EDR3"], radius_arcsec=300.0),
        lambda own: crossmatch(sources, {"Gaia_EDR3": own["Gaia_EDR3"]}, fields=FIELDS),
        lambda own: alert_statistics(sources, own["ZTF_alerts"]),
    ):
        mine, reference = stage(there), stage(local)
        pd.testing.assert_frame_equal(mine, reference)
    assert 0 < len(drop_close_bright_stars(sources, local["Gaia_EDR3"])) < len(sources)
    assert mine["n_ztf_alerts"].sum() > 100


def test_positions_that_lie_together_share_a_cone(catalogs) -> None:
    sources, server, there, _ = catalogs
    drop_close_bright_stars(sources, there["Gaia_EDR3"], radius_arcsec=300.0)
    cones = [len(q["query"]["object_coordinates"]["radec"]) for q in server.queries if q["query_type"] != "info"]
    assert sum(cones) < len(sources) / 10
    server.queries.clear()
    crossmatch(sources, {"Gaia_EDR3": there["Gaia_EDR3"]}, fields=FIELDS)
    cones = [len(q["query"]["object_coordinates"]["radec"]) for q in server.queries if q["query_type"] != "info"]
    assert sum(cones) <= len(sources) / 2


@pytest.mark.parametrize("radius", [2.0, 300.0])
def test_every_position_is_covered_once_and_no_cone_is_larger_than_its_circles(radius: float) -> None:
    sources = pd.concat([sky(10.0, 89.9)[0], sky(0.0, 0.0)[0], sky(180.0, 0.0)[0]])
    ra, dec = sources["ra"].to_numpy(), sources["dec"].to_numpy()
    cones = covering(ra, dec, radius)
    assert_array_equal(np.sort(np.concatenate([cone.rows for cone in cones])), np.arange(len(sources)))
    for cone in cones:
        centre = unit_vectors([cone.ra], [cone.dec])
        zero = np.zeros(len(cone.rows), np.int64)
        away = separation_arcsec(centre, zero, unit_vectors(ra, dec), cone.rows)
        assert (away + radius <= cone.radius + 1e-6).all()
        assert len(cone.rows) == 1 or cone.radius**2 <= len(cone.rows) * radius**2
    assert len(cones) < len(sources)


def test_no_positions_ask_nothing_and_an_absent_catalogue_is_named(catalogs) -> None:
    _, server, there, _ = catalogs
    i, j, table = there["Gaia_EDR3"].near(np.empty(0), np.empty(0), 2.0, ["_id", "parallax"])
    assert (len(i), len(j), list(table.columns)) == (0, 0, ["ra", "dec", "_id", "parallax"])
    assert server.queries == []
    absent = KowalskiCatalog(there["Gaia_EDR3"].kowalski, "Gaia_DR9")
    absent.require(["_id"])  # no instance was asked yet
    there["Gaia_EDR3"].near(np.array([10.0]), np.array([10.0]), 2.0, ["_id"])
    with pytest.raises(KowalskiQueryError, match="Kowalski has no catalogue Gaia_DR9; it has Gaia_EDR3, ZTF_alerts"):
        absent.require(["_id"])


def test_a_condition_holds_for_every_row(catalogs) -> None:
    sources, _, there, _ = catalogs
    far = KowalskiCatalog(there["Gaia_EDR3"].kowalski, "Gaia_EDR3", {"parallax": {"$gt": 0.0}})
    _, _, table = far.near(sources["ra"].to_numpy(), sources["dec"].to_numpy(), 60.0, ["parallax"], {"bp_rp": 1.0})
    assert len(table) > 10
    assert (table["parallax"] > 0).all()
