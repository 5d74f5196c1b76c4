"""Alerts of each source: counts and mean scores, against real alerts and in degenerate cases."""

from __future__ import annotations

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sky_tables import save, separations, sources

from scope_dask.crossmatch import LocalCatalog, alert_statistics
from scope_dask.errors import SourceError


@pytest.fixture
def alerts(tmp_path) -> LocalCatalog:
    near = 1.5 / 3600
    columns = {
        "ra": [10.0, 10.0, 10.0, 20.0, 30.0, 30.0],
        "dec": [0.0, near, 2 * near, 5.0, -5.0, -5.0],
        "braai": [0.5, 1.0, 0.9, np.nan, None, 0.25],
    }
    return LocalCatalog(save(tmp_path / "alerts.parquet", columns))


def test_counts_and_means(alerts) -> None:
    batch = sources([10.0, 10.0, 20.0, 30.0, 40.0, np.nan], [0.0, 0.0, 5.0, -5.0, 0.0, 0.0]).assign(n=7.0)
    out = alert_statistics(batch, alerts)
    assert list(out.columns) == ["_id", "ra", "dec", "n", "n_ztf_alerts", "mean_ztf_alert_braai"]
    assert out["n_ztf_alerts"].dtype == np.int64
    assert out["n_ztf_alerts"].tolist() == [2, 2, 1, 2, 0, 0]
    assert out["mean_ztf_alert_braai"].tolist() == [0.75, 0.75, 0.0, 0.25, 0.0, 0.0]
    assert alert_statistics(batch, alerts, radius_arcsec=4.0)["n_ztf_alerts"].tolist()[:2] == [3, 3]


def test_lazily_and_without_rows(alerts) -> None:
    batch = sources([10.0, 20.0, 50.0], [0.0, 5.0, 1.0])
    expected = alert_statistics(batch, alerts)
    with dask.config.set(scheduler="synchronous"):
        lazy = alert_statistics(dd.from_pandas(batch, npartitions=3), alerts).compute()
    pd.testing.assert_frame_equal(lazy, expected)
    pd.testing.assert_frame_equal(alert_statistics(batch.iloc[:0], alerts), expected.iloc[:0])


def test_a_catalogue_without_scores(tmp_path) -> None:
    catalog = LocalCatalog(save(tmp_path / "alerts.parquet", {"ra": [1.0], "dec": [1.0], "drb": [0.5]}))
    with pytest.raises(SourceError, match="has no column braai"):
        alert_statistics(sources([1.0], [1.0]), catalog)
    named = LocalCatalog(catalog.path, {"braai": "drb"})
    assert alert_statistics(sources([1.0], [1.0]), named)["mean_ztf_alert_braai"].tolist() == [0.5]


def test_real_alerts(shared_data) -> None:
    path = shared_data / "alerts" / "ztf_alert_candidates.parquet"
    table = pq.read_table(path, columns=["ra", "dec", "rb"]).to_pandas()
    batch = sources(table["ra"][::2], table["dec"][::2])
    out = alert_statistics(batch, LocalCatalog(path, {"braai": "rb"}))
    near = separations(batch, table["ra"], table["dec"]) <= 2.0
    assert near.sum() > len(batch), "some sources have several alerts"
    np.testing.assert_array_equal(out["n_ztf_alerts"], near.sum(axis=1))
    scores = np.where(near, table["rb"].to_numpy(), np.nan)
    # The order of the sum of at most some hundred scores differs.
    np.testing.assert_allclose(out["mean_ztf_alert_braai"], np.nanmean(scores, axis=1), rtol=1e-13)
