"""Light curves of one source: identifiers, positions, order; one row of scores a source."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scope_dask.predictions.sources import consolidate, score_columns, source_numbers

LARGE = 2**62 + 1  # not a float64


def table() -> pd.DataFrame:
    """Return light curves of the sources a to h (column source); degrees per arcsecond 1/3600."""
    arcsec = 1 / 3600
    rows = [
        # source, Gaia, AllWISE, PS1, ra, dec
        ("a", LARGE, 5, 7, 10.0, 1.0),
        ("a", LARGE, 0, 0, 10.0 + 3 * arcsec, 1.0),
        ("a", 0, 5, 0, 10.0, 1.0),  # AllWISE leads to Gaia
        ("a", 0, 0, 7, 10.0, 1.0),
        ("b", LARGE + 1, 6, 0, 10.1, 1.0),
        ("c", LARGE + 2, 6, 0, 10.2, 1.0),  # shares AllWISE with b
        ("d", 0, 6, 0, 10.3, 1.0),  # of b or c: neither
        ("e", 0, 8, 0, 10.4, 1.0),
        ("e", 0, 8, 9, 10.4, 1.0),
        ("a", 0, 0, 0, 10.0, 1.0 + arcsec),  # by position
        ("i", 0, 0, 10, 10.4 + 0.3 * arcsec, 1.0),  # another PS1 source, 0.3" from that of e: not e
        ("f", 0, 0, 0, 359.99999, -5.0),
        ("f", 0, 0, 0, 0.00001, -5.0),  # 0.07" away, over right ascension 0
        ("g", 0, 0, 0, 20.0, 89.99999),
        ("g", 0, 0, 0, 200.0, 89.99999),  # 0.07" away, over the pole
        ("h", 0, 0, 0, np.nan, np.nan),
        ("c", 0, 0, 11, 10.2, 1.0),  # c has no PS1 source: joined by position
        ("h2", 0, 7, 0, np.nan, np.nan),
    ]
    names = ["source", "Gaia_EDR3___id", "AllWISE___id", "PS1_DR1___id", "ra", "dec"]
    frame = pd.DataFrame(rows, columns=names)
    frame.insert(0, "_id", 10**15 + np.arange(len(frame)))
    rng = np.random.default_rng(1)
    return frame.assign(period_LS=rng.random(len(frame)), vnv_xgb=rng.random(len(frame)).astype("f4"))


@pytest.mark.parametrize("seed", range(5))
def test_sources_whatever_the_order(seed: int) -> None:
    frame = table().sample(frac=1, random_state=seed, ignore_index=True)
    number = source_numbers(frame)
    pairs = {(s, n) for s, n in zip(frame["source"], number, strict=True)}
    assert len(pairs) == frame["source"].nunique() == len(set(number))
    assert list(pd.unique(number)) == list(range(frame["source"].nunique()))


def test_missing_identifiers_may_be_null_or_not_there() -> None:
    frame = table()
    nulls = frame.astype({"Gaia_EDR3___id": "Int64"})
    nulls["Gaia_EDR3___id"] = nulls["Gaia_EDR3___id"].mask(nulls["Gaia_EDR3___id"] == 0)
    np.testing.assert_array_equal(source_numbers(nulls), source_numbers(frame))
    assert len(set(source_numbers(frame[["_id"]]))) == len(frame)


def test_names_come_first() -> None:
    frame = table().assign(obj_id=None)
    frame.loc[[4, 5], "obj_id"] = "both"
    number = source_numbers(frame)
    assert number[4] == number[5] == number[6]


@pytest.mark.parametrize("statistic", ["mean", "median", "max"])
def test_one_row_a_source(statistic: str) -> None:
    frame = table()
    frame.loc[0, "vnv_xgb"] = np.nan
    found = consolidate(frame, statistic)  # type: ignore[arg-type]
    groups = frame.groupby("source", sort=False)
    found_as = dict(zip(pd.unique(frame["source"]), range(len(found)), strict=True))
    assert found["n_lightcurves"].tolist() == groups.size().tolist()
    np.testing.assert_allclose(found["vnv_xgb"], getattr(groups["vnv_xgb"], statistic)(), rtol=1e-6)
    assert found["vnv_xgb"].dtype == np.float32
    assert found["Gaia_EDR3___id"].tolist()[:4] == [LARGE, LARGE + 1, LARGE + 2, 0]
    lower = [np.sort(g)[(len(g) - 1) // 2] for _, g in groups["period_LS"]]
    np.testing.assert_array_equal(found["period_LS"], lower)
    assert found["survey_id"][[0, 3, found_as["h"]]].tolist() == [
        f"Gaia_EDR3_{LARGE}",
        "AllWISE_6",
        f"ZTF_{10**15 + 15}",
    ]
    assert found["obj_id"][1] == "ZTFJ004024.00+010000.0"
    assert found["obj_id"][found_as["h"]] == f"ZTF_{10**15 + 15}"
    assert found["obj_id"].is_unique
    assert (found["ra"][found_as["f"]] + 180) % 360 == pytest.approx(180, abs=1e-5)
    assert found["dec"][found_as["g"]] == pytest.approx(90, abs=2e-5)
    again = consolidate(frame.sample(frac=1, random_state=3), statistic)  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(again, found)


def test_columns_of_scores() -> None:
    assert score_columns(["_id", "rr lyr_xgb", "vnv_dnn", "period_LS", "_dnn"]) == ["rr lyr_xgb", "vnv_dnn"]
