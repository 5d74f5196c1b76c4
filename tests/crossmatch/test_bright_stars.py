"""Which sources are too close to a bright star: the formulas, and the rule against a loop over sources."""

from __future__ import annotations

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from sky_tables import patch, save, separations, sources

from scope_dask import tally
from scope_dask.crossmatch import BrightStarOptions, LocalCatalog, drop_close_bright_stars
from scope_dask.crossmatch.bright_stars import exclusion_radius, tycho_magnitudes
from scope_dask.errors import OptionError, SourceError

ARCSEC = 1 / 3600


def stars(path, ra, dec, g, bp_rp) -> LocalCatalog:
    columns = {"source_id": np.arange(len(ra)), "ra": ra, "dec": dec, "phot_g_mean_mag": g, "bp_rp": bp_rp}
    return LocalCatalog(save(path / "gaia.parquet", columns))


def kept(batch: pd.DataFrame, catalog: LocalCatalog, **options: float) -> list[int]:
    return drop_close_bright_stars(batch, catalog, **options)["_id"].tolist()


@pytest.mark.parametrize(
    ("b", "b_v", "radius"),
    [(5, 0, 141.0), (7, 0.5, 98.27), (9, 1, 63.87), (11, 0, 23.24), (12, 0.5, 16.26), (12.9, 1.5, 14.51)],
)
def test_radii_that_the_original_gives(b, b_v, radius) -> None:
    assert exclusion_radius(np.array([b]), np.array([b - b_v])) == pytest.approx([radius], abs=0.005)


@pytest.mark.parametrize(("g", "color", "b", "v"), [(11, 0.8, 11.8975, 11.2061), (8, 2, 10.9158, 8.9146)])
def test_tycho_magnitudes_that_the_original_gives(g, color, b, v) -> None:
    assert np.ravel(tycho_magnitudes(np.array([g]), np.array([color]))) == pytest.approx([b, v], abs=5e-5)


def test_faint_stars_and_stars_without_a_color_exclude_nothing() -> None:
    b, v = tycho_magnitudes(np.array([13.0, 12.99, 10.0]), np.array([0.0, 1.0, np.nan]))
    assert np.isnan(b[[0, 2]]).all()
    assert b[1] > 13.0
    assert exclusion_radius(b, v).tolist() == [0, 0, 0]


def by_loop(batch: pd.DataFrame, ra, dec, g, bp_rp) -> list[int]:
    """Return the sources that are left, one source at a time as the rule reads."""
    radius = exclusion_radius(*tycho_magnitudes(g, bp_rp))
    bright = np.flatnonzero(g < 13)
    left = []
    for k in range(len(batch)):
        one = batch.iloc[[k]]
        apart = separations(one, ra[bright], dec[bright])[0]
        near = bright[apart < 300.0]
        if len(near) and apart.min() < 2.0:
            own = bright[apart.argmin()]
            near = near[near != own]
            one = one.assign(ra=ra[own], dec=dec[own])
        if not (separations(one, ra[near], dec[near])[0] < radius[near]).any():
            left.append(int(one["_id"].iloc[0]))
    return left


@pytest.mark.parametrize("place", [(50.0, 20.0), (0.0, -40.0), (0.0, 90.0)])
def test_against_a_loop_over_sources(tmp_path, place) -> None:
    rng = np.random.default_rng(11)
    ra, dec = patch(rng, *place, 3000, 0.7)
    g, color = rng.uniform(4, 18, 3000), rng.uniform(-0.3, 3, 3000)
    color[::20] = np.nan
    near = patch(rng, *place, 400, 0.6)
    shift = rng.uniform(-1, 1, (2, 300)) * ARCSEC
    stellar = np.array([ra[:300] + shift[0] / np.cos(np.radians(np.clip(dec[:300], -89, 89))), dec[:300] + shift[1]])
    stellar[1] = np.clip(stellar[1], -90, 90)
    batch = sources(np.append(near[0], stellar[0]), np.append(near[1], stellar[1]))
    expected = by_loop(batch, ra, dec, g, color)
    assert 100 < len(expected) < 600
    assert kept(batch, stars(tmp_path, ra, dec, g, color)) == expected


def test_a_bright_star_does_not_exclude_itself_but_its_companion_does(tmp_path) -> None:
    ra, dec = [10.0, 20.0, 20.0], [0.0, 0.0, 30 * ARCSEC]
    catalog = stars(tmp_path, ra, dec, [8.0, 8.0, 9.0], [0.5, 0.5, 0.5])
    batch = sources([10.0, 10.0, 20.0], [1.9 * ARCSEC, 2.1 * ARCSEC, 1.0 * ARCSEC])
    assert kept(batch, catalog) == [1]
    assert kept(batch, catalog, counterpart_arcsec=3.0) == [1, 2]


def test_distances_are_from_the_counterpart(tmp_path) -> None:
    radius = float(exclusion_radius(*tycho_magnitudes(np.array(9.0), np.array(0.5))))
    catalog = stars(tmp_path, [10.0, 10.0], [0.0, (radius - 0.5) * ARCSEC], [12.9, 9.0], [0.5, 0.5])
    assert kept(sources([10.0, 10.0], [-1.5 * ARCSEC, 1.5 * ARCSEC]), catalog) == []
    catalog = stars(tmp_path, [10.0, 10.0], [0.0, (radius + 0.5) * ARCSEC], [12.9, 9.0], [0.5, 0.5])
    assert kept(sources([10.0, 10.0], [-1.5 * ARCSEC, 1.5 * ARCSEC]), catalog) == [1, 2]


def test_lazily_with_all_columns_and_a_count(tmp_path) -> None:
    catalog = stars(tmp_path, [10.0], [0.0], [8.0], [0.5])
    batch = sources([10.0, 10.0, np.nan, 50.0], [0.01, 0.015, 1.0, 0.0]).assign(median=1.0)
    out = drop_close_bright_stars(batch, catalog)
    assert out["_id"].tolist() == [3, 4]
    assert list(out.columns) == list(batch.columns)
    (entry,) = tally.history(out)
    assert entry["dropped"] == {"close to a bright star": 2}
    assert entry["set_aside"] == [(3, "the position is not finite: it matches nothing")]
    lazy = drop_close_bright_stars(dd.from_pandas(batch, npartitions=2), catalog)
    with dask.config.set(scheduler="synchronous"):
        assert lazy.compute()["_id"].tolist() == [3, 4]
    assert drop_close_bright_stars(batch.iloc[:0], catalog).equals(batch.iloc[:0])


def test_what_is_refused(tmp_path) -> None:
    catalog = LocalCatalog(save(tmp_path / "a.parquet", {"_id": [1], "ra": [1.0], "dec": [2.0], "bp_rp": [1.0]}))
    with pytest.raises(SourceError, match="has no column phot_g_mean_mag"):
        drop_close_bright_stars(sources([1.0], [2.0]), catalog)
    with pytest.raises(OptionError, match="counterpart_arcsec is -1"):
        BrightStarOptions(counterpart_arcsec=-1)
    with pytest.raises(OptionError, match="magnitude_limit is nan; it must be a finite magnitude"):
        BrightStarOptions(magnitude_limit=float("nan"))
