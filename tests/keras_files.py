"""Networks for tests: weights, a plain reference, and HDF5 files as Keras 2 writes them."""

from __future__ import annotations

import io
import json
from typing import Any

import h5py
import numpy as np
from scipy.signal import correlate2d

from scope_dask.inference.network import Network

_CONVOLUTION = {
    "kernel_size": [3, 3],
    "strides": [1, 1],
    "padding": "valid",
    "data_format": "channels_last",
    "dilation_rate": [1, 1],
    "groups": 1,
    "activation": "relu",
    "use_bias": True,
    "kernel_initializer": {"class_name": "GlorotUniform", "config": {"seed": None}},
    "depth_multiplier": 1,
}


def network(n_features: int, image: bool, seed: int = 1, widths: tuple[int, ...] = (256, 32, 16, 32, 16)) -> Network:
    """Return random weights; `widths`: two dense layers, two pairs of convolutions, the head."""
    rng = np.random.default_rng(seed)

    def dense(a: int, b: int) -> tuple[np.ndarray, np.ndarray]:
        return rng.normal(0, (2 / a) ** 0.5, (a, b)).astype("f4"), rng.normal(0, 0.1, b).astype("f4")

    def convolution(a: int, b: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return (rng.normal(0, 0.4, (3, 3, a)).astype("f4"), *dense(a, b))

    d1, d2, c1, c2, h = widths
    branch = (dense(n_features, d1), dense(d1, d2)) if n_features else ()
    images = (convolution(1, c1), convolution(c1, c1), convolution(c1, c2), convolution(c2, c2)) if image else ()
    return Network(branch, images, (dense(d2 * bool(n_features) + c2 * image, h), dense(h, 1)))


def reference(net: Network, x: np.ndarray, dmdt: np.ndarray) -> np.ndarray:
    """Return the scores of rows in float64, layer by layer with SciPy."""
    return np.array([_one(net, row, image.reshape(26, 26)) for row, image in zip(x, dmdt, strict=True)])


def _one(net: Network, x: np.ndarray, image: np.ndarray) -> float:
    outputs = []
    if net.dense:
        y = x.astype(float)
        for kernel, bias in net.dense:
            y = np.maximum(y @ kernel.astype(float) + bias, 0)
        outputs.append(y)
    if net.convolutions:
        z = image[..., None].astype(float)
        for k, (depthwise, pointwise, bias) in enumerate(net.convolutions):
            if k == 2:
                half = z.shape[0] // 2
                z = z[: 2 * half, : 2 * half].reshape(half, 2, half, 2, -1).max(axis=(1, 3))
            channels = [correlate2d(z[..., c], depthwise[..., c].astype(float), "valid") for c in range(z.shape[-1])]
            z = np.maximum(np.stack(channels, axis=-1) @ pointwise.astype(float) + bias, 0)
        outputs.append(z.mean(axis=(0, 1)))
    (kernel, bias), (last, offset) = net.head
    hidden = np.maximum(np.concatenate(outputs) @ kernel.astype(float) + bias, 0)
    return float(1 / (1 + np.exp(-(hidden @ last.astype(float) + offset)[0])))


def keras2_file(net: Network, image_first: bool = False, **changes: Any) -> bytes:
    """Return an HDF5 file of a network as Keras 2 lays it out; `changes` are to the convolutions' settings."""
    layers: list[dict[str, Any]] = []
    weights: dict[str, dict[str, np.ndarray]] = {}

    def add(kind: str, name: str, config: dict[str, Any], before: list[str], values: dict[str, np.ndarray]) -> str:
        nodes = [[[b, 0, 0, {}] for b in before]] if before else []
        layers.append({"class_name": kind, "config": {"name": name, **config}, "name": name, "inbound_nodes": nodes})
        weights[name] = values
        return name

    def dense(name: str, activation: str, before: str, pair: tuple[np.ndarray, np.ndarray]) -> str:
        config = {"units": len(pair[1]), "activation": activation, "use_bias": True}
        return add("Dense", name, config, [before], dict(zip(("kernel:0", "bias:0"), pair, strict=True)))

    outputs = []
    if net.convolutions:
        at = add("InputLayer", "dmdt", {"batch_input_shape": [None, 26, 26, 1]}, [], {})
        for k, (depthwise, pointwise, bias) in enumerate(net.convolutions):
            if k == 2:
                at = add("MaxPooling2D", "max_pooling2d", {"pool_size": [2, 2], "strides": [2, 2]}, [at], {})
            values = {
                "depthwise_kernel:0": depthwise[..., None],
                "pointwise_kernel:0": pointwise[None, None],
                "bias:0": bias,
            }
            config = {"filters": len(bias), **_CONVOLUTION, **changes}
            at = add("SeparableConv2D", f"separable_conv2d_{k}", config, [at], values)
        outputs.append(add("GlobalAveragePooling2D", "pooled", {"data_format": "channels_last"}, [at], {}))
    if net.dense:
        at = add("InputLayer", "features", {"batch_input_shape": [None, net.n_features]}, [], {})
        at = add("Dropout", "dropout", {"rate": 0.25}, [dense("dense_a", "relu", at, net.dense[0])], {})
        outputs.insert(len(outputs) if image_first else 0, dense("dense_b", "relu", at, net.dense[1]))
    at = add("Concatenate", "concatenate", {"axis": -1}, outputs, {}) if len(outputs) > 1 else outputs[0]
    dense("score", "sigmoid", dense("dense_c", "relu", at, net.head[0]), net.head[1])
    return _hdf5(layers, weights)


def _hdf5(layers: list[dict[str, Any]], weights: dict[str, dict[str, np.ndarray]]) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": {"layers": layers}})
        for name, values in weights.items():
            group = file.create_group(f"model_weights/{name}")
            group.attrs["weight_names"] = np.array([f"{name}/{key}" for key in values], dtype="S")
            for key, value in values.items():
                group.create_dataset(f"{name}/{key}", data=value)
    return buffer.getvalue()
