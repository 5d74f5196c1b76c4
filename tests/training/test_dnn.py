"""Training of neural networks: options, the network, its files."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from keras_files import keras2_file, network

from scope_dask.errors import ModelError, OptionError, SchemaError, UsageError
from scope_dask.inference.dnn import network_score
from scope_dask.inference.models import load_models, read_manifest
from scope_dask.inference.preparation import Inputs, Preparation, dmdt_values
from scope_dask.inference.scores import scores
from scope_dask.schema import DMDT
from scope_dask.training import dnn
from scope_dask.training.dataset import fit_preparation, group_keys
from scope_dask.training.fitting import TrainedModel, cross_validate, thinned, train
from scope_dask.training.options import DNNOptions, TrainingOptions
from scope_dask.training.sample import Sample

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# TensorFlow's variables do not know NumPy 2's argument copy.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

NAMES = ("skew", "wstd", "iqr")
SMALL = DNNOptions(features=NAMES, epochs=2, lr=3e-3, batch_size=32)


@pytest.fixture(scope="session")
def keras() -> Any:
    """Keras, where it is installed; TensorFlow takes about ten seconds to import."""
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the extra dnn)")
    return dnn.keras_modules()[0]


def table(n: int = 300, seed: int = 5) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return features with histograms, some missing, and labels that depend on a feature and on the histogram."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n, len(NAMES))), columns=list(NAMES))
    member = rng.random(n) < 0.3
    frame["skew"] += 1.5 * member
    images = rng.random((n, 676)).astype("f4") * np.where(member, 0.6, 1.0)[:, None].astype("f4")
    frame = frame.mask(rng.random(frame.shape) < 0.02)
    arrow: Any = DMDT.pandas_dtype
    flat = pa.array(images.ravel())
    lists = pa.FixedSizeListArray.from_arrays(flat, type=arrow.pyarrow_dtype, mask=pa.array(rng.random(n) < 0.02))
    frame.insert(0, "_id", rng.permutation(10**15 + np.arange(n)))
    frame["dmdt"] = pd.Series(pd.arrays.ArrowExtensionArray(lists))
    return frame, pd.DataFrame({"_id": frame["_id"], "vnv": member.astype(float)})


@pytest.fixture(scope="module")
def trained(keras: Any) -> TrainedModel:
    frame, labels = table()
    return train(frame, labels, "vnv", dataclasses.replace(SMALL, epochs=4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dense_branch": False, "conv_branch": False}, "dense_branch and conv_branch are both off"),
        ({"lr": 0.0}, "lr is 0.0; expected above 0"),
        ({"optimizer": "adma"}, r"optimizer is 'adma' \(did you mean 'adam'\?\)"),
        ({"monitor": "val_los"}, r"monitor is 'val_los' \(did you mean 'val_loss'\?\)"),
        ({"callbacks": ("early_stoping",)}, "did you mean 'early_stopping'"),
        ({"float_convert_types": (6, 4)}, r"float_convert_types is \(6, 4\)"),
        ({"imputation_of": {"dmdt": "median"}}, r"imputation_of\['dmdt'\] is 'median'"),
        ({"balance": 0.5}, "balance is 0.5; expected None or at least 1"),
        ({"patience": 0}, "patience is 0"),
        ({"val_size": 0.0}, "val_size is 0.0"),
    ],
)
def test_wrong_options_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        DNNOptions(**change)


def test_tensorflow_is_loaded_when_used_and_without_it_the_extra_is_named() -> None:
    code = (
        "import sys, scope_dask.inference.scores; from scope_dask.training import dnn;"
        "assert not {'tensorflow', 'keras', 'xgboost', 'sklearn'} & set(sys.modules);"
        "sys.modules['keras'] = None;"
        "dnn.build(3, True, 1)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "UsageError: training a neural network needs TensorFlow" in done.stderr
    assert done.stderr.rstrip().endswith("pip install 'scope_dask[dnn]'")


def test_balance_thins_the_larger_kind() -> None:
    rows, y = np.arange(100, 150), np.array([1.0] * 10 + [0.0] * 40)
    kept = thinned(rows, y, DNNOptions(balance=1.5))
    assert kept[:10].tolist() == rows[:10].tolist()
    assert len(kept) == 25
    assert (np.diff(kept) > 0).all()
    np.testing.assert_array_equal(kept, thinned(rows, y, DNNOptions(balance=1.5)))
    assert set(kept) != set(thinned(rows, y, DNNOptions(balance=1.5, random_state=1)))
    assert len(thinned(rows, 1 - y, DNNOptions(balance=1.5))) == 25
    assert len(thinned(rows, y, DNNOptions(balance=9.0))) == 50
    np.testing.assert_array_equal(thinned(rows, y, TrainingOptions()), rows)


def test_features_are_scaled_by_stated_statistics() -> None:
    stats = {"a": {"min": 1.0, "max": 5.0, "median": 2.0, "std": 3.0}, "period": {"median": 0.5, "std": 2.0}}
    values = np.arange(9.0).reshape(3, 3)
    names = ("a", "period_LS", "b")
    options = DNNOptions(scaling="median_std", feature_stats=stats, period_suffix="LS")
    prepared = fit_preparation(values, names, options)
    assert prepared.offset == (2.0, 0.5, 5.0)
    assert prepared.scale == (3.0, 2.0, np.std([2.0, 5.0, 8.0]))
    assert prepared.imputation == (3.0, 4.0, 5.0)
    assert (prepared.dmdt, prepared.float_bits) == ("zero", 32)
    assert fit_preparation(values[:, :1], ("a",), DNNOptions(feature_stats=stats)).scale == (4.0,)
    with pytest.raises(UsageError, match="feature_stats of period_LS has no number min or max"):
        fit_preparation(values, names, dataclasses.replace(options, scaling="min_max"))


@pytest.mark.parametrize(
    ("n_features", "conv", "count"), [(35, True, 20_986), (35, False, 17_985), (0, True, 3_034), (10, True, 14_586)]
)
def test_the_network_has_the_layers_of_the_original(keras: Any, n_features: int, conv: bool, count: int) -> None:
    model = dnn.build(n_features, conv, 1)
    assert model.count_params() == count
    assert [tensor.name for tensor in model.inputs] == ["features"] * bool(n_features) + ["dmdt"] * conv
    if conv:
        shapes = {name: tuple(model.get_layer(name).output.shape[1:]) for name in ("conv_1", "conv_2", "pool")}
        assert shapes == {"conv_1": (24, 24, 16), "conv_2": (22, 22, 16), "pool": (11, 11, 16)}
        assert model.get_layer("conv_4").output.shape[1:] == (7, 7, 32)
        assert model.get_layer("mean").output.shape[1:] == (32,)
    rates = {layer.name: layer.rate for layer in model.layers if "dropout" in layer.name}
    dense, convolved = {"dropout_dense": 0.25}, {"dropout_conv_1": 0.25, "dropout_conv_2": 0.25}
    assert rates == {"dropout_head": 0.4} | (dense if n_features else {}) | (convolved if conv else {})


def test_options_reach_the_optimizer(keras: Any) -> None:
    model = dnn.build(3, False, 1)
    options = DNNOptions(
        lr=0.02, beta_1=0.8, beta_2=0.9, epsilon=1e-5, amsgrad=False, loss="binary_focal_crossentropy", run_eagerly=True
    )
    dnn._compile(keras, model, options)
    assert float(model.optimizer.learning_rate.numpy()) == np.float32(0.02)
    settings = model.optimizer.get_config()
    assert [settings[k] for k in ("beta_1", "beta_2", "epsilon", "amsgrad")] == [0.8, 0.9, 1e-5, False]
    assert model.loss == "binary_focal_crossentropy"
    assert model.run_eagerly
    dnn._compile(keras, model, DNNOptions(optimizer="sgd", momentum=0.5, lr=0.1))
    assert model.optimizer.get_config()["momentum"] == 0.5
    assert not model.run_eagerly


def test_options_reach_the_callbacks(keras: Any, tmp_path: Path) -> None:
    both = dnn._callbacks(keras, DNNOptions(monitor="val_auc", patience=7, lr_factor=0.3))
    reduce, stop = both
    assert (reduce.monitor, reduce.patience, reduce.factor, reduce.mode) == ("val_auc", 3, 0.3, "max")
    assert (stop.monitor, stop.patience, stop.mode, stop.restore_best_weights) == ("val_auc", 7, "max", True)
    assert [c.mode for c in dnn._callbacks(keras, DNNOptions(monitor="fn", lr_patience=2))] == ["min", "min"]
    assert dnn._callbacks(keras, DNNOptions(callbacks=())) == []
    if dnn.importlib.util.find_spec("tensorboard"):
        options = DNNOptions(callbacks=("tensorboard",), tensorboard_dir=str(tmp_path))
        assert dnn._callbacks(keras, options)[0].log_dir == str(tmp_path)
    else:
        with pytest.raises(UsageError, match="needs the package of that name: pip install"):
            dnn._callbacks(keras, DNNOptions(callbacks=("tensorboard",)))


def sample(n: int = 100, **changes: Any) -> Sample:
    rng = np.random.default_rng(2)
    y = (np.arange(n) % 4 == 0).astype(float)
    inputs = Inputs(rng.normal(size=(n, 2)), rng.random((n, 676)).astype("f4"), np.arange(n) != 3)
    parts = {"train": np.arange(80), "val": np.arange(80, 90), "test": np.arange(90, 100)}
    preparation = Preparation(("a", "b"), (0.0, 0.0), dmdt="zero")
    made = Sample(("a", "b"), inputs, y, parts, preparation, group_keys(np.arange(n), None, 0))
    return dataclasses.replace(made, **changes)


def test_an_epoch_has_every_row_once_in_a_random_order_that_is_repeatable(keras: Any) -> None:
    _, tensorflow = dnn.keras_modules()

    def epochs(part: str, options: DNNOptions) -> list[list[Any]]:
        stream = dnn._stream(tensorflow, sample(), part, options)
        return [list(stream.as_numpy_iterator()) for _ in range(2)]

    options = DNNOptions(batch_size=32, shuffle_buffer_size=20, weight_per_class=True)
    first, second = epochs("train", options)
    assert [len(y) for _, y, _ in first] == [32, 32, 16]
    seen = [np.concatenate([x["features"][:, 0] for x, _, _ in e]) for e in (first, second)]
    expected = sample().inputs.values[:80, 0].astype("f4")
    for values in seen:
        np.testing.assert_array_equal(np.sort(values), np.sort(expected))
    assert (seen[0] != seen[1]).any()
    again = np.concatenate([x["features"][:, 0] for x, _, _ in epochs("train", options)[0]])
    np.testing.assert_array_equal(again, seen[0])
    y, weights = (np.concatenate([batch[k].ravel() for batch in first]) for k in (1, 2))
    assert set(weights[y == 1]) == {1.0}
    assert set(weights[y == 0]) == {np.float32(20 / 60)}
    images = np.concatenate([x["dmdt"] for x, _, _ in first])[np.argsort(seen[0])]
    assert images.shape == (80, 26, 26, 1)
    assert (images.sum(axis=(1, 2, 3)) == 0).sum() == 1
    plain = epochs("val", dataclasses.replace(options, conv_branch=False))[0]
    assert list(plain[0][0]) == ["features"]
    assert set(plain[0][2]) == {1.0}
    unweighted = epochs("train", dataclasses.replace(options, weight_per_class=False))[0]
    assert set(unweighted[0][2]) == {1.0}


def test_a_saved_network_scores_as_keras_does(keras: Any, trained: TrainedModel, tmp_path: Path) -> None:
    frame, _ = table(120, seed=6)
    path = trained.save(tmp_path)
    assert sorted(p.suffix for p in path.parent.iterdir()) == [".h5", ".json", ".keras"]
    manifest = read_manifest(path)
    dmdt, there = dmdt_values(frame["dmdt"])
    x = manifest.preparation.apply(frame[list(NAMES)].to_numpy())
    images = np.where(there[:, None], dmdt, 0.0).reshape(-1, 26, 26, 1)
    for file in (path, path.with_suffix(".h5")):
        model = keras.saving.load_model(file, compile=False)
        expected = model({"features": x, "dmdt": images}, training=False).numpy().ravel()
        expected[frame[list(NAMES)].isna().all(axis=1)] = np.nan
        found = scores(frame, load_models(file))["vnv_dnn"]
        np.testing.assert_allclose(found, expected, atol=1e-6)
        np.testing.assert_array_equal(found, trained.predict(frame))
    assert load_models(tmp_path).models[0].path == str(path.resolve())
    path.with_suffix(".h5").write_bytes(path.read_bytes())
    with pytest.raises(ModelError, match="is not the one of its manifest"):
        load_models(path.with_suffix(".h5"))


def test_the_manifest_says_how_it_was_trained(trained: TrainedModel) -> None:
    manifest = trained.manifest
    assert manifest.algorithm == "dnn"
    assert manifest.preparation.features == NAMES
    assert manifest.preparation.scaling == "min_max"
    assert manifest.preparation.dmdt == "zero"
    assert set(manifest.versions) >= {"keras", "tensorflow", "scope_dask"}
    assert manifest.parameters["lr"] == 3e-3
    assert manifest.parameters["epochs_run"] == len(manifest.metrics["history"]["val_loss"]) == 4
    assert manifest.counts["train"]["rows"] + manifest.counts["val"]["rows"] + manifest.counts["test"]["rows"] == 300
    assert manifest.metrics["val"]["roc_auc"] > 0.7


def test_training_repeats_and_goes_on_from_a_saved_network(trained: TrainedModel, tmp_path: Path) -> None:
    frame, labels = table()
    path = trained.save(tmp_path)
    again = train(frame.sample(frac=1, random_state=1), labels, "vnv", dataclasses.replace(SMALL, epochs=4))
    np.testing.assert_array_equal(again.predict(frame), trained.predict(frame))

    # With hardly any learning rate the network stays what it was, fed as its manifest says.
    still = dataclasses.replace(SMALL, epochs=1, lr=1e-9, scaling="none", pre_trained_model=str(path), run_eagerly=True)
    resumed = train(frame, labels, "vnv", still)
    np.testing.assert_allclose(resumed.predict(frame), trained.predict(frame), atol=1e-4)
    assert resumed.manifest.preparation == trained.manifest.preparation


def test_training_goes_on_from_a_network_of_keras_2(keras: Any, tmp_path: Path) -> None:
    path = tmp_path / "vnv.20221117_001502.h5"
    net = network(3, False)
    path.write_bytes(keras2_file(net))
    options = DNNOptions(
        features=NAMES, conv_branch=False, epochs=1, lr=1e-9, run_eagerly=True, pre_trained_model=str(path)
    )
    frame, labels = table(60)
    model = train(frame, labels, "vnv", options)
    x = model.manifest.preparation.apply(frame[list(NAMES)].to_numpy())
    expected = network_score(net)(x, None, np.arange(60))
    np.testing.assert_allclose(model.predict(frame), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": ("skew", "iqr")}, r"was trained on other features.*wstd"),
        ({"conv_branch": False}, r"has other layers than the one to be trained \(conv_1, "),
        ({"pre_trained_model": "nowhere.h5"}, "nowhere.h5 does not exist"),
    ],
)
def test_a_network_that_does_not_fit_is_not_continued(
    trained: TrainedModel, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    frame, labels = table(60)
    options = dataclasses.replace(SMALL, pre_trained_model=str(trained.save(tmp_path)))
    with pytest.raises(ModelError, match=message):
        train(frame, labels, "vnv", dataclasses.replace(options, **change))


def test_learning_rate_falls_and_training_stops_with_the_best_weights(keras: Any) -> None:
    options = DNNOptions(
        features=NAMES,
        conv_branch=False,
        epochs=30,
        lr=0.05,
        patience=3,
        lr_patience=1,
        lr_factor=0.5,
        decay=0.01,
        batch_size=100,
    )
    frame, labels = table()
    history = (model := train(frame, labels, "vnv", options)).manifest.metrics["history"]
    best = int(np.argmin(history["val_loss"]))
    rates = np.array(history["learning_rate"])
    assert len(history["loss"]) == best + 1 + 3 < 30
    assert rates[0] == np.float32(0.05)
    assert set(np.round(np.log2(rates[0] / rates), 4)) >= {0.0, 1.0}
    y = labels["vnv"].to_numpy()
    assert model.manifest.metrics["val"]["accuracy"] == pytest.approx(history["val_accuracy"][best])
    assert ((model.predict(frame) > 0.5) == y)[frame["skew"].notna()].mean() > 0.6


def test_decay_divides_the_learning_rate_of_each_step(keras: Any) -> None:
    rates: list[float] = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            rates.append(float(self.model.optimizer.learning_rate.numpy()))

    _, tensorflow = dnn.keras_modules()
    options = DNNOptions(decay=0.5, lr=0.1, batch_size=40, run_eagerly=True, callbacks=(), conv_branch=False)
    model = dnn.build(2, False, 1)
    dnn._compile(keras, model, options)
    stream = dnn._stream(tensorflow, sample(), "train", options)
    model.fit(stream, epochs=2, callbacks=[*dnn._callbacks(keras, options), Watch()], verbose=0, shuffle=False)
    np.testing.assert_allclose(rates, 0.1 / (1 + 0.5 * np.arange(4)), rtol=1e-6)


def test_cross_validation_and_small_sets(keras: Any) -> None:
    frame, labels = table(60)  # fewer rows than two batches of 64
    options = DNNOptions(features=NAMES, conv_branch=False, epochs=1, run_eagerly=True, float_convert_types=(64, 16))
    found = cross_validate(frame, labels, options=options, n_folds=2)
    assert found["vnv"].notna().all()
    assert found["vnv"].between(0, 1).all()


def test_a_table_without_histograms_is_told(keras: Any) -> None:
    frame, labels = table(60)
    with pytest.raises(SchemaError, match="training needs the column dmdt"):
        train(frame.drop(columns="dmdt"), labels, "vnv", SMALL)


def test_training_that_diverges_is_told() -> None:
    with pytest.raises(UsageError, match=r"diverged: val_loss is not finite; lower lr \(now 1\)"):
        dnn._require_finite({"loss": [0.5], "val_loss": [float("nan")]}, DNNOptions(lr=1.0))


def test_rows_without_a_histogram_are_not_used_where_that_is_wanted() -> None:
    from scope_dask.training.dataset import assemble

    frame, labels = table(100)
    frame[list(NAMES)] = frame[list(NAMES)].fillna(0.0)
    missing = frame["dmdt"].isna().sum()
    assert missing > 0
    for options, unused in ((SMALL, 0), (dataclasses.replace(SMALL, imputation_of={"dmdt": "none"}), missing)):
        assert len(assemble(frame, labels, options).usable("vnv", options)) == 100 - unused
    only = DNNOptions(dense_branch=False)
    data = assemble(frame[["_id", "dmdt"]], labels, only)
    assert len(data.usable("vnv", only)) == 100 - missing
