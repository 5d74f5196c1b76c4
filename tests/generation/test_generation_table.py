"""The table of generated features: the same from Kowalski and from files, in the order of the original's columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dask
import generation_sky as sky
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hats_files import hats_catalog
from kowalski_server import KowalskiServer
from numpy.testing import assert_allclose, assert_array_equal

import scope_dask as sd
from scope_dask.crossmatch.schema import EXTERNAL_FIELDS
from scope_dask.errors import OptionError
from scope_dask.extraction.fourier import fourier
from scope_dask.generation import ArchiveOrigin, Quadrant, SpecificIds, feature_table
from scope_dask.periods.options import PeriodOptions
from scope_dask.ragged import LightCurves
from scope_dask.schema import FOURIER, STATISTICS
from scope_dask.sources.kowalski import disconnect

ALL_IDS = sky.light_curves()["_id"].to_numpy()
NO_PERIODS = replace(sky.QUICK, find_periods=False)
NOWHERE = Quadrant(999, 1, 1)


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> dict[str, Path]:
    with dask.config.set(scheduler="sync"):
        return sky.save(tmp_path_factory.mktemp("sky"))


@pytest.fixture(scope="module")
def server() -> Iterator[KowalskiServer]:
    running = sky.server()
    yield running
    disconnect()
    running.close()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with dask.config.set(scheduler="sync"):
        yield


def archive(paths: dict[str, Path]) -> dict:
    return {"origin": ArchiveOrigin(str(paths["archive"])), "catalogs": sky.local_catalogs(paths)}


@pytest.mark.parametrize(
    ("what", "options"),
    [
        (sky.HERE, sky.QUICK),
        (sky.HERE, replace(NO_PERIODS, first=5)),
        (sky.HERE, replace(NO_PERIODS, max_timestamp_hjd=2459000.0)),
        (sky.HERE, replace(NO_PERIODS, bright_stars=None)),
        (SpecificIds(ALL_IDS[3:20], {int(ALL_IDS[4]): "here"}), NO_PERIODS),
        (SpecificIds(ALL_IDS, {}), replace(NO_PERIODS, first=4)),
        (NOWHERE, NO_PERIODS),
    ],
    ids=["quadrant", "stop early", "early date", "near bright stars", "ids", "first ids", "nothing there"],
)
def test_kowalski_and_files_give_the_same(server, paths, what, options) -> None:
    there = feature_table(what=what, options=options, **sky.from_kowalski(server))
    local = feature_table(what=what, options=options, **archive(paths))
    pd.testing.assert_frame_equal(there._meta, local._meta)
    found = sky.sorted_features(there.compute())
    pd.testing.assert_frame_equal(found, sky.sorted_features(local.compute()))
    assert (len(found) > 0) == (what is not NOWHERE)
    assert found["_id"].is_unique


def test_rows_are_those_of_the_stages_one_by_one(paths) -> None:
    found = sky.sorted_features(feature_table(what=sky.HERE, options=sky.QUICK, **archive(paths)).compute())
    frame = sky.light_curves()
    cut = frame.copy()
    for name in ("hjd", "mag", "magerr", "catflags"):
        cut[name] = pd.Series(
            [v[t <= sky.END] for v, t in zip(map(np.array, frame[name]), map(np.array, frame["hjd"]), strict=True)]
        ).astype(frame[name].dtype)
    curves = sd.lightcurves(cut, sky.QUICK.lightcurves)
    curves = curves[curves["_id"].isin(found["_id"])]
    expected = sky.sorted_features(sd.features(curves, sky.QUICK.features))
    pd.testing.assert_frame_equal(found[list(expected.columns)], expected)
    assert max(map(max, frame["hjd"][frame["_id"].isin(found["_id"])])) > sky.END


def test_columns_are_the_originals_in_its_order_and_ours_after_them(paths) -> None:
    periods = PeriodOptions(algorithms=("LS", "CE"), max_freq=1.0)
    options = replace(sky.QUICK, features=replace(sky.QUICK.features, periods=periods))
    columns = list(feature_table(what=sky.HERE, options=options, **archive(paths)).columns)
    expected = ["_id", "radec_geojson", "ra", "dec", "field", "ccd", "quad", "filter", *STATISTICS.names]
    expected += [f"{name}_{a}" for a in ("LS", "CE") for name in ("period", "significance", "pdot")]
    expected += [f"f1_{name}_{a}" for a in ("LS", "CE") for name in FOURIER]
    expected += ["dmdt", "n_ztf_alerts", "mean_ztf_alert_braai"]
    expected += [f"{name}__{field}" for name, fields in EXTERNAL_FIELDS.items() for field in fields]
    assert len(expected) == 101
    assert columns[:101] == expected
    assert {"period_refined_LS", "relation_CE", "period_resolved"} <= set(columns[101:])


def test_without_a_device_every_period_is_one_day(paths) -> None:
    found = feature_table(what=sky.HERE, options=NO_PERIODS, **archive(paths)).compute().reset_index(drop=True)
    for name in ("period_Ones", "significance_Ones", "pdot_Ones"):
        assert_array_equal(found[name], np.ones(len(found)))
    curves = sd.lightcurves(sky.light_curves(), sky.QUICK.lightcurves)
    own = LightCurves.from_frame(curves[curves["_id"] == found["_id"][0]])
    assert_array_equal(found.loc[0, [f"f1_{name}_Ones" for name in FOURIER]], fourier(*own.arrays, np.ones(1))[0])
    assert not [name for name in found.columns if name.startswith("period_") and name != "period_Ones"]


def test_sizes_of_batches_and_queries_change_no_value_and_no_name(server) -> None:
    expected = feature_table(what=sky.HERE, options=NO_PERIODS, **sky.from_kowalski(server))
    options = replace(NO_PERIODS, period_batch_size=4)
    other = feature_table(what=sky.HERE, options=options, **sky.from_kowalski(server, query_rows=2, max_queries=1))
    assert other._name == expected._name
    pd.testing.assert_frame_equal(other.compute(), expected.compute())


def test_names_come_with_their_ids_and_each_row_has_its_own_quadrant(server) -> None:
    what = SpecificIds(ALL_IDS, {int(ALL_IDS[0]): "first", int(ALL_IDS[-1]): "last"})
    found = feature_table(what=what, options=NO_PERIODS, **sky.from_kowalski(server)).compute()
    assert list(found.columns[:3]) == ["_id", "radec_geojson", "fritz_name"]
    named = found.dropna(subset="fritz_name").set_index("_id")["fritz_name"].to_dict()
    assert named == {int(ALL_IDS[0]): "first", int(ALL_IDS[-1]): "last"}
    places = sky.light_curves().set_index("_id").loc[found["_id"], ["field", "ccd", "quad"]]
    assert_array_equal(found[["field", "ccd", "quad"]], places)
    assert set(found["quad"]) == {3, 4}


def test_the_position_is_as_the_database_has_it(server) -> None:
    found = feature_table(what=sky.HERE, options=NO_PERIODS, **sky.from_kowalski(server)).compute()
    pairs = np.array([[float(x) for x in row["coordinates"]] for row in found["radec_geojson"]])
    assert_allclose(pairs, np.column_stack([found["ra"] - 180, found["dec"]]), rtol=0, atol=0)


def test_cesium_features_are_those_of_cesium_and_its_skew_replaces_nothing(paths) -> None:
    featurize = pytest.importorskip("cesium.featurize")
    series = pytest.importorskip("cesium.time_series").TimeSeries
    names = ("amplitude", "skew", "cad_probs_10", "period_fast")
    options = replace(NO_PERIODS, cesium=names)
    found = feature_table(what=sky.HERE, options=options, **archive(paths)).compute().set_index("_id")
    columns = ["amplitude", "cesium_skew", "cad_probs_10", "period_fast"]
    assert list(found.columns[7:12]) == [*columns, "n"]
    plain = feature_table(what=sky.HERE, options=NO_PERIODS, **archive(paths)).compute().set_index("_id")
    assert_array_equal(found["skew"], plain["skew"])
    curves = sd.lightcurves(sky.light_curves(), sky.QUICK.lightcurves)
    first = curves[curves["_id"] == found.index[0]].iloc[0]
    t, m, e = (np.array(first[name], dtype=float) for name in ("hjd", "mag", "magerr"))
    expected = featurize.featurize_single_ts(series(t=t, m=m, e=e), list(names)).to_numpy()
    assert_array_equal(found.iloc[0][columns].to_numpy(float), expected)
    with pytest.raises(OptionError, match=r"cesium has no feature 'amplitud' \(did you mean 'amplitude'\?\); it has "):
        feature_table(what=sky.HERE, options=replace(options, cesium=("amplitud",)), **archive(paths))


def test_catalogues_that_are_not_there_add_no_columns(paths) -> None:
    table = feature_table(ArchiveOrigin(str(paths["archive"])), sky.HERE, NO_PERIODS)
    assert not [name for name in table.columns if "__" in name or "alert" in name]
    assert len(table) > len(feature_table(what=sky.HERE, options=NO_PERIODS, **archive(paths)))


def test_options_out_of_range_are_named() -> None:
    with pytest.raises(OptionError, match="period_batch_size is 0; it must be 1 or more"):
        replace(NO_PERIODS, period_batch_size=0)
    with pytest.raises(OptionError, match=r"max_timestamp_hjd is -1\.0; it must be a Julian date above 0"):
        replace(NO_PERIODS, max_timestamp_hjd=-1.0)


def test_a_hats_catalogue_gives_the_same(paths, tmp_path) -> None:
    frame = sky.light_curves()
    points = {
        "hmjd": [[t - 2400000.5 for t in curve] for curve in frame["hjd"]],
        **{name: frame[name].tolist() for name in ("mag", "magerr", "catflags")},
    }
    types = {"hmjd": pa.float64(), "mag": pa.float64(), "magerr": pa.float64(), "catflags": pa.int32()}
    lists = [pa.array(points[name], pa.list_(kind)) for name, kind in types.items()]
    stored = {"objectid": "_id", "objra": "ra", "objdec": "dec", "fieldid": "field", "filterid": "filter"}
    columns = {name: frame[own].to_numpy() for name, own in stored.items()}
    columns["rcid"] = (4 * (frame["ccd"] - 1) + frame["quad"] - 1).to_numpy()
    table = pa.table({**columns, "lightcurve": pa.StructArray.from_arrays(lists, list(types))})
    root = hats_catalog(tmp_path / "hats", table, (5, 6), ("objra", "objdec"))
    expected = feature_table(what=sky.HERE, options=NO_PERIODS, **archive(paths)).compute()
    found = feature_table(ArchiveOrigin(str(root)), sky.HERE, NO_PERIODS, sky.local_catalogs(paths)).compute()
    numbers = ["_id", "ra", "dec", "field", "ccd", "quad", "filter", "n", "median", "n_ztf_alerts", "Gaia_EDR3___id"]
    pd.testing.assert_frame_equal(sky.sorted_features(found)[numbers], sky.sorted_features(expected)[numbers])
