"""The neural network of van Roestel et al. (2021, AJ 161, 267): its weights, and how the kernel wants them.

Two branches, each of which may be absent, and a head::

    features → dense, relu → dense, relu ──────────────────────────────────────────────────┐
    dmdt → sepconv, relu ×2 → maximum over 2 × 2 → sepconv, relu ×2 → mean over the image ─┴→ dense, relu → dense, σ

A sepconv is a depthwise convolution of 3 × 3 without padding, then a matrix over the channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scope_dask.schema import DMDT_SHAPE

N_DENSE, N_CONVOLUTIONS, N_HEAD = 2, 4, 2
SIDE = DMDT_SHAPE[0]
WIDTH = 16  # channels that are done at a time


@dataclass(frozen=True)
class Network:
    """The weights of a network.

    Attributes
    ----------
    dense : tuple of (kernel, bias)
        The two layers of the dense branch, kernels of shape (inputs, outputs); empty: no such branch.
    convolutions : tuple of (depthwise, pointwise, bias)
        The four of the other branch, of shapes (3, 3, channels in), (channels in, channels out) and
        (channels out,); empty: no such branch.
    head : tuple of (kernel, bias)
        The two layers on the outputs of the branches, the dense one's first.
    """

    dense: tuple[tuple[np.ndarray, np.ndarray], ...]
    convolutions: tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]
    head: tuple[tuple[np.ndarray, np.ndarray], ...]

    @property
    def n_features(self) -> int:
        """Number of features that the dense branch takes; 0 without it."""
        return len(self.dense[0][0]) if self.dense else 0

    def consistent(self) -> bool:
        """Tell whether the shapes of all weights fit together."""
        widths = [self.n_features]
        fits = len(self.dense) in {0, N_DENSE} and len(self.convolutions) in {0, N_CONVOLUTIONS}
        for kernel, bias in self.dense:
            fits &= kernel.shape == (widths[-1], len(bias))
            widths.append(len(bias))
        channels = [1]
        for depthwise, pointwise, bias in self.convolutions:
            fits &= depthwise.shape == (3, 3, channels[-1]) and pointwise.shape == (channels[-1], len(bias))
            channels.append(len(bias))
        joined = (widths[-1] if self.dense else 0) + (channels[-1] if self.convolutions else 0)
        for kernel, bias in self.head:
            fits &= kernel.shape == (joined, len(bias))
            joined = len(bias)
        return bool(fits and joined == 1 and len(self.head) == N_HEAD and (self.dense or self.convolutions))

    def packed(self) -> tuple[tuple[np.ndarray, ...], ...]:
        """Return the weights of dense branch, convolutions and head, flat and in float32, for `forward.forward`.

        Outputs are padded with zeros to a multiple of sixteen, and so are the inputs that come from them.
        """
        dense = _packed_chain(self.dense, self.n_features)
        convolutions: list[np.ndarray] = []
        channels = 1
        for depthwise, pointwise, bias in self.convolutions:
            convolutions.append(_padded(depthwise.reshape(9, -1), 9, channels))
            convolutions.append(_padded(pointwise, channels, _width(len(bias))))
            channels = _width(len(bias))
            convolutions.append(_padded(bias[None], 1, channels))
        (kernel, bias), last = self.head
        n_dense = len(self.dense[-1][1]) if self.dense else 0
        parts = [p for p in (kernel[:n_dense], kernel[n_dense:]) if len(p)]
        joined = np.concatenate([_padded(p, _width(len(p)), p.shape[1]).reshape(-1, p.shape[1]) for p in parts])
        head = _packed_chain([(joined, bias), last], len(joined))
        return dense or _absent(2 * N_DENSE), tuple(convolutions) or _absent(3 * N_CONVOLUTIONS), head


def _absent(n: int) -> tuple[np.ndarray, ...]:
    return tuple(np.empty(0, np.float32) for _ in range(n))


def _width(n: int) -> int:
    return -(-n // WIDTH) * WIDTH


def _padded(array: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Return a matrix as flat float32 with zeros added up to this shape."""
    out = np.zeros((rows, columns), dtype=np.float32)
    out[: array.shape[0], : array.shape[1]] = array
    return out.ravel()


def _packed_chain(layers: Sequence[tuple[np.ndarray, np.ndarray]], inputs: int) -> tuple[np.ndarray, ...]:
    out: list[np.ndarray] = []
    for kernel, bias in layers:
        out += [_padded(kernel, inputs, _width(len(bias))), _padded(bias[None], 1, _width(len(bias)))]
        inputs = _width(len(bias))
    return tuple(out)
