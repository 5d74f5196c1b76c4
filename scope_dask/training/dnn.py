"""Neural networks: fitting one to a sample with Keras, on TensorFlow."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from scope_dask.errors import ModelError, UsageError
from scope_dask.inference.dnn import WEIGHTS, network_score, read_network, read_weights
from scope_dask.inference.manifest import manifest_path, read_manifest
from scope_dask.inference.network import SIDE, Network
from scope_dask.inference.preparation import Preparation
from scope_dask.training.log import LOGGER
from scope_dask.training.options import METRICS, N_MINIMISED, DNNOptions
from scope_dask.training.sample import Fitted, Sample


def keras_modules(threads: int = 1) -> tuple[Any, Any]:
    """Import and return (keras, tensorflow), with so many threads for each operation.

    TensorFlow takes the number of threads once per process, before its first operation.

    Raises
    ------
    UsageError
        If they are not installed, or Keras was told to use another backend.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # its messages about the processor
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # several processes share a device
    try:
        import keras
        import tensorflow
    except ImportError as error:
        raise UsageError(
            f"training a neural network needs TensorFlow ({error}): pip install 'scope_dask[dnn]'"
        ) from error
    if (backend := keras.backend.backend()) != "tensorflow":
        raise UsageError(f"Keras is set to use {backend}; expected KERAS_BACKEND=tensorflow, or none")
    threading = tensorflow.config.threading
    for read, write in (
        (threading.get_intra_op_parallelism_threads, threading.set_intra_op_parallelism_threads),
        (threading.get_inter_op_parallelism_threads, threading.set_inter_op_parallelism_threads),
    ):
        if read() == 0:  # not set: somebody who uses TensorFlow beside us may have
            write(threads)
    return keras, tensorflow


def build(n_features: int, conv_branch: bool, random_state: int) -> Any:
    """Return the network of `scope_dask.inference.network`, not trained.

    Parameters
    ----------
    n_features : int
        Features of the dense branch; 0: without it.
    conv_branch : bool
        Whether there is a branch for the dmdt histograms.
    random_state : int
        The weights to begin with, and what dropout drops, are drawn from it.

    Returns
    -------
    keras.Model
        With the inputs ``features`` and ``dmdt`` (26, 26, 1) as far as there are branches, and the output ``score``.
    """
    keras, _ = keras_modules()
    seeds = iter(np.random.SeedSequence(random_state).generate_state(40).tolist())
    inputs, outputs = [], []
    if n_features:
        inputs.append(keras.Input((n_features,), name="features"))
        outputs.append(_dense_branch(keras, inputs[-1], seeds))
    if conv_branch:
        inputs.append(keras.Input((SIDE, SIDE, 1), name="dmdt"))
        outputs.append(_conv_branch(keras, inputs[-1], seeds))
    x = keras.layers.Concatenate(name="branches")(outputs) if len(outputs) > 1 else outputs[0]
    x = keras.layers.Dropout(0.4, seed=next(seeds), name="dropout_head")(x)
    x = _dense(keras, 16, "relu", "dense_head", seeds)(x)
    return keras.Model(inputs, _dense(keras, 1, "sigmoid", "score", seeds)(x), name="scope")


def _dense(keras: Any, units: int, activation: str, name: str, seeds: Any) -> Any:
    start = keras.initializers.GlorotUniform(seed=next(seeds))
    return keras.layers.Dense(units, activation=activation, kernel_initializer=start, name=name)


def _dense_branch(keras: Any, x: Any, seeds: Any) -> Any:
    x = _dense(keras, 256, "relu", "dense_1", seeds)(x)
    x = keras.layers.Dropout(0.25, seed=next(seeds), name="dropout_dense")(x)
    return _dense(keras, 32, "relu", "dense_2", seeds)(x)


def _conv_branch(keras: Any, x: Any, seeds: Any) -> Any:
    layers = keras.layers
    pooled = (layers.MaxPooling2D(2, name="pool"), layers.GlobalAveragePooling2D(name="mean"))
    for k, (filters, pool) in enumerate(zip((16, 32), pooled, strict=True)):
        for j in (1, 2):
            starts = [keras.initializers.GlorotUniform(seed=next(seeds)) for _ in range(2)]
            x = layers.SeparableConv2D(
                filters,
                3,
                activation="relu",
                depthwise_initializer=starts[0],
                pointwise_initializer=starts[1],
                name=f"conv_{2 * k + j}",
            )(x)
        x = layers.Dropout(0.25, seed=next(seeds), name=f"dropout_conv_{k + 1}")(x)
        x = pool(x)
    return x


def fit(sample: Sample, options: DNNOptions) -> Fitted:
    """Train a network, or continue the training of one.

    Raises
    ------
    UsageError
        If TensorFlow is not installed, or the training diverges.
    ModelError
        If the network to continue with is of another kind, or made for other features.
    """
    keras, tensorflow = keras_modules(options.n_jobs)
    start = _pre_trained(sample, options)
    preparation = start[1] if start else sample.preparation
    sample = replace(sample, preparation=preparation)
    device = nullcontext() if options.gpu is None else tensorflow.device(f"/GPU:{options.gpu}")
    with device:
        model = build(len(sample.names), options.conv_branch, options.random_state)
        if start:
            _set_weights(model, start[0], str(options.pre_trained_model))
        _compile(keras, model, options)
        history = model.fit(
            _stream(tensorflow, sample, "train", options),
            validation_data=_stream(tensorflow, sample, "val", options),
            epochs=options.epochs,
            callbacks=[*_callbacks(keras, options), keras.callbacks.LambdaCallback(on_epoch_end=_log_epoch)],
            shuffle=False,  # the stream is shuffled
            verbose=options.verbose,
        ).history
    _require_finite(history, options)
    files = _saved(model)
    return Fitted(
        preparation=preparation,
        score=network_score(read_network(files[".keras"], "the trained network")),
        files=files,
        copies=(".h5",),
        parameters={"epochs_run": len(history["loss"])},
        metrics={"history": {name: [float(v) for v in values] for name, values in history.items()}},
        versions={"keras": keras.__version__, "tensorflow": tensorflow.__version__},
    )


def _pre_trained(sample: Sample, options: DNNOptions) -> tuple[Network, Preparation] | None:
    """Return the network to continue with and how it is fed; None: a new one."""
    if options.pre_trained_model is None:
        return None
    path = Path(options.pre_trained_model)
    if not path.is_file():
        raise ModelError(f"{path} does not exist; expected the .keras or .h5 file of a network to continue with")
    read = read_weights if path.name.endswith(WEIGHTS) else read_network
    network = read(path.read_bytes(), str(path))
    preparation = sample.preparation
    if manifest_path(path).is_file():
        preparation = read_manifest(path).preparation
        if preparation.features != sample.names:
            other = sorted(set(preparation.features) ^ set(sample.names))
            raise ModelError(
                f"the network {path} was trained on other features, or in another order "
                f"(not in both: {', '.join(other[:5]) or 'none'}): name the features of its manifest, or train anew"
            )
    return network, preparation


def _set_weights(model: Any, network: Network, where: str) -> None:
    names = ["dense_1", "dense_2"] * bool(network.dense)
    layers: list[tuple[str, Sequence[np.ndarray]]] = list(zip(names, network.dense, strict=True))
    for k, (depthwise, pointwise, bias) in enumerate(network.convolutions):
        layers.append((f"conv_{k + 1}", (depthwise[..., None], pointwise[None, None], bias)))
    layers += zip(("dense_head", "score"), network.head, strict=True)
    weighted = {layer.name: layer for layer in model.layers if layer.weights}
    found = {name: [w.shape for w in weights] for name, weights in layers}
    expected = {name: [tuple(w.shape) for w in layer.weights] for name, layer in weighted.items()}
    if found != expected:
        differ = ", ".join(sorted(n for n in found.keys() | expected.keys() if found.get(n) != expected.get(n)))
        raise ModelError(
            f"the network {where} has other layers than the one to be trained ({differ}): "
            "use the features and branches it was trained with, or train anew"
        )
    for name, weights in layers:
        weighted[name].set_weights(list(weights))


def _compile(keras: Any, model: Any, options: DNNOptions) -> None:
    if options.optimizer == "adam":
        optimizer = keras.optimizers.Adam(
            options.lr, options.beta_1, options.beta_2, options.epsilon, amsgrad=options.amsgrad
        )
    else:
        optimizer = keras.optimizers.SGD(options.lr, momentum=options.momentum)
    kinds = keras.metrics
    metrics = [
        kinds.FalsePositives(name="fp"),
        kinds.FalseNegatives(name="fn"),
        kinds.TruePositives(name="tp"),
        kinds.TrueNegatives(name="tn"),
        kinds.BinaryAccuracy(name="accuracy"),
        kinds.Precision(name="precision"),
        kinds.Recall(name="recall"),
        kinds.AUC(name="auc"),
    ]
    # Compiled by XLA, the separable convolutions take twenty times as long on a CPU.
    model.compile(optimizer, options.loss, metrics=metrics, run_eagerly=options.run_eagerly, jit_compile=False)


def _callbacks(keras: Any, options: DNNOptions) -> list[Any]:
    """Return the callbacks in the order in which they must act."""
    wanted = options.callbacks
    minimised = options.monitor.removeprefix("val_") in METRICS[:N_MINIMISED]
    follow = {"monitor": options.monitor, "mode": "min" if minimised else "max"}
    callbacks: list[Any] = [_decay_callback(keras, options.decay)] if options.decay else []
    if "reduce_lr_on_plateau" in wanted:
        patience = options.lr_patience or max(options.patience // 2, 1)
        callbacks.append(keras.callbacks.ReduceLROnPlateau(factor=options.lr_factor, patience=patience, **follow))
    if "early_stopping" in wanted:
        callbacks.append(keras.callbacks.EarlyStopping(patience=options.patience, restore_best_weights=True, **follow))
    if "tensorboard" in wanted:
        if importlib.util.find_spec("tensorboard") is None:
            raise UsageError("the callback tensorboard needs the package of that name: pip install 'scope_dask[dnn]'")
        callbacks.append(keras.callbacks.TensorBoard(options.tensorboard_dir, write_graph=False))
    return callbacks


def _log_epoch(epoch: int, results: dict[str, float]) -> None:
    shown = ", ".join(f"{name} {results[name]:.4f}" for name in ("loss", "val_loss", "val_auc"))
    LOGGER.info("epoch %d: %s", epoch + 1, shown)


def _decay_callback(keras: Any, decay: float) -> Any:
    """Return a callback that divides the learning rate by 1 + decay × steps done.

    It puts the rate back at the end of an epoch, where others may lower it for good.
    """

    class Decay(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            self.steps = 0
            self.rate = float(self.model.optimizer.learning_rate.numpy())

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.rate = float(self.model.optimizer.learning_rate.numpy())

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            self.model.optimizer.learning_rate = self.rate / (1.0 + decay * self.steps)
            self.steps += 1

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.model.optimizer.learning_rate = self.rate

    return Decay()


def _stream(tensorflow: Any, sample: Sample, part: str, options: DNNOptions) -> Any:
    """Return the batches of a part: all rows once an epoch, the training rows in another order each time."""
    rows = sample.parts[part]
    order = np.arange(len(rows))
    if part == "train":
        order = np.random.default_rng(options.random_state).permutation(order)
    y = sample.targets(part)[order].astype(np.float32)
    inputs = {}
    if options.dense_branch:
        inputs["features"] = sample.x(part)[order]
    if options.conv_branch:
        inputs["dmdt"] = _images(sample, rows[order])
    weights = np.ones(len(y), np.float32)
    if part == "train" and options.weight_per_class:
        members, others = sample.weights()
        weights = np.where(y > 0, members, others).astype(np.float32)
    stream = tensorflow.data.Dataset.from_tensor_slices((inputs, y[:, None], weights))
    if part == "train":
        stream = stream.shuffle(options.shuffle_buffer_size, seed=options.random_state, reshuffle_each_iteration=True)
    return stream.batch(options.batch_size)


def _images(sample: Sample, rows: np.ndarray) -> np.ndarray:
    dmdt, there = sample.inputs.dmdt, sample.inputs.has_dmdt
    if dmdt is None or there is None:
        raise UsageError("the training table has no dmdt histograms: add them, or turn conv_branch off")
    return np.where(there[rows, None], dmdt[rows], np.float32(0.0)).reshape(-1, SIDE, SIDE, 1)


def _require_finite(history: dict[str, list[float]], options: DNNOptions) -> None:
    for name in ("loss", "val_loss"):
        if not np.isfinite(history[name]).all():
            raise UsageError(f"the training diverged: {name} is not finite; lower lr (now {options.lr:g})")


def _saved(model: Any) -> dict[str, bytes]:
    """Return the contents of the files of a network, of Keras 3 and HDF5."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {suffix: Path(folder, f"network{suffix}") for suffix in (".keras", ".h5")}
        for path in paths.values():
            model.save(path)
        return {suffix: path.read_bytes() for suffix, path in paths.items()}
