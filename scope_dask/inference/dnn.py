"""Neural networks on disk: Keras files, of Keras 3 and of the Keras 2 of SCoPe 0.9.5, read without TensorFlow."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import numpy as np

from scope_dask.errors import ModelError
from scope_dask.inference.network import SIDE, Network
from scope_dask.inference.preparation import Score

# What a layer must be, by class: settings that change what it computes. What a file does not state is the default.
_SETTINGS: dict[str, dict[str, Any]] = {
    "SeparableConv2D": {
        "kernel_size": [3, 3],
        "strides": [1, 1],
        "dilation_rate": [1, 1],
        "padding": "valid",
        "data_format": "channels_last",
        "depth_multiplier": 1,
        "activation": "relu",
        "use_bias": True,
    },
    "MaxPooling2D": {"pool_size": [2, 2], "strides": [2, 2], "padding": "valid", "data_format": "channels_last"},
    "GlobalAveragePooling2D": {"data_format": "channels_last", "keepdims": False},
    "Dense": {"use_bias": True},
}
_IMAGE_BRANCH = [*["SeparableConv2D"] * 2, "MaxPooling2D", *["SeparableConv2D"] * 2, "GlobalAveragePooling2D"]
WEIGHTS = ".weights.h5"  # what the name of a file of weights alone ends with
_OTHERS = ("InputLayer", "Dropout", "Concatenate", "Dense")


def read_network(content: bytes, where: str) -> Network:
    """Read a network from the bytes of a ``.keras`` or HDF5 file.

    Only shapes, settings of the layers and weights are read: nothing in the file is executed.

    Parameters
    ----------
    content : bytes
    where : str
        Path, for errors.

    Returns
    -------
    Network

    Raises
    ------
    ModelError
        If it is no such file, or another network than the one of `scope_dask.inference.network`.
    """
    import h5py

    try:
        if zipfile.is_zipfile(io.BytesIO(content)):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                config = json.loads(archive.read("config.json"))
                with h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r") as file:
                    weights = _weights_of_keras(file)
        else:
            with h5py.File(io.BytesIO(content), "r") as file:
                config = json.loads(file.attrs["model_config"])
                weights = _weights_of_hdf5(file["model_weights"])
        layers = config["config"]["layers"]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ModelError(
            f"{where} cannot be read as a Keras model ({type(error).__name__}: {error}); "
            "expected a .keras or .h5 file of a whole model, not of weights alone"
        ) from error
    return _network(layers, weights, where)


def read_weights(content: bytes, where: str) -> Network:
    """Read a network of ours from the bytes of a file of weights alone, as ``scope-train --weights-only`` writes it.

    Raises
    ------
    ModelError
        If it is no such file.
    """
    import h5py

    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            weights = _weights_of_keras(file)
    except (OSError, KeyError) as error:
        raise ModelError(f"{where} is no file of weights of Keras 3 ({type(error).__name__}: {error})") from error
    kinds = {"dense": "Dense", "score": "Dense", "conv": "SeparableConv2D"}
    order = ("conv_1", "conv_2", "conv_3", "conv_4", "dense_1", "dense_2", "dense_head", "score")
    layers = [
        {"class_name": kinds[name.split("_")[0]], "config": {"name": name}} for name in order if weights.get(name)
    ]
    return _network(layers, weights, where, whole=False)


def _weights_of_keras(file: Any) -> dict[str, list[np.ndarray]]:
    groups = [group["vars"] for group in file["layers"].values()]
    return {g.attrs["name"]: [g[str(k)][()] for k in range(len(g))] for g in groups}


def _weights_of_hdf5(file: Any) -> dict[str, list[np.ndarray]]:
    return {name: [group[path][()] for path in group.attrs["weight_names"]] for name, group in file.items()}


def _network(
    layers: list[dict[str, Any]], weights: dict[str, list[np.ndarray]], where: str, whole: bool = True
) -> Network:
    """Put the weights together; layers of one kind stand in the order in which they are applied.

    Their settings are checked where the file is of a `whole` model.
    """
    names: dict[str, list[str]] = {}
    for layer in layers:
        if whole:
            _check_layer(layer, where)
        names.setdefault(layer["class_name"], []).append(_name(layer))
    if whole:
        _check_order(layers, names, where)
    dense = [tuple(weights.get(n, [])) for n in names.get("Dense", [])]
    convolutions = [tuple(weights.get(n, [])) for n in names.get("SeparableConv2D", [])]
    try:
        network = Network(
            tuple((kernel, bias) for kernel, bias in dense[:-2]),
            tuple((d[..., 0], p[0, 0], bias) for d, p, bias in convolutions),
            tuple((kernel, bias) for kernel, bias in dense[-2:]),
        )
        if whole and _image_first(layers):
            network = _swapped(network)
        consistent = network.consistent()
    except (ValueError, IndexError) as error:
        raise _other(where, f"weights are missing ({error})") from error
    if not consistent:
        raise _other(where, "the shapes of its weights do not fit together")
    return network


def _other(where: str, found: str) -> ModelError:
    return ModelError(
        f"{where} is not a network of this kind: {found}; expected the network of SCoPe (two dense layers on the "
        "features, four separable convolutions on dmdt, two dense layers on both): train it again"
    )


def _name(layer: dict[str, Any]) -> str:
    return str(layer.get("name") or layer["config"]["name"])


def _check_layer(layer: dict[str, Any], where: str) -> None:
    kind, config = layer["class_name"], layer["config"]
    if kind not in _SETTINGS and kind not in _OTHERS:
        raise _other(where, f"it has a layer {kind}")
    for key, expected in _SETTINGS.get(kind, {}).items():
        found = config.get(key, expected)
        if (list(found) if isinstance(found, (list, tuple)) else found) != expected:
            raise _other(where, f"{_name(layer)} has {key} {found!r}, not {expected!r}")
    if kind == "InputLayer":
        shape = list(config.get("batch_shape") or config.get("batch_input_shape") or [])[1:]
        if shape != [SIDE, SIDE, 1] and len(shape) != 1:
            raise _other(where, f"its input {_name(layer)} has the shape {shape}")


def _check_order(layers: list[dict[str, Any]], names: dict[str, list[str]], where: str) -> None:
    kinds = [layer["class_name"] for layer in layers]
    image = [kind for kind in kinds if kind in _IMAGE_BRANCH]
    if image and image != _IMAGE_BRANCH:
        raise _other(where, f"its layers on dmdt are {', '.join(image)}")
    activations = [layer["config"].get("activation") for layer in layers if layer["class_name"] == "Dense"]
    if activations not in (["relu", "sigmoid"], [*["relu"] * 3, "sigmoid"]) or not (image or len(activations) == 4):
        raise _other(where, f"its dense layers have the activations {', '.join(map(str, activations))}")
    if len(names.get("InputLayer", [])) != (len(activations) == 4) + bool(image):
        raise _other(where, f"its inputs are {', '.join(names.get('InputLayer', []))}")


def _image_first(layers: list[dict[str, Any]]) -> bool:
    """Tell whether the head gets the outputs of the convolutions before those of the dense branch."""
    for layer in layers:
        if layer["class_name"] == "Concatenate":
            first = _first_layer(layer["inbound_nodes"])
            return any(_name(other) == first and other["class_name"] == "GlobalAveragePooling2D" for other in layers)
    return False


def _first_layer(node: Any) -> str | None:
    """Return the name in the first [name, node, tensor] of a layer's inbound nodes (Keras 2 and 3)."""
    if isinstance(node, dict):
        node = list(node.values())
    if not isinstance(node, list):
        return None
    if len(node) >= 3 and isinstance(node[0], str) and isinstance(node[1], int):
        return node[0]
    return next((name for part in node if (name := _first_layer(part)) is not None), None)


def _swapped(network: Network) -> Network:
    (kernel, bias), last = network.head
    n_image = len(network.convolutions[-1][2])
    return Network(
        network.dense, network.convolutions, ((np.concatenate([kernel[n_image:], kernel[:n_image]]), bias), last)
    )


def network_score(network: Network) -> Score:
    """Return the function that scores with a network; several threads may call it at once."""
    from scope_dask.extraction.ordering import frozen
    from scope_dask.inference.forward import forward

    weights = network.packed()
    none = np.zeros((1, SIDE * SIDE), np.float32)

    def score(x: np.ndarray, histograms: np.ndarray | None, rows: np.ndarray) -> np.ndarray:
        out = np.empty(len(rows), np.float32)
        images = none if histograms is None else histograms
        given = frozen(x, np.float32), frozen(images, np.float32), frozen(rows, np.int64)
        forward(*given, *weights, out)
        return out

    return score
