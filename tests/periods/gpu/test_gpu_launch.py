"""Cutting a partition into launches, and the tables: no kernel runs here."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_dask.errors import OptionError, RunError
from scope_dask.periods import lombscargle as cpu
from scope_dask.periods.gpu import launch
from scope_dask.periods.gpu.device import FOLDERS, CupyDevice, source
from scope_dask.periods.gpu.launch import METHODS
from scope_dask.periods.options import MOST_HARMONICS


@given(
    st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 40)), max_size=30),
    st.integers(1, 500),
    st.integers(1, 10_000),
    st.sampled_from(sorted(METHODS)),
)
@settings(deadline=None, max_examples=100)
def test_every_tile_is_in_one_launch_within_the_budget(curves, tile_bytes, budget, name):
    points, tiles = np.array(curves, dtype=np.int64).reshape(-1, 2).T
    chunks = list(launch.plan(METHODS[name], points, tiles, tile_bytes, budget))
    rows = np.concatenate([*(c.curves for c in chunks), np.empty(0, np.int32)])
    assert sorted(rows) == list(np.flatnonzero(tiles > 0))
    for chunk in chunks:
        np.testing.assert_array_equal(np.diff(chunk.first_tile), tiles[chunk.curves])
        assert chunk.blocks * tile_bytes <= budget or len(chunk.curves) == 1
        limits = {kernel: limit for limit, kernel in METHODS[name].kernels}
        assert points[chunk.curves].max() <= limits[chunk.kernel]


def test_chunks_are_as_large_as_the_budget_allows():
    chunks = list(launch.plan(METHODS["LS"], np.full(10, 300), np.full(10, 4), 100, 1200))
    assert [len(c.curves) for c in chunks] == [3, 3, 3, 1]


def test_too_many_points_are_refused():
    points = np.array([100, 2**24])
    with pytest.raises(OptionError, match=r"16,777,216 points.*16,777,215 at most"):
        list(launch.plan(METHODS["CE"], points, np.array([1, 1]), 1, 1))
    assert len(list(launch.plan(METHODS["CE"], points, np.array([1, 0]), 1, 1))) == 1


def test_too_many_peaks_or_too_far_apart_are_refused():
    lengths = np.array([512, 64], np.int32)
    launch.check(1024, 65, lengths)
    with pytest.raises(OptionError, match=r"top_n_periods is 1025.*1024 at most"):
        launch.check(1025, 10, lengths)
    with pytest.raises(OptionError, match=r"66 grid steps apart.*65 is the most"):
        launch.check(50, 66, lengths)


@pytest.mark.parametrize(
    ("length", "sep", "most"), [(512, 10, 52), (512, 1, 512), (512, 512, 1), (512, 600, 1), (9, 3, 3)]
)
def test_room_for_the_peaks_of_a_tile(length, sep, most):
    assert launch.peaks_per_tile(length, sep) == most


def test_filters_are_the_cpus():
    taps = launch.filter_taps()
    assert taps.dtype == np.float32
    for steps in range(1, cpu.MOST_STEPS + 1):
        np.testing.assert_allclose(taps[steps, :, :steps], cpu.filters(steps, 2), rtol=0, atol=1e-7)


def test_steps_per_sample():
    df = np.array([1e-3, 1e-3, 1e-4, 1e-6, 1.0, np.nan, np.inf])
    baseline = np.array([100.0, 71.5, 0.0, 10.0, 10.0, 1.0, np.nan])
    np.testing.assert_array_equal(launch.steps_per_sample(df, baseline), [7, 9, 1, 16, 1, 1, 1])


@given(st.lists(st.integers(0, 50), max_size=12))
def test_sorted_points_have_room_for_the_gaps(sizes):
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    place = launch.sorted_offsets(offsets)
    assert (place % launch.ALIGN == 0).all()
    gaps = 10 * (launch.ALIGN - 1)  # one after each of the ten bins
    assert (np.diff(place) >= np.diff(offsets) + gaps).all()


def test_table_of_n_log_n():
    table = launch.n_log_n(100)
    assert len(table) == 101
    assert len(launch.n_log_n(3)) == launch.SMALL_COUNTS
    np.testing.assert_allclose(table[[0, 1, 2, 100]], [0, 0, 2 * np.log(2), 100 * np.log(100)])


def test_constants_are_those_of_the_kernels():
    text = "".join(p.read_text() for p in FOLDERS[0].iterdir())
    for name, value in [
        ("TILE", METHODS["CE"].tile),
        ("MODEL_THREADS", METHODS["FPW"].tile),
        ("BOX_THREADS", METHODS["BLS"].threads),
        ("BOX_TILE", METHODS["BLS"].tile),
        ("PAIRS", METHODS["LS"].threads),
        ("MOST_STEPS", cpu.MOST_STEPS),
        ("TAPS", cpu.TAPS),
        ("MOST_PEAKS", launch.MOST_PEAKS),
        ("ALIGN", launch.ALIGN),
        ("SEGMENT_ROOM", launch.SEGMENT_ROOM),
        ("SMALL_COUNTS", launch.SMALL_COUNTS),
    ]:
        assert f"constexpr int {name} = {value};" in text, name
    assert METHODS["MHAOV"].tile == 2 * METHODS["MHAOV"].threads == 2 * METHODS["LS"].threads  # both have PAIRS
    assert f"MOST_HARMONICS = {MOST_HARMONICS};" in text
    assert METHODS["LS"].threads * 2 - cpu.TAPS + 1 == launch.INTERVALS
    assert "NEARLY_SINGULAR = 0.1f" in text
    assert cpu.NEARLY_SINGULAR == 0.1


def test_source_has_its_header_in_place():
    for path in (p for folder in FOLDERS for p in folder.glob("*.cu")):
        text = source(path.stem)
        assert "#include" not in text
        assert text.count("struct Output {") == 1


def test_without_a_gpu_the_reason_is_given():
    try:
        import cupy

        if cupy.cuda.is_available():
            pytest.skip("a CUDA device is here")
    except ImportError:
        pass
    with pytest.raises(RunError, match=r"needs CuPy|no CUDA device"):
        CupyDevice()
