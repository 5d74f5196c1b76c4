"""The neural network as a kernel: scores without TensorFlow.

TensorFlow writes every layer of a batch to memory and reads it back. Here one light curve goes through all layers
within the cache, sixteen channels at a time, which takes about half the time; and a score depends on nothing but its
own row.
"""

from __future__ import annotations

import numpy as np

from scope_dask.compiled import jit
from scope_dask.inference.network import N_CONVOLUTIONS, SIDE
from scope_dask.periods.lanes import WIDTH, load, splat, store, where_less


@jit()
def forward(
    x: np.ndarray,
    histograms: np.ndarray,
    rows: np.ndarray,
    dense: tuple[np.ndarray, ...],
    convolutions: tuple[np.ndarray, ...],
    head: tuple[np.ndarray, ...],
    out: np.ndarray,
) -> None:
    """Fill `out` with the scores of the network whose weights are `packed`.

    Parameters
    ----------
    x : numpy.ndarray, shape (n, features), float32, C-contiguous
    histograms : numpy.ndarray, shape (any, 676), float32
        Row i of `x` has the histogram ``histograms[rows[i]]``; −1: zeros.
    rows : numpy.ndarray, shape (n,), int64
    dense, convolutions, head : tuple of numpy.ndarray
        As `network.Network.packed` gives them; of an absent branch they are empty.
    out : numpy.ndarray, shape (n,), float32
    """
    n_dense = len(dense[3])
    widest = max(len(dense[1]), len(head[1]))
    hidden, features = np.empty(widest, np.float32), np.zeros(max(x.shape[1], 1), np.float32)
    joined = np.zeros(n_dense + len(convolutions[11]), np.float32)
    score = np.empty(len(head[3]), np.float32)
    images = _images(convolutions)
    for i in range(len(out)):
        if n_dense:
            features[:] = x[i]
            _dense(features, dense[0], dense[1], hidden, 0)
            _dense(hidden, dense[2], dense[3], joined, 0)
        if len(convolutions[11]):
            _load_image(histograms, rows[i], images[0])
            _see(images, convolutions, joined, n_dense)
        _dense(joined, head[0], head[1], hidden, 0)
        _sum(hidden, head[2], head[3], score)
        out[i] = 1.0 / (1.0 + np.exp(-np.float64(score[0])))


@jit()
def _see(
    images: tuple[np.ndarray, np.ndarray, np.ndarray],
    convolutions: tuple[np.ndarray, ...],
    joined: np.ndarray,
    start: int,
) -> None:
    """Put the first image through the convolutions and write what comes out to ``joined[start:]``."""
    image, other, row = images
    side, channels = SIDE, 1
    for k in range(N_CONVOLUTIONS):
        if k == N_CONVOLUTIONS // 2:
            _halve(image, side, channels, other)
            image, other = other, image
            side //= 2
        _convolve(image, side, convolutions[3 * k], convolutions[3 * k + 1], convolutions[3 * k + 2], row, other)
        image, other = other, image
        side -= 2
        channels = len(convolutions[3 * k + 2])
    _mean(image, side * side, channels, joined, start)


@jit()
def _images(convolutions: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return two images to go back and forth between and one row, with room for what is written past an end."""
    channels = WIDTH
    for k in range(2, len(convolutions), 3):
        channels = max(channels, len(convolutions[k]))
    size = (SIDE * SIDE + 4) * channels
    return np.zeros(size, np.float32), np.zeros(size, np.float32), np.zeros((SIDE + 4 + WIDTH) * channels, np.float32)


@jit()
def _load_image(histograms: np.ndarray, row: int, image: np.ndarray) -> None:
    size = SIDE * SIDE
    if row < 0:
        image[:size] = np.float32(0.0)
    else:
        image[:size] = histograms[row]


@jit()
def _dense(given: np.ndarray, kernel: np.ndarray, bias: np.ndarray, out: np.ndarray, start: int) -> None:
    """Write ``max(given @ kernel + bias, 0)`` to ``out[start:]``."""
    zero = splat(np.float32(0.0))
    width = len(bias)
    inputs = len(kernel) // width
    for c in range(0, width, WIDTH):
        total = load(bias, c)
        for k in range(inputs):
            total = total + splat(given[k]) * load(kernel, k * width + c)
        store(out, start + c, where_less(total, zero, zero, total))


@jit()
def _sum(given: np.ndarray, kernel: np.ndarray, bias: np.ndarray, out: np.ndarray) -> None:
    """Write ``given @ kernel + bias``."""
    total = load(bias, 0)
    for k in range(len(kernel) // WIDTH):
        total = total + splat(given[k]) * load(kernel, k * WIDTH)
    store(out, 0, total)


@jit()
def _convolve(
    image: np.ndarray,
    side: int,
    depthwise: np.ndarray,
    pointwise: np.ndarray,
    bias: np.ndarray,
    row: np.ndarray,
    out: np.ndarray,
) -> None:
    """Convolve an image (side, side, channels) and rectify it.

    Four pixels are done at a time. What goes beyond the end of a row lands where the next row is written later,
    after the last one in the room that `_images` leaves.
    """
    zero = splat(np.float32(0.0))
    channels, width = len(depthwise) // 9, len(bias)
    small = side - 2
    for y in range(small):
        if channels == 1:
            _depthwise_one(image, y * side, side, depthwise, row)
        else:
            _depthwise(image, y * side * channels, side, channels, depthwise, row)
        for c in range(0, width, WIDTH):
            start = load(bias, c)
            for x in range(0, small, 4):
                a, b, d, e = start, start, start, start
                i = x * channels
                for k in range(channels):
                    weights = load(pointwise, k * width + c)
                    a = a + splat(row[i + k]) * weights
                    b = b + splat(row[i + channels + k]) * weights
                    d = d + splat(row[i + 2 * channels + k]) * weights
                    e = e + splat(row[i + 3 * channels + k]) * weights
                o = (y * small + x) * width + c
                store(out, o, where_less(a, zero, zero, a))
                store(out, o + width, where_less(b, zero, zero, b))
                store(out, o + 2 * width, where_less(d, zero, zero, d))
                store(out, o + 3 * width, where_less(e, zero, zero, e))


@jit()
def _depthwise(image: np.ndarray, start: int, side: int, channels: int, kernel: np.ndarray, row: np.ndarray) -> None:
    """Write one row of the depthwise convolution, (side − 2, channels); `start` is where its first image row is."""
    for c in range(0, channels, WIDTH):
        k0, k1, k2 = load(kernel, c), load(kernel, channels + c), load(kernel, 2 * channels + c)
        k3, k4, k5 = load(kernel, 3 * channels + c), load(kernel, 4 * channels + c), load(kernel, 5 * channels + c)
        k6, k7, k8 = load(kernel, 6 * channels + c), load(kernel, 7 * channels + c), load(kernel, 8 * channels + c)
        for x in range(side - 2):
            i = start + x * channels + c
            j = i + side * channels
            l = j + side * channels
            first = load(image, i) * k0 + load(image, i + channels) * k1 + load(image, i + 2 * channels) * k2
            second = load(image, j) * k3 + load(image, j + channels) * k4 + load(image, j + 2 * channels) * k5
            third = load(image, l) * k6 + load(image, l + channels) * k7 + load(image, l + 2 * channels) * k8
            store(row, x * channels + c, first + second + third)


@jit()
def _depthwise_one(image: np.ndarray, start: int, side: int, kernel: np.ndarray, row: np.ndarray) -> None:
    """The same of an image of one channel: sixteen pixels at a time."""
    for x in range(0, side - 2, WIDTH):
        total = splat(np.float32(0.0))
        for i in range(3):
            for j in range(3):
                total = total + load(image, start + i * side + x + j) * splat(kernel[3 * i + j])
        store(row, x, total)


@jit()
def _halve(image: np.ndarray, side: int, channels: int, out: np.ndarray) -> None:
    """Write the maximum over squares of 2 × 2 pixels."""
    half = side // 2
    for y in range(half):
        for x in range(half):
            for c in range(0, channels, WIDTH):
                i = (2 * y * side + 2 * x) * channels + c
                j = i + side * channels
                a, b = load(image, i), load(image, i + channels)
                d, e = load(image, j), load(image, j + channels)
                a = where_less(a, b, b, a)
                d = where_less(d, e, e, d)
                store(out, (y * half + x) * channels + c, where_less(a, d, d, a))


@jit()
def _mean(image: np.ndarray, pixels: int, channels: int, out: np.ndarray, start: int) -> None:
    """Write the mean over the pixels of each channel to ``out[start:]``."""
    for c in range(0, channels, WIDTH):
        total = splat(np.float32(0.0))
        for x in range(pixels):
            total = total + load(image, x * channels + c)
        store(out, start + c, total * splat(np.float32(1.0 / pixels)))
