"""Catalogue periods of real stars: recovered, beside astropy on the same light curves, and through the aliases."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from astropy.timeseries import LombScargle

from scope_dask.conditioning.lightcurves import lightcurves
from scope_dask.demo.recovery import recovery_table
from scope_dask.periods.judge import judge
from scope_dask.periods.options import PeriodOptions
from scope_dask.periods.search import search
from scope_dask.ragged import LightCurves
from scope_dask.sources.archive import read_archive

FOUND = ["P", "P/2", "2P"]


@pytest.fixture(scope="module")
def stars(shared_data):
    folder = shared_data / "irsa"
    table = lightcurves(read_archive(sorted(str(p) for p in folder.glob("ztf_*.parquet"))))
    truth = pd.read_parquet(folder / "truth.parquet")
    known = truth.loc[truth["period_days"] > 0.25, "_id"]  # within the short grid of these tests
    table = table.compute(scheduler="synchronous")
    return table[table["_id"].isin(known)].reset_index(drop=True), truth


def recovered(table, truth, period, matches=FOUND, min_points=50):
    """Return the share of the catalogue's periods among those found."""
    curves = LightCurves.from_frame(table)
    found = pd.DataFrame({"_id": table["_id"], "n": np.diff(curves.offsets) * 1.0, "period_found": period})
    baseline = [np.ptp(curves[i][0]) for i in range(len(curves))]
    match = recovery_table(found, truth, baseline, column="period_found", min_points=min_points)["match"]
    assert len(match) > 50
    return match.isin(matches).mean()


def lomb_scargle_period(curve, frequency):
    t, m, e = curve
    return 1 / frequency[np.argmax(LombScargle(t - t[0], m, e).power(frequency, assume_regular_frequency=True))]


def test_aliases_are_resolved_and_no_period_of_astropy_is_lost(stars):
    table, truth = stars
    table = table.iloc[::36].reset_index(drop=True)
    curves = LightCurves.from_frame(table)
    options = PeriodOptions(max_freq=4.0)
    results = search(curves, options)
    single = search(curves, PeriodOptions(("LS",), max_freq=4.0))["LS"]
    theirs = np.full(len(curves), np.nan)
    for i in np.flatnonzero(np.diff(curves.offsets) >= 50):
        baseline = np.ptp(curves[i][0])
        theirs[i] = lomb_scargle_period(curves[i], np.arange(2 / baseline, 4.0, 0.1 / baseline))
    astropy = recovered(table, truth, theirs)
    assert recovered(table, truth, single.period) >= astropy
    assert recovered(table, truth, results["ELS_ECE_EAOV"].period) > astropy
    assert recovered(table, truth, judge(curves, results, options)["period_resolved"]) > max(0.85, astropy)


def test_narrow_eclipses_are_found(stars):
    """Of these stars astropy's BoxLeastSquares finds 0.67 (bench/results/aliases.md; it takes minutes)."""
    table, truth = stars
    table = table[table["_id"].isin(truth.loc[truth["class_label"] == "EA", "_id"])]
    table = table[table["hjd"].list.len() >= 100].reset_index(drop=True)
    curves = LightCurves.from_frame(table)
    options = PeriodOptions(max_freq=2.5, nested_boxes=True)
    period = judge(curves, search(curves, options), options)["period_resolved"]
    assert recovered(table, truth, period, ["P", "P/2"], 100) > 0.72
