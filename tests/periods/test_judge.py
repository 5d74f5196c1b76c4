"""What is said of the periods of a search: refined, resolved, related, agreeing."""

from __future__ import annotations

import numpy as np
import pytest

from scope_dask.periods.judge import RELATIONS, judge
from scope_dask.periods.options import PeriodOptions
from scope_dask.periods.search import search
from scope_dask.ragged import LightCurves
from scope_dask.schema import feature_schema

TRUE_PERIOD = 0.5717


def nightly(rng, n=150, noise=0.02, period=TRUE_PERIOD):
    """A saw-tooth seen once a night at nearly the same hour: its aliases are strong."""
    t = 2459000.0 + np.sort(rng.choice(400, n, replace=False)) + 0.06 * rng.random(n)
    phase = t / period % 1.0
    m = 16 + np.where(phase < 0.2, 3.0 - 4.0 * phase / 0.2, -1.0 + 4.0 * (phase - 0.2) / 0.8) * 0.2
    return t, m + noise * rng.standard_normal(n), np.full(n, noise)


def test_an_alias_is_resolved_and_named():
    rng = np.random.default_rng(1)
    curves = LightCurves.from_lists([nightly(rng) for _ in range(6)])
    options = PeriodOptions(("ELS", "ECE"), max_freq=6.0)
    results = search(curves, options)
    columns = judge(curves, results, options)
    np.testing.assert_allclose(columns["period_resolved"], TRUE_PERIOD, rtol=1e-4)
    assert (columns["period_resolved_score"] > 10).all()
    of_alias = np.abs(np.abs(results["ELS"].frequency - 1 / TRUE_PERIOD) - 1.0) < 2e-3
    assert of_alias.any(), "the simulation has no alias to resolve"
    for name, found in results.items():
        right = np.abs(found.frequency * TRUE_PERIOD - 1) < 1e-3
        assert (columns[f"relation_{name}"][right] == "same").all()
    assert all(word.startswith("alias: ") for word in columns["relation_ELS"][of_alias])


def test_refined_periods_are_nearer_the_truth_than_the_grid():
    rng = np.random.default_rng(2)
    curves = LightCurves.from_lists([nightly(rng, noise=0.005) for _ in range(8)])
    options = PeriodOptions(("LS", "AOV"), max_freq=3.0, samples_per_peak=3, aliases=False)
    results = search(curves, options)
    columns = judge(curves, results, options)
    assert set(columns) == {f"period_refined{kind}_{name}" for kind in ("", "_error") for name in results}
    for name, found in results.items():
        right = np.abs(found.period / TRUE_PERIOD - 1) < 2e-3
        assert right.any()
        before, after = (np.abs(p[right] - TRUE_PERIOD) for p in (found.period, columns[f"period_refined_{name}"]))
        assert np.median(after) < 0.3 * np.median(before)
        assert (after < 8 * columns[f"period_refined_error_{name}"][right]).all()


@pytest.mark.parametrize("refine", [True, False])
@pytest.mark.parametrize("aliases", [True, False])
@pytest.mark.parametrize("algorithms", [("ELS_ECE_EAOV",), ("CE",), ("LS", "MHAOV")])
def test_the_columns_are_those_of_the_schema(algorithms, refine, aliases):
    options = PeriodOptions(algorithms, max_freq=2.0, refine=refine, aliases=aliases)
    curves = LightCurves.from_lists([nightly(np.random.default_rng(3), 40)])
    columns = judge(curves, search(curves, options), options)
    without = feature_schema(options.written, refine=False, aliases=False)
    assert set(columns) == set(options.schema.names) - set(without.names)


def test_light_curves_without_a_period_have_no_verdict():
    t, m, e = nightly(np.random.default_rng(4), 60)
    lists = [(t, np.full(60, 15.0), e), (t[:2], m[:2], e[:2]), (np.full(60, t[0]), m, e), (t, m, e)]
    options = PeriodOptions(max_freq=3.0)
    curves = LightCurves.from_lists(lists)
    columns = judge(curves, search(curves, options), options)
    for name, values in columns.items():
        assert (values[:3] != values[:3]).all(), name  # NaN
        if values.dtype == object:
            assert values[3].split(":")[0] in RELATIONS
        else:
            assert not np.isnan(values[3]), name


def test_in_threads_it_is_the_same():
    rng = np.random.default_rng(6)
    curves = LightCurves.from_lists([nightly(rng, n) for n in (60, 0, 40, 3, 90)])
    options = PeriodOptions(max_freq=3.0)
    results = search(curves, options)
    alone, together = (judge(curves, results, options, threads) for threads in (1, 3))
    assert alone.keys() == together.keys()
    for name, values in alone.items():
        np.testing.assert_array_equal(together[name].astype(str), values.astype(str))


def test_one_method_agrees_with_none():
    curves = LightCurves.from_lists([nightly(np.random.default_rng(5), 60)])
    options = PeriodOptions(("CE",), max_freq=3.0)
    assert np.isnan(judge(curves, search(curves, options), options)["period_agreement"]).all()
