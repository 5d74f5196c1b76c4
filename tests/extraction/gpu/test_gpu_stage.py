"""The features stage where a device computes: the table is the CPU's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from curve_tables import curve_table
from emulation import EmulatedDevice

from scope_dask import tally
from scope_dask.errors import RunError
from scope_dask.extraction.features import FeatureOptions, features
from scope_dask.extraction.gpu import frame
from scope_dask.periods.gpu.device import device_here
from scope_dask.periods.options import PeriodOptions

OPTIONS = FeatureOptions(PeriodOptions(max_freq=2.0, top_n_periods=10, n_harmonics=2), "documented", "cpu")


def partition() -> pd.DataFrame:
    rng = np.random.default_rng(8)
    curves = []
    for period in (0.8, 1.7, 3.1):
        t = 2459000.0 + np.sort(90.0 * rng.random(80))
        m = 16 + 0.4 * np.sin(2 * np.pi * t / period) + 0.02 * rng.standard_normal(80)
        curves.append((t, m, np.full(80, 0.02)))
    t, m, e = curves[0]
    return curve_table(
        [*curves, (t[:3], m[:3], e[:3]), (t, np.full(80, 15.0), e), (t, np.where(t > t[5], m, np.nan), e)]
    )


def assert_like_the_cpus(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    assert list(found.columns) == list(expected.columns)
    for name in expected.columns:
        if name == "dmdt":
            np.testing.assert_array_equal(np.stack(found[name]), np.stack(expected[name]))
        elif expected[name].dtype.kind == "f":
            # moments of a scan in single precision; the rest in float64, summed in another order
            rtol = 1e-3 if name.startswith("significance") else 1e-6
            np.testing.assert_allclose(found[name], expected[name], rtol=rtol, atol=1e-7, err_msg=name)
        else:
            assert found[name].astype(object).where(found[name].notna(), "").tolist() == (
                expected[name].astype(object).where(expected[name].notna(), "").tolist()
            ), name


def test_a_pandas_partition_computed_on_a_device(monkeypatch) -> None:
    expected = features(partition(), OPTIONS)
    monkeypatch.setattr(frame, "device_for", lambda *_: EmulatedDevice())
    found = features(partition(), OPTIONS)
    assert_like_the_cpus(found, expected)
    assert tally.history(found)[0]["set_aside"] == tally.history(expected)[0]["set_aside"]


def test_a_gpu_that_is_wanted_must_be_there() -> None:
    if device_here() is not None:
        pytest.skip("there is a CUDA device here")
    with pytest.raises(RunError, match=r"GPU needs CuPy|no CUDA device"):
        features(partition(), FeatureOptions(device="gpu"))


@pytest.mark.gpu
@pytest.mark.parametrize("library", ["pandas", "cudf"])
def test_a_partition_on_a_gpu(library) -> None:
    if device_here() is None:
        pytest.skip("there is no CUDA device here")
    table = partition()
    expected = features(table, OPTIONS)
    if library == "cudf":
        cudf = pytest.importorskip("cudf")
        lists = {name: cudf.Series(table[name].tolist()) for name in ("hjd", "mag", "magerr")}
        table = cudf.from_pandas(table.drop(columns=list(lists))).assign(**lists)
    found = features(table, FeatureOptions(OPTIONS.periods, "documented", "gpu"))
    assert_like_the_cpus(found.to_pandas() if library == "cudf" else found, expected)
