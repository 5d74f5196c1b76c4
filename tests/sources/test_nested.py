"""Light curves to and from nested frames, and every stage inside an LSDB catalogue."""

from __future__ import annotations

import functools
import sys
import warnings
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from curve_tables import curve_table, observed
from irsa_files import irsa_table

import scope_dask as sd
from scope_dask import tally
from scope_dask.errors import SchemaError, UsageError
from scope_dask.extraction.features import FeatureOptions
from scope_dask.periods.options import PeriodOptions
from scope_dask.sources import read_archive
from scope_dask.sources.hats import ZTF, with_columns
from scope_dask.sources.nested import from_nested, map_catalog, to_nested

nested_pandas = pytest.importorskip("nested_pandas", reason="the catalog extra is not installed")

OPTIONS = FeatureOptions(periods=PeriodOptions(algorithms=("LS", "CE"), max_freq=3.0, top_n_periods=3))
LIGHTCURVES = functools.partial(sd.lightcurves, min_n_lc_points=20)
FEATURES = functools.partial(sd.features, options=OPTIONS)
# LSDB 0.11 itself uses what pandas 3.1 deprecates.
OF_LSDB = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")


def raw(n: int = 12, float_type: Any = None) -> pd.DataFrame:
    """Return light curves spread over the sky; one is too short for the conditioning."""
    curves = [(*observed(60 if k else 5, seed=k), np.zeros(60 if k else 5, int)) for k in range(n)]
    frame = curve_table(curves, float_type=float_type)
    return frame.assign(ra=np.linspace(10.0, 50.0, n))


@pytest.mark.parametrize("float_type", [pa.float32(), pa.float64()], ids=str)
def test_the_round_trip_changes_nothing(float_type: Any) -> None:
    frame = raw(float_type=float_type).set_index(pd.Index(np.arange(12) * 3, name="row")).assign(note=1.5)
    tally.put(frame, [{"stage": "sources"}])
    nested = to_nested(frame)
    assert isinstance(nested, nested_pandas.NestedFrame)
    assert nested.nested_columns == ["lightcurve"]
    assert nested.get_subcolumns() == [f"lightcurve.{c}" for c in ("hjd", "mag", "magerr", "catflags")]
    np.testing.assert_array_equal(nested["lightcurve.mag"].loc[3], frame["mag"].iloc[1])
    back = from_nested(nested)
    pd.testing.assert_frame_equal(back, frame)
    assert tally.history(back) == [{"stage": "sources"}]


def test_empty_frames_and_empty_lists() -> None:
    frame = curve_table([([], [], [], []), ([2458000.0], [17.0], [0.1], [3])])
    pd.testing.assert_frame_equal(from_nested(to_nested(frame)), frame)
    pd.testing.assert_frame_equal(from_nested(to_nested(frame.iloc[:0])), frame.iloc[:0])


def test_without_flags_and_with_another_name() -> None:
    frame = raw().drop(columns="catflags")
    pd.testing.assert_frame_equal(from_nested(to_nested(frame)), frame)
    nested = to_nested(frame, "points")
    assert nested.nested_columns == ["points"]
    with pytest.raises(SchemaError, match=r"from_nested needs the column lightcurve\.hjd for hjd; there are _id, "):
        from_nested(nested)


def test_lazily() -> None:
    frame = raw()
    lazy = dd.from_pandas(frame, npartitions=3)
    nested = to_nested(lazy)
    assert isinstance(nested._meta, nested_pandas.NestedFrame)
    assert isinstance(nested.partitions[1].compute(), nested_pandas.NestedFrame)
    back = from_nested(nested)
    pd.testing.assert_frame_equal(back.compute(), frame)
    assert dict(back.dtypes) == dict(frame.dtypes)


@pytest.mark.parametrize("kind", ["nested", "struct of lists", "list of structs"])
def test_what_ztf_publishes(tmp_path: Path, kind: str) -> None:
    table = irsa_table([5, 0, 12], times=pa.float64())
    names = ["hmjd", "mag", "magerr", "clrcoeff", "catflags"]
    lists = [table[name].combine_chunks() for name in names]
    nest = pa.StructArray.from_arrays(lists, names=names)
    if kind == "list of structs":
        inner = pa.StructArray.from_arrays([a.flatten() for a in lists], names=names)
        nest = pa.ListArray.from_arrays(lists[0].offsets, inner)
    frame = table.drop_columns(names).to_pandas()
    frame["lightcurve"] = pd.Series(pd.arrays.ArrowExtensionArray(nest))
    if kind == "nested":
        frame["lightcurve"] = frame["lightcurve"].astype(nested_pandas.NestedDtype(nest.type))
    pa.parquet.write_table(table, tmp_path / "x.parquet")
    found = from_nested(frame, ZTF).drop(columns="nepochs")
    pd.testing.assert_frame_equal(found, read_archive(tmp_path).compute())
    other = from_nested(frame, with_columns(ZTF, {"field": 7, "ccd": "rcid"}, 0.0))
    assert other["field"].tolist() == [7] * 3
    assert other["ccd"].tolist() == [5] * 3
    np.testing.assert_array_equal(other["hjd"].iloc[0], table["hmjd"][0].as_py())


def test_lists_of_different_lengths_are_named() -> None:
    frame = curve_table([([1.0, 2.0], [1.0], [1.0, 1.0])])
    with pytest.raises(SchemaError, match="to_nested needs lists of one length in each row: hjd and mag differ"):
        to_nested(frame)


def test_without_the_extra_one_sentence_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nested_pandas", None)
    with pytest.raises(UsageError, match=r"nested-pandas is not installed: pip install 'scope_dask\[catalog\]'$"):
        to_nested(raw())


# --- inside a catalogue of LSDB ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lsdb() -> Any:
    """The package; importing it sets an option that newer pandas deprecates."""
    pytest.importorskip("hats", reason="the catalog extra is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("lsdb", reason="the catalog extra is not installed")


def catalog_of(lsdb: Any, frame: pd.DataFrame) -> Any:
    return lsdb.from_dataframe(
        frame, ra_column="ra", dec_column="dec", lowest_order=2, highest_order=3, margin_threshold=None
    )


def computed(catalog: Any, like: pd.DataFrame) -> pd.DataFrame:
    found = pd.DataFrame(catalog.compute(progress_bar=False)).sort_values("_id", ignore_index=True)
    # LSDB keeps numbers in Arrow; the values must be the same to the last bit.
    return found.astype({name: dtype for name, dtype in like.dtypes.items() if found[name].dtype != dtype})


def compare(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    for frame in (found, wanted):
        if "dmdt" in frame:
            frame["dmdt"] = [tuple(row) for row in frame["dmdt"]]
    pd.testing.assert_frame_equal(found, wanted, check_exact=True, check_flags=False)


@OF_LSDB
def test_stages_run_unchanged_in_map_partitions(lsdb: Any) -> None:
    frame = raw()
    catalog = catalog_of(lsdb, frame)
    assert catalog.npartitions > 3
    curves = catalog.map_partitions(sd.lightcurves, min_n_lc_points=20, meta=LIGHTCURVES(catalog.meta))
    wanted = LIGHTCURVES(frame)
    assert len(wanted) == 11
    compare(computed(curves, wanted), wanted)
    table = curves.map_partitions(sd.features, OPTIONS, meta=sd.features(curves.meta, OPTIONS))
    wanted = FEATURES(wanted)
    compare(computed(table, wanted), wanted)


@OF_LSDB
def test_stages_on_a_nested_catalogue_keep_the_spatial_index(lsdb: Any, tmp_path: Path) -> None:
    frame = raw()
    catalog = catalog_of(lsdb, to_nested(frame))
    assert catalog.nested_columns == ["lightcurve"]
    table = map_catalog(catalog, from_nested, LIGHTCURVES, FEATURES)
    wanted = FEATURES(LIGHTCURVES(frame))
    partition = table.compute(progress_bar=False)
    assert partition.index.name == "_healpix_29"
    index = catalog.compute(progress_bar=False).reset_index().set_index("_id")["_healpix_29"]
    assert (index.loc[partition["_id"]].to_numpy() == partition.index.to_numpy()).all()
    compare(computed(table, wanted), wanted)
    near = table.cone_search(float(frame["ra"][4]), float(frame["dec"][4]), 1.0)
    assert near.compute(progress_bar=False)["_id"].tolist() == [frame["_id"][4]]


@OF_LSDB
def test_a_lazy_table_of_a_catalogue(lsdb: Any) -> None:
    frame = raw()
    lazy = from_nested(catalog_of(lsdb, to_nested(frame)).to_dask_dataframe())
    assert isinstance(lazy, dd.DataFrame)
    wanted = FEATURES(LIGHTCURVES(frame))
    found = sd.features(sd.lightcurves(lazy, min_n_lc_points=20), OPTIONS).compute()
    compare(found.sort_values("_id", ignore_index=True), wanted)


@OF_LSDB
def test_a_catalogue_of_ztf_after_its_position_is_renamed(lsdb: Any) -> None:
    names = ["hmjd", "mag", "magerr", "clrcoeff", "catflags"]
    table = irsa_table([60] * 5, positions=pa.float64())
    frame = table.drop_columns(names).to_pandas().assign(objra=np.linspace(10.0, 50.0, 5), objdec=30.0)
    nest = pa.StructArray.from_arrays([table[name].combine_chunks() for name in names], names=names)
    frame["lightcurve"] = pd.Series(pd.arrays.ArrowExtensionArray(nest))
    catalog = lsdb.from_dataframe(
        nested_pandas.NestedFrame(frame), ra_column="objra", dec_column="objdec", lowest_order=2, margin_threshold=None
    ).rename({"objra": "ra", "objdec": "dec"})
    take = functools.partial(from_nested, layout=with_columns(ZTF, {"ra": "ra", "dec": "dec"}, ZTF.time_offset))
    found = map_catalog(catalog, take, LIGHTCURVES)
    wanted = LIGHTCURVES(from_nested(frame, ZTF))
    compare(computed(found, wanted), wanted)
    near = found.cone_search(20.0, 30.0, 1.0).compute(progress_bar=False)
    assert near["_id"].tolist() == [frame["objectid"][1]]
