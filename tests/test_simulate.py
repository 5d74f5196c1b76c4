"""The simulated tables: lazy, each light curve reproducible on its own, on a plausible sky and cadence."""

from __future__ import annotations

import pickle
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from astropy.wcs import WCS
from dask.tokenize import tokenize

from scope_dask import simulate
from scope_dask.conditioning.lightcurves import LightCurveOptions, lightcurves
from scope_dask.errors import OptionError, SchemaError, UsageError
from scope_dask.schema import RAW_LIGHTCURVES
from scope_dask.simulate import SimulationOptions, label_table, simulate_sources, truth
from scope_dask.simulate.survey import field_centre, survey

PERIODIC = ("RR Lyrae ab", "RR Lyrae c", "EA", "EW", "sinusoidal", "LPV")
SMALL = {"n_light_curves": 210, "light_curves_per_partition": 70, "n_points": (20, 40, 80)}


@pytest.fixture(scope="module")
def field() -> tuple[SimulationOptions, pd.DataFrame, pd.DataFrame]:
    """(options, light curves, truth) of 1,500 light curves."""
    options = SimulationOptions(n_light_curves=1500, light_curves_per_partition=500)
    return options, *(
        t.compute(scheduler="sync").reset_index(drop=True) for t in (simulate_sources(options), truth(options))
    )


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"n_light_curves": 0}, "n_light_curves is 0, expected an integer from 1"),
        ({"n_light_curves": 10.0}, "n_light_curves is 10.0, expected an integer"),
        ({"light_curves_per_partition": -1}, "light_curves_per_partition is -1"),
        ({"stars_per_quadrant": 0}, "stars_per_quadrant is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": True}, "seed is True"),
        ({"field": 900}, "field is 900, expected 1 to 889 or 1001 to 1889"),
        ({"field": 5000}, "field is 5000"),
        ({"n_points": (1, 2)}, "n_points has 2 values, expected 3"),
        ({"n_points": (3, 2, 1)}, "expected percentiles in ascending order"),
        ({"n_points": 300}, "n_points is 300, expected a list"),
        ({"n_points": (0, 2, 3)}, "n_points is 0"),
        ({"magnitudes": (20, 14)}, "expected the brightest first"),
        ({"magnitudes": (14,)}, "magnitudes has 1 values, expected 2"),
        ({"magnitudes": (14, "x")}, "magnitudes is 'x', expected a number"),
        ({"baseline_days": 0}, "baseline_days is 0, expected a number from 1"),
        ({"baseline_days": float("nan")}, "baseline_days is nan"),
        ({"first_hjd": 58000.0}, "first_hjd is 58000.0"),
        ({"magnitude_slope": 2}, "magnitude_slope is 2"),
        ({"flagged_fraction": 1.5}, "flagged_fraction is 1.5"),
        ({"flagged_fraction": 0.7, "outlier_fraction": 0.7}, "is 1.4, expected at most 1"),
        ({"class_fractions": {"EAA": 1.0}}, r"no class 'EAA' \(did you mean 'EA'\?\)"),
        ({"class_fractions": {"EA": 0.5}}, "add up to 0.5, expected 1"),
        ({"class_fractions": {"EA": -1}}, "class_fractions of EA is -1"),
        ({"class_fractions": 3}, "class_fractions is 3, expected a mapping"),
    ],
)
def test_options_outside_their_range(option: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        SimulationOptions(**option)  # type: ignore[arg-type]


def test_options_from_yaml_types_are_equal_hashable_and_picklable() -> None:
    plain = SimulationOptions(n_points=[80, 300, 700], class_fractions=dict(SimulationOptions().class_fractions))  # type: ignore[arg-type]
    assert plain == SimulationOptions() == pickle.loads(pickle.dumps(plain))
    assert hash(plain) == hash(SimulationOptions())
    assert tokenize(plain) == tokenize(SimulationOptions()) != tokenize(SimulationOptions(seed=2))


def test_field_that_is_not_visible() -> None:
    with pytest.raises(OptionError, match=r"field 296 has no exposure in the 20 days from HJD 2458194.5"):
        simulate_sources(SimulationOptions(baseline_days=20))


def test_meta_and_partitions_have_the_declared_columns() -> None:
    options = SimulationOptions(**SMALL)  # type: ignore[arg-type]
    for table, schema in ((simulate_sources(options), simulate.SIMULATED), (truth(options), simulate.TRUTH)):
        part = table.partitions[0].compute(scheduler="sync")
        assert list(part.columns) == schema.names
        assert part.dtypes.to_dict() == table._meta.dtypes.to_dict()
    RAW_LIGHTCURVES.require(simulate_sources(options)._meta, "test")


def test_light_curves_do_not_depend_on_partitions_or_their_number() -> None:
    def table(size: int, n: int = 210) -> pd.DataFrame:
        options = SimulationOptions(**SMALL | {"light_curves_per_partition": size, "n_light_curves": n})  # type: ignore[arg-type]
        lazy = simulate_sources(options)
        assert lazy.npartitions == -(-n // size)
        return lazy.compute(scheduler="sync").reset_index(drop=True)

    one = table(210)
    for other in (table(210), table(70), table(30), table(210, n=300).head(210)):
        pd.testing.assert_frame_equal(one, other)


def test_seed_and_field_give_other_light_curves() -> None:
    one, *others = (
        simulate_sources(SimulationOptions(**SMALL | change)).partitions[0].compute(scheduler="sync")  # type: ignore[arg-type]
        for change in ({}, {"seed": 2}, {"field": 297})
    )
    for other in others:
        assert not set(one["ra"]) & set(other["ra"])
        assert not set(np.concatenate(one["hjd"])) & set(np.concatenate(other["hjd"]))


def test_graph_of_a_billion_light_curves_is_cheap() -> None:
    options = SimulationOptions(n_light_curves=10**9, light_curves_per_partition=10**4)
    simulate_sources(SimulationOptions(**SMALL))  # type: ignore[arg-type]
    tracemalloc.start()
    sources, known = simulate_sources(options), truth(options)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sources.npartitions == known.npartitions == 10**5
    assert peak < 20e6
    last = sources.partitions[99_999][["_id", "filter"]].compute(scheduler="sync")
    assert len(last) == 10**4
    assert len(sources.partitions[10:20].optimize().__dask_graph__()) == 10


def test_projection_reaches_the_simulation() -> None:
    options = SimulationOptions(**SMALL)  # type: ignore[arg-type]
    for table in (simulate_sources(options), truth(options)):
        columns = [table.columns[-1], "_id"]
        source = list(table[columns].optimize(fuse=False).expr.walk())[-1]
        assert set(source.operand("columns")) == set(columns)
        pd.testing.assert_frame_equal(
            table[columns].compute(scheduler="sync"), table.compute(scheduler="sync")[columns]
        )
        assert len(table) == 210


def test_truth_is_aligned_with_the_light_curves() -> None:
    options = SimulationOptions(**SMALL)  # type: ignore[arg-type]
    for i in range(3):
        part, known = (t.partitions[i].compute(scheduler="sync") for t in (simulate_sources(options), truth(options)))
        assert part["_id"].tolist() == known["_id"].tolist()
        assert [len(x) for x in part["hjd"]] == known["n_points"].tolist()


def test_conditioning_takes_the_light_curves() -> None:
    curves = lightcurves(simulate_sources(SimulationOptions(n_light_curves=150)), LightCurveOptions())
    assert 50 < len(curves.compute(scheduler="sync")) < 150


def test_identifiers_are_unique_and_spell_out_the_quadrant() -> None:
    tables = [
        simulate_sources(SimulationOptions(n_light_curves=30_000, stars_per_quadrant=20, field=f))[
            ["_id", "field", "filter", "ccd", "quad"]
        ].compute(scheduler="sync")
        for f in (296, 1296)
    ]
    both = pd.concat(tables)
    assert both["_id"].is_unique
    spelt = [f"{f}{b}{c:02d}{q}" for f, b, c, q in both[["field", "filter", "ccd", "quad"]].to_numpy()]
    assert both["_id"].astype(str).str[:-8].tolist() == spelt
    assert both.groupby(["ccd", "quad"]).ngroups == 64
    assert both["filter"].value_counts(normalize=True).round(3).to_dict() == {1: 0.467, 2: 0.467, 3: 0.067}


@pytest.mark.parametrize("field_number", [1, 296, 880, 1500])
def test_positions_are_in_their_quadrant(field_number: int) -> None:
    options = SimulationOptions(
        n_light_curves=6000, light_curves_per_partition=6000, stars_per_quadrant=30, field=field_number
    )
    frame = simulate_sources(options)[["ra", "dec", "ccd", "quad"]].compute(scheduler="sync")
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.cdelt = (
        ["RA---TAN", "DEC--TAN"],
        field_centre(field_number),
        [1.0, 1.0],
    )
    x, y = wcs.wcs_world2pix(frame["ra"], frame["dec"], 0) - wcs.wcs.crpix[0] + 1
    column, row = np.floor(x / 1.87 + 2).astype(int), np.floor(y / 1.87 + 2).astype(int)
    assert (frame["ccd"] == 4 * row + 4 - column).all()
    east, north = x / 1.87 + 2 - column > 0.5, y / 1.87 + 2 - row > 0.5
    assert (frame["quad"] == np.select([east & north, north, ~east], [1, 2, 3], 4)).all()


def test_times_are_ordered_and_shared_by_a_quadrant_and_filter(field: tuple) -> None:
    options, frame, _ = field
    exposures = survey(options)
    for (ccd, quad, band), group in frame.groupby(["ccd", "quad", "filter"]):
        shared = exposures.hjd[exposures.start[band - 1] : exposures.start[band]]
        rc = 4 * (ccd - 1) + quad - 1
        shared = shared[exposures.usable[exposures.start[band - 1] : exposures.start[band], rc]]
        assert (np.diff(shared) > 0).all()
        for hjd in group["hjd"]:
            assert (np.diff(hjd) > 0).all()
            assert np.isin(hjd, shared).all()


def test_cadence_has_seasons_and_pairs_of_visits(field: tuple) -> None:
    options, frame, _ = field
    hjd = frame["hjd"][frame["filter"] == 2]
    everything = np.unique(np.concatenate(hjd.to_list()))
    assert options.first_hjd < everything[0]
    assert everything[-1] - everything[0] < options.baseline_days
    gaps = np.diff(everything)
    assert 4 <= (gaps > 60).sum() <= 6
    assert 80 < gaps.max() < 200
    steps = np.concatenate([np.diff(h) for h in hjd])
    assert 0.05 < (steps < 1 / 48).mean() < 0.3
    assert 0.1 < ((steps > 1 / 48) & (steps < 0.3)).mean() < 0.4


def test_numbers_of_points_follow_the_percentiles() -> None:
    options = SimulationOptions(n_light_curves=6000, light_curves_per_partition=6000)
    frame = truth(options).compute(scheduler="sync")
    found = np.percentile(frame["n_points"], [10, 50, 90])
    # i has fewer exposures than the median wanted, and the largest numbers are cut
    np.testing.assert_allclose(found, [80, 300, 700], rtol=0.1)


def test_magnitudes_stay_in_their_range_and_variables_are_detectable(field: tuple) -> None:
    _, _, known = field
    assert known["mean_mag"].between(14, 20.5).all()
    red = known[known["amplitude_mag"] > 0]
    error = np.hypot(0.012, 0.2 * 10 ** (0.4 * (red["mean_mag"] - 20.5)))
    assert (red["amplitude_mag"] / error).quantile(0.02) > 2.5
    narrow = truth(SimulationOptions(n_light_curves=60, magnitudes=(17, 17.2), magnitude_slope=0)).compute(
        scheduler="sync"
    )
    assert narrow["mean_mag"].between(17, 17.2).all()


def test_classes_come_in_their_fractions(field: tuple) -> None:
    options, _, _ = field
    many = truth(SimulationOptions(n_light_curves=30_000)).compute(scheduler="sync").drop_duplicates("star_id")
    found = many["class_label"].value_counts(normalize=True)
    for name, fraction in options.class_fractions:
        assert found[name] == pytest.approx(fraction, abs=5 * np.sqrt(fraction / len(many)))
    periodic = many["class_label"].isin(PERIODIC)
    assert (many["period_days"].notna() == periodic).all()


def test_light_curves_of_a_star_share_class_period_and_place(field: tuple) -> None:
    _, frame, known = field
    known = known.assign(ra=frame["ra"], dec=frame["dec"], band=frame["filter"])
    assert (known.groupby("star_id")[["class_label", "ra", "dec"]].nunique() == 1).all(axis=None)
    assert (known.groupby("star_id")["period_days"].nunique() <= 1).all()
    assert not known.duplicated(["star_id", "band"]).any()


def test_label_table() -> None:
    frame = pd.DataFrame({"_id": range(8), "class_label": simulate.CLASS_LABELS}, index=range(10, 18))
    table = label_table(frame)
    assert table["_id"].tolist() == list(range(8))
    assert table.index.tolist() == list(range(10, 18))
    assert (table.drop(columns="_id").dtypes == "float64").all()
    members = {name: frame["class_label"][table[name] == 1].tolist() for name in table.columns[1:]}
    assert members.pop("variable") == list(simulate.CLASS_LABELS[:-1])
    assert members.pop("periodic") == list(PERIODIC)
    assert members.pop("eclipsing") == ["EA", "EW"]
    assert members.pop("RR Lyrae") == ["RR Lyrae ab", "RR Lyrae c"]
    assert members.pop("pulsator") == ["RR Lyrae ab", "RR Lyrae c", "LPV"]
    assert members == {name: [name] for name in simulate.CLASS_LABELS}


def test_label_table_of_other_tables() -> None:
    with pytest.raises(SchemaError, match="label_table needs the column class_label"):
        label_table(pd.DataFrame({"_id": [1]}))
    with pytest.raises(UsageError, match="found the class 'Cepheid' in 1 rows, expected one of RR Lyrae ab"):
        label_table(pd.DataFrame({"_id": [1], "class_label": ["Cepheid"]}))
