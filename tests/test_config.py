"""Options from YAML: the round trip, and every sentence that says what is wrong."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_dask import config
from scope_dask.conditioning.lightcurves import LightCurveOptions
from scope_dask.config import (
    ArchiveOptions,
    HatsOptions,
    KowalskiSourceOptions,
    PipelineOptions,
    RubinOptions,
    RunOptions,
    ScoreOptions,
    SourceOptions,
)
from scope_dask.errors import OptionError, SourceError
from scope_dask.extraction.features import FeatureOptions
from scope_dask.mapping import from_mapping
from scope_dask.periods.options import PeriodOptions
from scope_dask.simulate import SimulationOptions

MINIMAL = {"out": "out", "sources": {"simulate": {}}}


def build(**changes) -> PipelineOptions:
    return from_mapping(PipelineOptions, {**MINIMAL, **changes}, "my.yaml")


archives = st.builds(
    ArchiveOptions,
    path=st.one_of(st.just("data"), st.just(("a.parquet", "b.parquet"))),
    field=st.one_of(st.none(), st.integers(0, 2000), st.just((296, 297))),
    ids=st.one_of(st.none(), st.lists(st.integers(0, 2**62), min_size=1, max_size=3).map(tuple)),
    cone=st.one_of(st.none(), st.just((10.5, -20.25, 60.0))),
    partition_bytes=st.one_of(st.just("64 MiB"), st.integers(1, 10**9)),
)
hats = st.builds(
    HatsOptions,
    path=st.just("s3://bucket/lc"),
    columns=st.one_of(st.none(), st.just({"_id": "oid", "field": 0, "catflags": None})),
    source_list=st.one_of(st.none(), st.just("mine.csv")),
)
rubin = st.builds(
    RubinOptions,
    path=st.just("dp1"),
    bands=st.sampled_from([("g",), ("u", "y")]),
    low=st.sampled_from(["drop", "flag"]),
    flags=st.one_of(st.none(), st.just(("psfFlux_flag",))),
)
kowalski = st.builds(
    KowalskiSourceOptions,
    field=st.one_of(st.integers(0, 2000), st.just((296, 297))),
    limit=st.one_of(st.none(), st.integers(1, 100)),
)
pipelines = st.builds(
    PipelineOptions,
    out=st.text("abc/é ", min_size=1, max_size=8),
    sources=st.one_of(
        st.builds(SourceOptions, archive=archives),
        st.builds(SourceOptions, hats=hats),
        st.builds(SourceOptions, rubin=rubin),
        st.builds(SourceOptions, kowalski=kowalski),
        st.builds(SourceOptions, simulate=st.builds(SimulationOptions, n_light_curves=st.integers(1, 10**9))),
    ),
    lightcurves=st.builds(
        LightCurveOptions, min_n_lc_points=st.integers(0, 500), min_cadence_minutes=st.floats(0, 1e4)
    ),
    features=st.builds(
        FeatureOptions,
        periods=st.builds(
            PeriodOptions,
            algorithms=st.sampled_from([("LS",), ("LS", "CE", "AOV"), ("ELS_ECE_EAOV",)]),
            max_freq=st.floats(1e-3, 1e4),
            baseline_days=st.one_of(st.none(), st.floats(1.0, 1e4)),
            remove_terrestrial=st.booleans(),
        ),
        fourier=st.sampled_from(["raw", "documented"]),
    ),
    scores=st.one_of(st.none(), st.builds(ScoreOptions, models=st.just("models"))),
    run=st.builds(RunOptions, n_workers=st.one_of(st.none(), st.integers(1, 64))),
)


@given(pipelines)
@settings(max_examples=50, deadline=None)
def test_options_survive_the_round_trip_through_yaml(options) -> None:
    content = yaml.safe_load(config.dump(options))
    assert from_mapping(PipelineOptions, content, "dump") == options


@pytest.mark.parametrize("name", ["default.yaml", "smoke.yaml", "configs/smoke.yaml"])
def test_packaged_configurations_are_found_by_name_from_any_folder(name, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert isinstance(config.load(name), PipelineOptions)


def test_a_file_in_the_working_folder_wins_over_the_packaged_one(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("smoke.yaml").write_text("out: mine\nsources: {simulate: {}}\n")
    assert config.load("smoke.yaml").out == "mine"


def test_defaults_are_those_of_the_dataclasses() -> None:
    options = build()
    assert options.lightcurves == LightCurveOptions()
    assert options.features == FeatureOptions()
    assert options.run == RunOptions()
    assert options.scores is None


@pytest.mark.parametrize(
    ("options", "reader"),
    [
        (ArchiveOptions, "scope_dask.sources.archive.read_archive"),
        (HatsOptions, "scope_dask.sources.hats.read_hats"),
        (RubinOptions, "scope_dask.sources.rubin.reader.read_rubin"),
        (KowalskiSourceOptions, "scope_dask.sources.kowalski.reader.read_kowalski"),
    ],
)
def test_options_of_a_source_are_the_arguments_of_its_reader(options, reader) -> None:
    module, _, name = reader.rpartition(".")
    arguments = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    for field in dataclasses.fields(options):
        if field.name in ("source_list", "radius_arcsec"):
            continue
        if field.default is not dataclasses.MISSING:
            assert field.default == arguments[field.name].default, field.name
    left = set(arguments) - {field.name for field in dataclasses.fields(options)}
    assert left <= {"near", "kowalski"}


def test_lists_become_tuples_so_that_options_are_hashable() -> None:
    options = build(features={"periods": {"algorithms": ["LS", "CE"]}})
    assert options.features.periods.algorithms == ("LS", "CE")
    assert hash(options.features) == hash(FeatureOptions(periods=PeriodOptions(algorithms=("LS", "CE"))))


WRONG = {
    "unknown key": ({"outt": "x"}, r"^my\.yaml: there is no option 'outt' \(did you mean 'out'\?\); there are out, "),
    "unknown key inside": (
        {"features": {"periods": {"max_frequency": 5}}},
        r"^my\.yaml: features: periods: there is no option 'max_frequency' \(did you mean 'max_freq'\?\)",
    ),
    "unknown key of an optional block": (
        {"sources": {"archive": {"path": "x", "fields": 1}}},
        r"^my\.yaml: sources: archive: there is no option 'fields' \(did you mean 'field'\?\)",
    ),
    "no mapping": ({"features": "LS"}, r"^my\.yaml: features: expected keys and values, found 'LS'$"),
    "wrong type": (
        {"lightcurves": {"min_n_lc_points": "many"}},
        r"^my\.yaml: lightcurves\.min_n_lc_points is 'many'; .*integer",
    ),
    "fraction for an integer": (
        {"lightcurves": {"min_n_lc_points": 1.5}},
        r"^my\.yaml: lightcurves\.min_n_lc_points is 1\.5; .*integer",
    ),
    "wrong type in a union": ({"run": {"n_workers": "two"}}, r"^my\.yaml: run\.n_workers is 'two'; .*integer"),
    "missing key": ({"scores": {}}, r"^my\.yaml: scores\.models is \{\}; .*required"),
    "below the range": (
        {"lightcurves": {"min_cadence_minutes": -1}},
        r"^my\.yaml: min_cadence_minutes is -1.*; it must be 0 or more$",
    ),
    "outside the range inside": (
        {"features": {"periods": {"max_freq": 0}}},
        r"^my\.yaml: max_freq is 0.*; it must be greater than 0$",
    ),
    "no workers": ({"run": {"n_workers": 0}}, r"^my\.yaml: n_workers is 0; it must be 1 or more$"),
    "unknown word": (
        {"features": {"fourier": "both"}},
        r"^my\.yaml: features\.fourier is 'both'; .*'raw' or 'documented'",
    ),
    "unknown algorithm": (
        {"features": {"periods": {"algorithms": ["LSS"]}}},
        r"^my\.yaml: there is no period algorithm 'LSS' \(did you mean 'LS'\?\); there are LS, CE, ",
    ),
    "both sources": (
        {"sources": {"simulate": {}, "archive": {"path": "data"}}},
        r"^my\.yaml: sources needs exactly one of archive, simulate, .*rubin, found archive and simulate$",
    ),
    "ids twice": (
        {"sources": {"hats": {"path": "lc", "ids": [1], "source_list": "mine.csv"}}},
        r"^my\.yaml: ids and source_list are both given: name the light curves in one place$",
    ),
    "unknown word of a survey": (
        {"sources": {"rubin": {"path": "dp1", "low": "keep"}}},
        r"^my\.yaml: sources\.rubin\.low is 'keep'; .*'drop' or 'flag'",
    ),
    "unknown key of a survey": (
        {"sources": {"kowalski": {"fild": 296}}},
        r"^my\.yaml: sources: kowalski: there is no option 'fild' \(did you mean 'field'\?\)",
    ),
    "no source": ({"sources": {}}, r"^my\.yaml: sources needs exactly one of .*, found none of them$"),
}


@pytest.mark.parametrize(("changes", "sentence"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_in_one_sentence(changes, sentence) -> None:
    with pytest.raises(OptionError, match=sentence) as error:
        build(**changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [None, [], "text", 3])
def test_a_document_that_is_no_mapping(content) -> None:
    with pytest.raises(OptionError, match=r"^x\.yaml: expected keys and values, found "):
        from_mapping(PipelineOptions, content, "x.yaml")


def test_missing_required_keys_are_named() -> None:
    with pytest.raises(OptionError, match=r"^x\.yaml: out is .*required"):
        from_mapping(PipelineOptions, {"sources": {"simulate": {}}}, "x.yaml")


def test_an_absent_file_is_named(tmp_path) -> None:
    with pytest.raises(SourceError, match=r"^the configuration .*absent\.yaml cannot be read: No such file"):
        config.load(tmp_path / "absent.yaml")


def test_a_folder_is_no_file(tmp_path) -> None:
    with pytest.raises(SourceError, match=r"cannot be read: Is a directory"):
        config.load(tmp_path)


def test_broken_yaml_is_one_sentence(tmp_path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("out: [1,\nsources: {")
    with pytest.raises(SourceError, match=r"broken\.yaml is not YAML: .*line 2") as error:
        config.load(path)
    assert "\n" not in str(error.value)


def test_options_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError, match="out"):
        build().out = "elsewhere"
