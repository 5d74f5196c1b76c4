"""Scores of neural networks: files, the kernel, the stage."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from keras_files import keras2_file, network, reference

from scope_dask import tally
from scope_dask.errors import ModelError, SchemaError
from scope_dask.formats import read_table, write_table
from scope_dask.inference.dnn import network_score, read_network
from scope_dask.inference.models import load_models
from scope_dask.inference.preparation import Inputs, Preparation, dmdt_values, predict
from scope_dask.inference.scores import scores
from scope_dask.schema import DMDT
from scope_dask.training.fitting import train
from scope_dask.training.options import TrainingOptions

NAMES = ("skew", "wstd", "iqr", "ad", "chi2red")
# Rounding of float32 sums of some hundred terms of order 1, halved by the slope of the sigmoid (at most 1/4).
TOLERANCE = 1e-6


def table(n: int = 40, seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n, len(NAMES))), columns=list(NAMES))
    frame.insert(0, "_id", 10**15 + np.arange(n))
    return frame.assign(dmdt=column(rng.random((n, 676)), np.zeros(n, bool)))


def column(values: np.ndarray, missing: np.ndarray) -> pd.Series:
    arrow: Any = DMDT.pandas_dtype
    flat = pa.array(values.astype("f4").ravel())
    lists = pa.FixedSizeListArray.from_arrays(flat, type=arrow.pyarrow_dtype, mask=pa.array(missing))
    return pd.Series(pd.arrays.ArrowExtensionArray(lists))


def preparation(**changes: Any) -> Preparation:
    return replace(Preparation(NAMES, (0.5,) * 5, "min_max", (0.1,) * 5, (2.0,) * 5), **changes)


def saved(folder: Path, content: bytes, name: str = "vnv.20221117_001502.h5") -> Path:
    path = folder / "vnv" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("n_features", "image"), [(5, True), (5, False), (0, True)])
@pytest.mark.parametrize("widths", [(256, 32, 16, 32, 16), (20, 7, 5, 18, 3)])
def test_the_kernel_is_the_network(n_features: int, image: bool, widths: tuple[int, ...]) -> None:
    rng = np.random.default_rng(8)
    net = network(n_features, image, widths=widths)
    x, dmdt = rng.normal(size=(12, n_features)).astype("f4"), rng.random((12, 676)).astype("f4")
    rows = np.array([*rng.permutation(11), -1])
    expected = reference(net, x, np.vstack([dmdt[rows[:-1]], np.zeros((1, 676))]))
    found = network_score(net)(x, dmdt if image else None, rows)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)
    assert np.ptp(expected) > 0.01


def test_the_network_of_scope_has_its_number_of_weights() -> None:
    def count(net: Any) -> int:
        return sum(w.size for layer in (*net.dense, *net.convolutions, *net.head) for w in layer)

    assert count(network(35, True)) == 20_986


@pytest.mark.parametrize("image_first", [False, True])
def test_a_file_of_keras_2_is_read(tmp_path: Path, image_first: bool) -> None:
    frame, net = table(), network(5, True)
    path = saved(tmp_path, keras2_file(net, image_first))
    models = load_models(path, preparation())
    assert models.columns == ["vnv_dnn"]
    assert models.models[0].preparation.dmdt == "zero"
    x = ((frame[list(NAMES)] - 0.1) / 2).to_numpy(dtype="f4")
    if image_first:  # the file's head takes the convolutions' outputs first, those of the weights second
        (kernel, bias), last = net.head
        net = replace(net, head=((np.concatenate([kernel[32:], kernel[:32]]), bias), last))
    expected = reference(net, x, dmdt_values(frame["dmdt"])[0])
    np.testing.assert_allclose(scores(frame, models)["vnv_dnn"], expected, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no file of Keras", "cannot be read as a Keras model"),
        (keras2_file(network(5, True), activation="tanh"), "separable_conv2d_0 has activation 'tanh', not 'relu'"),
        (keras2_file(network(5, True), padding="same"), "has padding 'same', not 'valid'"),
        (keras2_file(network(4, True)), "takes 4 features and dmdt, and would be given 5 features and dmdt"),
        (
            keras2_file(network(5, True)).replace(b"MaxPooling2D", b"AvePooling2D"),
            "it has a layer AvePooling2D; expected the network of SCoPe",
        ),
    ],
)
def test_other_files_are_told(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_models(saved(tmp_path, content), preparation())


def test_a_model_without_a_manifest_needs_its_features(tmp_path: Path) -> None:
    path = saved(tmp_path, keras2_file(network(5, False)))
    with pytest.raises(ModelError, match="has no manifest"):
        load_models(path)
    with pytest.raises(ModelError, match="the features of 'vnv' were not given"):
        load_models(path, {"other": preparation()})
    assert load_models(tmp_path, {"vnv": preparation()}).models[0].preparation.dmdt is None
    with pytest.raises(ModelError, match="is no model by its name"):
        load_models(saved(tmp_path, b"", "vnv.txt"), preparation())


@pytest.mark.parametrize("partitions", [1, 3, 7])
def test_scores_do_not_depend_on_partitions_order_and_neighbours(tmp_path: Path, partitions: int) -> None:
    models = load_models(saved(tmp_path, keras2_file(network(5, True))), preparation())
    frame = table(50)
    expected = scores(frame, models).set_index("_id")
    shuffled = frame.sample(frac=1, random_state=partitions).reset_index(drop=True)
    lazy = scores(dd.from_pandas(shuffled, npartitions=partitions, sort=False), models)
    found = lazy.compute(scheduler="threads").set_index("_id")
    pd.testing.assert_frame_equal(found.loc[expected.index], expected, check_exact=True)
    assert len(scores(frame.iloc[:0], models)) == 0


def test_what_is_missing_is_imputed_or_set_aside_and_shifts_no_other(tmp_path: Path) -> None:
    path = saved(tmp_path, keras2_file(network(5, True)))
    frame = table(8)
    whole = scores(frame, load_models(path, preparation()))["vnv_dnn"].to_numpy()
    values, _ = dmdt_values(frame["dmdt"])
    gaps = frame.assign(dmdt=column(values, np.arange(8) == 2))
    gaps.loc[1, "wstd"] = np.nan
    gaps.loc[4, list(NAMES)] = np.nan
    zeros = values.copy()
    zeros[2] = 0.0
    filled = frame.assign(dmdt=column(zeros, np.zeros(8, bool)))
    filled.loc[1, "wstd"] = 0.5
    found = scores(gaps, load_models(path, preparation()))["vnv_dnn"].to_numpy()
    expected = scores(filled, load_models(path, preparation()))["vnv_dnn"].to_numpy(copy=True)
    expected[4] = np.nan
    np.testing.assert_array_equal(found, expected)

    strict = load_models(path, preparation(imputation=(0.5, None, 0.5, 0.5, 0.5), dmdt="none"))
    out = scores(gaps, strict)
    assert np.flatnonzero(out["vnv_dnn"].isna()).tolist() == [1, 2, 4]
    kept = [0, 3, 5, 6, 7]
    np.testing.assert_array_equal(out["vnv_dnn"].to_numpy()[kept], whole[kept])
    noted = [(i - 10**15, reason) for i, reason in tally.history(out)[0]["set_aside"]]
    reason = "a feature is missing that is not imputed by the models vnv"
    assert noted == [(1, reason), (2, reason)]


def test_features_beyond_the_range_of_floats_are_set_aside(tmp_path: Path) -> None:
    models = load_models(saved(tmp_path, keras2_file(network(5, False))), preparation())
    frame = table(3)
    frame.loc[1, "skew"] = 1e300
    out = scores(frame, models)
    assert out["vnv_dnn"].isna().tolist() == [False, True, False]
    assert "so large that there is no score" in tally.history(out)[0]["set_aside"][0][1]


def test_without_features_a_row_needs_a_histogram(tmp_path: Path) -> None:
    models = load_models(saved(tmp_path, keras2_file(network(0, True))), Preparation((), ()))
    frame = table(4)
    frame["dmdt"] = column(dmdt_values(frame["dmdt"])[0], np.array([False, True, False, False]))
    assert scores(frame[["_id", "dmdt"]], models)["vnv_dnn"].isna().tolist() == [False, True, False, False]


def test_a_histogram_with_a_missing_number_is_none(tmp_path: Path) -> None:
    values = np.ones((4, 676))
    values[1, 300] = np.nan
    dmdt, there = dmdt_values(column(values, np.array([True, False, False, False])).iloc[1:])
    assert there.tolist() == [False, True, True]
    assert dmdt.shape == (3, 676)
    nested = pd.Series([None, [1.0] * 676], dtype=pd.ArrowDtype(pa.list_(pa.float32())))
    assert dmdt_values(nested)[1].tolist() == [False, True]


def test_a_table_without_histograms_is_told_before_anything_runs(tmp_path: Path) -> None:
    models = load_models(saved(tmp_path, keras2_file(network(5, True))), preparation())
    lazy = dd.from_pandas(table(10), npartitions=2)
    with pytest.raises(ModelError, match=r"the model 'vnv' needs columns .*: dmdt"):
        scores(lazy[["_id", *NAMES]], models)
    with pytest.raises(SchemaError, match="dmdt is float64"):
        scores(lazy.assign(dmdt=1.0), models)


def test_inputs_can_be_rounded_to_half_precision() -> None:
    values = np.array([[1 / 3, 1e9, -1e300]])
    half = Preparation(("a", "b", "c"), (0.0,) * 3, float_bits=16)
    np.testing.assert_array_equal(half.apply(values), np.float32([[np.float16(1 / 3), 65504.0, -65504.0]]))
    assert predict(lambda x, h, r: x[:, 0], half, Inputs(values))[0] == np.float32(np.float16(1 / 3))


def test_one_folder_may_hold_both_kinds(tmp_path: Path) -> None:
    frame = table(80)
    labels = pd.DataFrame({"_id": frame["_id"], "vnv": (frame["skew"] > 0).astype(float)})
    train(frame, labels, "vnv", TrainingOptions(features=NAMES, num_boost_round=5)).save(tmp_path)
    saved(tmp_path, keras2_file(network(5, True)), "vnv.20200101_000000.h5")
    newest = saved(tmp_path, keras2_file(network(5, True, seed=9)))
    models = load_models(tmp_path, preparation())
    assert models.columns == ["vnv_dnn", "vnv_xgb"]
    assert models.models[0].path == str(newest.resolve())
    out = scores(frame, models)
    for one in models:
        alone = scores(frame, load_models(one.path, preparation()))[one.column]
        np.testing.assert_array_equal(out[one.column], alone)


def test_a_new_process_gives_the_same_scores(tmp_path: Path) -> None:
    frame = table(70)
    labels = pd.DataFrame({"_id": frame["_id"], "a": (frame["skew"] > 0).astype(float)})
    train(frame, labels, "a", TrainingOptions(features=NAMES, num_boost_round=20)).save(tmp_path / "models")
    saved(tmp_path / "models", keras2_file(network(5, True)))
    write_table(frame, tmp_path / "features.parquet", {})
    code = (
        "import pathlib, scope_dask as sd; from scope_dask.formats import read_table, write_table;"
        "from scope_dask.inference.models import Preparation;"
        f"models = sd.load_models('models', {preparation()!r});"
        "found = sd.scores(read_table(pathlib.Path('features.parquet')), models);"
        "write_table(found, pathlib.Path('scores.parquet'), {})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = scores(frame, load_models(tmp_path / "models", preparation()))
    assert list(expected.columns) == ["_id", "a_xgb", "vnv_dnn"]
    pd.testing.assert_frame_equal(read_table(tmp_path / "scores.parquet"), expected, check_exact=True)


def test_a_manifest_of_the_first_format_is_read(tmp_path: Path) -> None:
    frame = table(80)
    labels = pd.DataFrame({"_id": frame["_id"], "a": (frame["skew"] > 0).astype(float)})
    path = train(frame, labels, "a", TrainingOptions(features=NAMES, num_boost_round=5)).save(tmp_path)
    manifest = path.with_suffix(".manifest.json")
    content = json.loads(manifest.read_text()) | {"format": 1}
    del content["dmdt"], content["copies"], content["scaling"]["float_bits"]
    expected = load_models(path)
    manifest.write_text(json.dumps(content))
    assert load_models(path) == expected


def test_scoring_needs_no_tensorflow(tmp_path: Path) -> None:
    path = saved(tmp_path, keras2_file(network(5, False)))
    code = (
        "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None;"
        "import numpy as np;"
        "from scope_dask.inference.models import load_models, score_of, Preparation;"
        f"model = load_models({str(path)!r}, Preparation({NAMES!r}, (0.0,) * 5)).models[0];"
        "assert 'numba' not in sys.modules;"
        "assert score_of(model)(np.ones((1, 5), np.float32), None, np.zeros(1, np.int64)).shape == (1,)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


_WRITE_WITH_KERAS_2 = """
import sys, numpy as np, tf_keras as keras
from tf_keras.layers import (Concatenate, Dense, Dropout, GlobalAveragePooling2D, Input, MaxPooling2D,
                             SeparableConv2D)
keras.utils.set_random_seed(1)
features, dmdt = Input((35,), name="features"), Input((26, 26, 1), name="dmdt")
x = Dense(32, "relu")(Dropout(0.25)(Dense(256, "relu")(features)))
y = SeparableConv2D(16, 3, activation="relu")(SeparableConv2D(16, 3, activation="relu")(dmdt))
y = MaxPooling2D(2)(Dropout(0.25)(y))
y = SeparableConv2D(32, 3, activation="relu")(SeparableConv2D(32, 3, activation="relu")(y))
y = GlobalAveragePooling2D()(Dropout(0.25)(y))
z = Dense(1, "sigmoid", name="score")(Dense(16, "relu")(Dropout(0.4)(Concatenate()([x, y]))))
model = keras.Model([features, dmdt], z)
model.compile(keras.optimizers.legacy.Adam(3e-4, amsgrad=True), "binary_crossentropy", metrics=["accuracy"])
rng = np.random.default_rng(1)
given = [rng.normal(size=(64, 35)).astype("f4"), rng.random((64, 26, 26, 1)).astype("f4")]
model.fit(given, given[0][:, :1] > 0, verbose=0)
model.save(sys.argv[1])
np.savez(sys.argv[2], x=given[0], dmdt=given[1], score=model.predict(given, verbose=0)[:, 0])
"""


@pytest.mark.slow
def test_a_file_that_keras_2_itself_wrote(tmp_path: Path) -> None:
    if importlib.util.find_spec("tf_keras") is None:
        pytest.skip("Keras 2 (the package tf-keras) is not installed")
    files = [str(tmp_path / name) for name in ("a.20220101_000000.h5", "a.npz")]
    subprocess.run([sys.executable, "-c", _WRITE_WITH_KERAS_2, *files], check=True, capture_output=True)
    net = read_network(Path(files[0]).read_bytes(), files[0])
    with np.load(files[1]) as given:
        found = network_score(net)(given["x"], given["dmdt"].reshape(64, 676), np.arange(64))
        np.testing.assert_allclose(found, given["score"], atol=TOLERANCE)
