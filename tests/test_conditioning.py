"""The conditioning against the reference file and a plain loop over points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from curve_tables import curve_table
from hypothesis import given, settings

from scope_dask import tally
from scope_dask.conditioning.lightcurves import LIGHTCURVES_STAGE, LightCurveOptions, lightcurves
from scope_dask.errors import OptionError, SchemaError
from scope_dask.schema import LIGHTCURVES

CADENCE_DAYS = 30.0 / 1440.0

# Rows of the reference file whose bad points (NaN magnitude, zero error) the original kept.
BAD_POINTS = (248, 249)


def plain(curve: tuple[Any, ...], cadence: float = CADENCE_DAYS) -> list[tuple[float, float, float]]:
    """Condition one light curve point by point."""
    points = [
        (t, m, e) for t, m, e, flag in zip(*curve, strict=True) if flag == 0 and np.isfinite([t, m, e]).all() and e > 0
    ]
    points.sort(key=lambda point: point[0])
    kept: list[tuple[float, float, float]] = []
    for point in points:
        if not kept or point[0] - kept[-1][0] >= cadence:
            kept.append(point)
    return kept


def rows(frame: pd.DataFrame) -> list[list[tuple[float, ...]]]:
    return [list(zip(*row, strict=True)) for row in zip(frame["hjd"], frame["mag"], frame["magerr"], strict=True)]


def conditioned(curves: list[tuple[Any, ...]], **options: Any) -> pd.DataFrame:
    return lightcurves(curve_table(curves), **{"min_n_lc_points": 0, **options})


def test_equal_to_the_reference(shared_data: Path) -> None:
    names = ("raw_t", "raw_m", "raw_e", "raw_flags", "t", "m", "e")
    table = pq.read_table(shared_data / "parity" / "reference_features.parquet", columns=list(names))
    raw_t, raw_m, raw_e, raw_flags, *expected = (table[name].to_pylist() for name in names)
    out = conditioned(list(zip(raw_t, raw_m, raw_e, raw_flags, strict=True)))
    assert len(out) == 252
    for i, (hjd, mag, magerr, *reference) in enumerate(
        zip(out["hjd"], out["mag"], out["magerr"], *expected, strict=True)
    ):
        got, wanted = np.array([hjd, mag, magerr]), np.array(reference, dtype=float)  # a null is NaN
        if i in BAD_POINTS:
            wanted = wanted[:, np.isfinite(wanted[1]) & (wanted[2] > 0)]
            assert wanted.shape[1] < len(reference[0])
        np.testing.assert_array_equal(got, wanted, err_msg=f"row {i}")


time_step = st.integers(0, 12).map(
    lambda k: 2458000.5 + k / 96
)  # steps of 15 minutes: two are the cadence, but for rounding
value = st.one_of(st.floats(14, 20), st.just(float("nan")), st.just(float("inf")))
error = st.one_of(st.floats(0.01, 0.1), st.sampled_from([0.0, -0.1, float("nan")]))
a_curve = st.lists(
    st.tuples(st.one_of(time_step, st.just(float("nan"))), value, error, st.sampled_from([0, 0, 0, 1, 32768])),
    max_size=25,
)


@settings(deadline=None, max_examples=150)
@given(st.lists(a_curve, max_size=6), st.integers(0, 4))
def test_equal_to_a_loop_over_points(curves: list[list[tuple[float, float, float, int]]], least: int) -> None:
    columns = [tuple(zip(*curve, strict=True)) or ((), (), (), ()) for curve in curves]
    out = conditioned(columns, min_n_lc_points=least)
    wanted = [(100 + i, kept) for i, curve in enumerate(columns) if len(kept := plain(curve)) >= least]
    assert list(out["_id"]) == [i for i, _ in wanted]
    assert rows(out) == [kept for _, kept in wanted]
    (entry,) = tally.history(out)
    dropped = len(curves) - len(wanted)
    assert entry["dropped"] == ({f"fewer than {least} points": dropped} if dropped else {})
    assert (entry["rows_in"], entry["rows_out"]) == (len(curves), len(wanted))


def test_unsorted_times_with_flags() -> None:
    out = conditioned([([5.0, 1.0, 3.0, 2.0], [15.0, 11.0, 13.0, 12.0], [0.1] * 4, [0, 0, 2, 0])])
    assert out["hjd"][0] == [1.0, 2.0, 5.0]
    assert out["mag"][0] == [11.0, 12.0, 15.0]


def test_equal_times_keep_the_order_of_the_file() -> None:
    mags = [float(m) for m in range(20)]
    hjd = [2.0] * 10 + [1.0] * 10
    out = conditioned([(hjd, mags, [0.1] * 20, [0] * 20)], min_cadence_minutes=0.0)
    assert out["mag"][0] == mags[10:] + mags[:10]
    thinned = conditioned([(hjd, mags, [0.1] * 20, [0] * 20)])
    assert thinned["mag"][0] == [10.0, 0.0]  # the first of each


def test_thinning_is_inclusive_and_chained_on_the_last_kept() -> None:
    # 64 days + k/64: a cadence of 22.5 minutes is 1/64 day exactly, in binary too.
    hjd = 64 + np.array([0, 0.5, 1, 1.5, 2.4, 2.6, 3.4, 3.6]) / 64
    out = conditioned([(hjd, np.arange(8.0), np.ones(8), np.zeros(8, int))], min_cadence_minutes=22.5)
    assert out["mag"][0] == [0, 2, 4, 6]
    above = conditioned([(hjd[:3], np.arange(3.0), np.ones(3), np.zeros(3, int))], min_cadence_minutes=22.5001)
    assert above["mag"][0] == [0]


def test_a_flagged_point_does_not_thin_its_neighbour() -> None:
    out = conditioned([([1.0, 1.001], [10.0, 11.0], [0.1, 0.1], [1, 0])])
    assert out["mag"][0] == [11.0]


@pytest.mark.parametrize(("points", "kept"), [(49, 0), (50, 1)])
def test_fifty_points_are_enough(points: int, kept: int) -> None:
    curve = (np.arange(points, dtype=float), np.full(points, 15.0), np.full(points, 0.1), np.zeros(points, int))
    assert len(lightcurves(curve_table([curve]))) == kept


def test_points_are_counted_after_the_thinning() -> None:
    hjd = np.arange(60) / 64  # every second point comes too early
    curve = (hjd, np.full(60, 15.0), np.full(60, 0.1), np.zeros(60, int))
    assert len(lightcurves(curve_table([curve]), min_n_lc_points=31)) == 0
    assert len(lightcurves(curve_table([curve]), min_n_lc_points=30)) == 1


def test_lists_of_different_lengths_are_set_aside_alone() -> None:
    good = ([1.0, 2.0], [15.0, 16.0], [0.1, 0.1], [0, 0])
    broken = ([1.0, 2.0, 3.0], [15.0, 16.0], [0.1, 0.1, 0.1], [0, 0, 0])
    out = conditioned([good, broken, good])
    assert list(out["_id"]) == [100, 102]
    assert rows(out) == [[(1.0, 15.0, 0.1), (2.0, 16.0, 0.1)]] * 2
    (entry,) = tally.history(out)
    reason = "lists of different lengths: 3 hjd, 2 mag, 3 magerr, 3 catflags"
    assert entry["set_aside"] == [(101, reason)]
    assert entry["dropped"] == {"lists of different lengths": 1}


def test_lists_of_different_lengths_whose_sums_agree() -> None:
    curves = [([1.0], [15.0, 16.0], [0.1], [0]), ([1.0, 2.0], [15.0], [0.1, 0.1], [0, 0])]
    out = conditioned(curves)
    assert len(out) == 0
    assert [i for i, _ in tally.history(out)[0]["set_aside"]] == [100, 101]


@pytest.mark.parametrize("float_type", [pa.float32(), pa.float64()])
def test_magnitudes_keep_their_float_type(float_type: Any) -> None:
    curve = ([2.0, 1.0], [15.1, 16.1], [0.1, 0.2], [0, 0])
    table = curve_table([curve], float_type=float_type)
    out = lightcurves(table, min_n_lc_points=1)
    assert out["mag"].dtype == out["magerr"].dtype == pd.ArrowDtype(pa.list_(float_type))
    assert out["hjd"].dtype == pd.ArrowDtype(pa.list_(pa.float64()))
    assert list(out["mag"][0]) == list(table["mag"][0])[::-1]


def test_empty_partition_and_empty_light_curves() -> None:
    empty = lightcurves(curve_table([]))
    assert list(empty.columns) == LIGHTCURVES.names
    assert len(empty) == 0
    nothing = ([], [], [], [])
    assert len(conditioned([nothing, nothing])) == 2
    assert len(lightcurves(curve_table([nothing]), min_n_lc_points=1)) == 0


def test_null_lists_are_empty() -> None:
    out = conditioned([(None, None, None, None), ([1.0], [15.0], [0.1], [0])])
    assert rows(out) == [[], [(1.0, 15.0, 0.1)]]


def test_columns_and_identification() -> None:
    table = curve_table([([1.0], [15.0], [0.1], [0])] * 3)
    table["extra"] = 1
    table["obj_id"] = pd.Series(["a", "b", "c"], dtype="str")
    out = lightcurves(table.iloc[[2, 0]], min_n_lc_points=1)
    assert list(out.columns) == [*LIGHTCURVES.names[:7], "obj_id", "hjd", "mag", "magerr"]
    assert list(out["_id"]) == [102, 100]
    assert list(out["obj_id"]) == ["c", "a"]
    assert list(out.index) == [0, 1]


def test_the_input_is_not_changed() -> None:
    table = curve_table([([2.0, 1.0], [15.0, 16.0], [0.1, 0.1], [0, 0])])
    before = table.copy(deep=True)
    lightcurves(table, min_n_lc_points=1)
    pd.testing.assert_frame_equal(table, before)
    assert table.attrs == {}


def test_missing_flags_are_named() -> None:
    table = curve_table([([1.0], [15.0], [0.1], [0])]).rename(columns={"catflags": "flags"})
    with pytest.raises(SchemaError, match=r"stage 'lightcurves' needs the column catflags .*'flags'.*rename"):
        lightcurves(table)


@pytest.mark.parametrize("options", [{"min_n_lc_points": -1}, {"min_cadence_minutes": -1.0}])
def test_negative_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=r"is -1(\.0)?; it must be 0 or more"):
        LightCurveOptions(**options)  # type: ignore[arg-type]


def test_meta_is_what_comes_out() -> None:
    table = curve_table([([1.0], [15.0], [0.1], [0])], float_type=pa.float32())
    options = LightCurveOptions(min_n_lc_points=1)
    meta = LIGHTCURVES_STAGE.meta(table.iloc[:0], options)
    out = LIGHTCURVES_STAGE(table, options)
    assert dict(meta.dtypes) == dict(out.dtypes)
