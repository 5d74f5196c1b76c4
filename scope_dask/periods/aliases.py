"""Which peak is the star's and which is the clock's: spectral window, aliases, a choice between peaks, agreement.

Observing times that repeat with a frequency f_s make a signal at f appear at |f ± f_s| as well. How strongly is told
by the light curve's own spectral window at f_s (Deeming 1975). Between a signal and its alias a single sinusoid
hardly decides; the shape does: folded at the alias, a curve that is not sinusoidal is a worse fit. `resolve` therefore
fits candidates with up to four harmonics and with a box, and takes the one of least Bayesian information criterion.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scope_dask.compiled import jit
from scope_dask.periods import exact_weighted
from scope_dask.periods.bins import longest_curve
from scope_dask.periods.exact_lombscargle import cos_sin
from scope_dask.periods.harmonic_fit import HARMONICS, harmonic_shares, prepare
from scope_dask.periods.options import BoxOptions
from scope_dask.periods.packed import weighable

SOFTENING = 0.2  # of the standard deviation of the magnitudes, added to their errors in quadrature
BOX_PARAMETERS = 7.0  # level, depth, duration, time, frequency, and two for the choice of the best of many boxes
LEAST_OF_TWO = 0.25  # of what a fit explains, its first two harmonics have to
FEW_CYCLES = 10.0  # seen in a light curve: no more than two harmonics are fitted
REACH = 0.1  # candidates are refined within this fraction of 1/baseline …
STEPS = 3  # … on each side of which so many frequencies are tried
NEAR = 1.5  # frequencies closer than this, in units of 1/baseline, are the same
TIE = 1e-6  # criteria closer than this differ by rounding
LEAST_WINDOW = 0.1  # |W|² of a sampling frequency that makes aliases

DAY, SIDEREAL_DAY, YEAR, MONTH = 1.0, 1.00273790935, 1.0 / 365.2422, 1.0 / 29.530589
SAMPLING = np.array([DAY, SIDEREAL_DAY, 2 * DAY, 2 * SIDEREAL_DAY, 3 * DAY, YEAR, 2 * YEAR, MONTH])
SAMPLING_NAMES = ("day", "sidereal day", "1/2 day", "1/2 sidereal day", "1/3 day", "year", "1/2 year", "month")
MULTIPLES = np.array([1.0, 2.0, 0.5, 3.0, 1.0 / 3.0])
UNRELATED, SAME, HARMONIC, ALIAS = 0, 1, 2, 3  # codes of kinds
HARMONIC_MODEL, BOX_MODEL = 0, 1


class Relation(NamedTuple):
    """What peaks are to reference frequencies, each of shape (n, k).

    Attributes
    ----------
    kind : numpy.ndarray, int64
        `UNRELATED`, `SAME`, `HARMONIC` (2, 1/2, 3, 1/3 times the reference) or `ALIAS` of it, or of its double or
        half.
    sampling : numpy.ndarray, int64
        Of an alias: which of `SAMPLING`; −1 otherwise.
    window : numpy.ndarray, float64
        Of an alias: |W|² of the light curve there; NaN otherwise.
    """

    kind: np.ndarray
    sampling: np.ndarray
    window: np.ndarray


class Resolution(NamedTuple):
    """The choice between candidates, each of shape (n,).

    Attributes
    ----------
    frequency : numpy.ndarray, float64
        Cycles/day, refined below the grid step; NaN where nothing can be chosen.
    index : numpy.ndarray, int64
        Which candidate; −1 where there is none.
    score : numpy.ndarray, float64
        Bayesian information criterion of the best competing candidate, neither the same nor a harmonic, less that
        of the chosen: above 10 is decisive, inf without competition.
    power : numpy.ndarray, float64
        Share of the variance that the best model explains, from 0 to 1.
    n_harmonics : numpy.ndarray, int64
        Of the best model; 0 is a box.
    kind : numpy.ndarray, int64
        What the first candidate is to the chosen one (`Relation`): `SAME` unless the choice moved.
    sampling : numpy.ndarray, int64
        As in `Relation`.
    """

    frequency: np.ndarray
    index: np.ndarray  # type: ignore[assignment]  # hides tuple.index
    score: np.ndarray
    power: np.ndarray
    n_harmonics: np.ndarray
    kind: np.ndarray
    sampling: np.ndarray


def spectral_window(hjd: np.ndarray, offsets: np.ndarray, freqs: np.ndarray, freq_offsets: np.ndarray) -> np.ndarray:
    """Return |W(f)|² = |Σ exp(2πi f t)|² / N² of every light curve at its own list of frequencies (Deeming 1975).

    Parameters
    ----------
    hjd : numpy.ndarray, shape (points,), float64
        Times in days.
    offsets : numpy.ndarray, shape (n + 1,), int64
        Light curve i holds the points ``offsets[i]:offsets[i + 1]``.
    freqs : numpy.ndarray, shape (frequencies,), float64
        Frequencies, cycles/day; light curve i has those of ``freq_offsets[i]:freq_offsets[i + 1]``.
    freq_offsets : numpy.ndarray, shape (n + 1,), int64

    Returns
    -------
    numpy.ndarray, shape (frequencies,), float64
        From 0 to 1; NaN for a light curve without points or with a time that is not finite.
    """
    out = np.full(len(freqs), np.nan)
    _window(hjd, offsets, np.ascontiguousarray(freqs, np.float64), freq_offsets, out)
    return out


def alias_of(hjd: np.ndarray, offsets: np.ndarray, frequency: np.ndarray, reference: np.ndarray) -> Relation:
    """Tell which peaks are harmonics or aliases of a reference frequency.

    A peak is an alias if it is as near as `NEAR` widths 1/baseline to |m f ± f_s|, m = 1, 2, ½, with f_s of `SAMPLING`
    and |W(f_s)|² ≥ `LEAST_WINDOW`. Of several f_s the strongest counts.

    Parameters
    ----------
    hjd, offsets
        As in `spectral_window`.
    frequency : numpy.ndarray, shape (n, k), float64
        Peaks, cycles/day.
    reference : numpy.ndarray, shape (n,), float64
        Frequencies taken for true, cycles/day.
    """
    shape = frequency.shape
    out = Relation(np.full(shape, UNRELATED), np.full(shape, -1), np.full(shape, np.nan))
    lines = np.tile(SAMPLING, len(offsets) - 1)
    line_offsets = np.arange(len(offsets), dtype=np.int64) * len(SAMPLING)
    window = spectral_window(hjd, offsets, lines, line_offsets).reshape(-1, len(SAMPLING))
    _relate(baselines(hjd, offsets), np.ascontiguousarray(frequency), reference, window, *out)
    return out


def agreement(hjd: np.ndarray, offsets: np.ndarray, frequency: np.ndarray) -> np.ndarray:
    """Return how far the methods agree on a frequency, from 0 to 1.

    The share of the other methods that agree with one, 1 for each that finds the same frequency, a double, half,
    triple or third of it, ½ for each that finds an alias; of the method for which it is largest.

    Parameters
    ----------
    hjd, offsets
        As in `spectral_window`.
    frequency : numpy.ndarray, shape (n, methods), float64
        Best frequency of every method, cycles/day; a method without one (NaN) agrees with none.

    Returns
    -------
    numpy.ndarray, shape (n,), float64
        NaN where no method has a frequency or there is only one method.
    """
    worth = np.array([0.0, 1.0, 1.0, 0.5])
    n, methods = frequency.shape
    best = np.full(n, np.nan)
    for j in range(methods if methods > 1 else 0):
        kind = alias_of(hjd, offsets, frequency, frequency[:, j].copy()).kind
        share = (worth[kind].sum(axis=1) - 1.0) / (methods - 1)
        best = np.fmax(best, np.where(np.isfinite(frequency[:, j]), share, np.nan))
    return best


def resolve(
    hjd: np.ndarray, mag: np.ndarray, magerr: np.ndarray, offsets: np.ndarray, candidates: np.ndarray
) -> Resolution:
    """Choose between the candidate frequencies of every light curve.

    Each candidate, refined, is fitted with a floating mean and 1 … 4 harmonics and with a box. Of all fits that of the
    least ``n ln(1 − p) + k ln n`` is chosen (Schwarz 1978; p: explained share, k: parameters). Weights are
    1/(e² + (0.2 σ)²), σ the standard deviation of the magnitudes: no star is known to follow such a model more closely.

    Parameters
    ----------
    hjd, mag, magerr : numpy.ndarray, shape (points,), float64
        Times in days, magnitudes and their errors.
    offsets : numpy.ndarray, shape (n + 1,), int64
    candidates : numpy.ndarray, shape (n, k), float64
        Frequencies, cycles/day (NaN is none): the best peaks of one or more methods, the plainest choice first.

    Returns
    -------
    Resolution
        Without a choice for a light curve of fewer than 13 points, without a spread in time or magnitude, with a value
        that is not finite or an error that is not positive.
    """
    candidates = np.ascontiguousarray(candidates, np.float64)
    if not candidates.shape[1]:
        candidates = np.full((len(offsets) - 1, 1), np.nan)
    criterion, refined = np.full(candidates.shape, np.inf), np.full(candidates.shape, np.nan)
    power, model = np.full(candidates.shape, np.nan), np.zeros(candidates.shape, np.int64)
    boxes = BoxOptions()
    _judge(hjd, mag, magerr, offsets, candidates, boxes.n_bins, boxes.widths, boxes.min_points,
           criterion, refined, power, model)  # fmt: skip
    index = np.argmax(criterion <= criterion.min(axis=1, keepdims=True) + TIE, axis=1)
    rows = np.arange(len(index))
    found = np.isfinite(criterion[rows, index])
    frequency = np.where(found, refined[rows, index], np.nan)
    related = alias_of(hjd, offsets, candidates, frequency)
    rival = np.where((related.kind == SAME) | (related.kind == HARMONIC), np.inf, criterion).min(axis=1)
    with np.errstate(invalid="ignore"):
        score = np.where(found, rival - criterion[rows, index], np.nan)
    return Resolution(
        frequency, np.where(found, index, -1), score, np.where(found, power[rows, index], np.nan),
        np.where(found, model[rows, index], -1), related.kind[:, 0], related.sampling[:, 0],
    )  # fmt: skip


@jit(fastmath={"reassoc", "contract", "nsz"})
def _window_at(t: np.ndarray, start: float, f: float) -> float:
    c = 0.0
    s = 0.0
    for i in range(t.size):
        a, b = cos_sin((t[i] - start) * f)
        c += a
        s += b
    return (c * c + s * s) / t.size**2


@jit()
def _window(hjd: np.ndarray, offsets: np.ndarray, freqs: np.ndarray, freq_offsets: np.ndarray, out: np.ndarray) -> None:
    for i in range(offsets.size - 1):
        t = hjd[offsets[i] : offsets[i + 1]]
        if t.size > 0 and np.isfinite(t.sum()):
            start = t.min()
            for j in range(freq_offsets[i], freq_offsets[i + 1]):
                out[j] = _window_at(t, start, freqs[j])


def baselines(hjd: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return the time between first and last point of every light curve, days; NaN without points."""
    out = np.full(len(offsets) - 1, np.nan)
    rows = np.flatnonzero(np.diff(offsets) > 0)
    if len(rows):
        out[rows] = np.maximum.reduceat(hjd, offsets[rows]) - np.minimum.reduceat(hjd, offsets[rows])
    return out


@jit()
def _relate(
    baseline: np.ndarray,
    frequency: np.ndarray,
    reference: np.ndarray,
    window: np.ndarray,
    kind: np.ndarray,
    sampling: np.ndarray,
    strength: np.ndarray,
) -> None:
    for i in range(frequency.shape[0]):
        for j in range(frequency.shape[1]):
            f = frequency[i, j]
            if not (f > 0.0 and reference[i] > 0.0 and baseline[i] > 0.0):
                continue
            for m in range(MULTIPLES.size):
                if abs(f - MULTIPLES[m] * reference[i]) <= NEAR / baseline[i]:
                    kind[i, j] = SAME if m == 0 else HARMONIC
                    break
            if kind[i, j] == UNRELATED:
                _strongest_alias(f, reference[i], NEAR / baseline[i], window[i], i, j, kind, sampling, strength)


@jit()
def _strongest_alias(
    f: float,
    reference: float,
    near: float,
    window: np.ndarray,
    i: int,
    j: int,
    kind: np.ndarray,
    sampling: np.ndarray,
    strength: np.ndarray,
) -> None:
    for s in range(SAMPLING.size):
        if not window[s] >= LEAST_WINDOW or window[s] <= strength[i, j]:
            continue
        for m in range(3):
            g = MULTIPLES[m] * reference
            if abs(f - abs(g - SAMPLING[s])) <= near or abs(f - g - SAMPLING[s]) <= near:
                kind[i, j], sampling[i, j], strength[i, j] = ALIAS, s, window[s]
                break


@jit()
def _judge(
    hjd: np.ndarray,
    mag: np.ndarray,
    magerr: np.ndarray,
    offsets: np.ndarray,
    candidates: np.ndarray,
    n_bins: int,
    widths: np.ndarray,
    min_points: float,
    criterion: np.ndarray,
    refined: np.ndarray,
    power: np.ndarray,
    model: np.ndarray,
) -> None:
    """Write, of every candidate, the criterion, frequency, explained share and harmonics of its best fit."""
    longest = longest_curve(offsets)
    work, error, sums = np.empty((7, longest)), np.empty(longest), np.empty((2, n_bins))
    shares = np.empty(HARMONICS + 1)
    for i in range(offsets.size - 1):
        a, b = offsets[i], offsets[i + 1]
        n = b - a
        if n < 2 * HARMONICS + 5 or not weighable(hjd[a:b], mag[a:b], magerr[a:b]):
            continue
        soft = SOFTENING * mag[a:b].std()
        for j in range(n):
            error[j] = np.sqrt(magerr[a + j] ** 2 + soft * soft)
        scale = prepare(hjd[a:b], mag[a:b], error[:n], work)
        baseline = hjd[a:b].max() - hjd[a:b].min()
        least = exact_weighted.NEARLY * min_points / n
        for c in range(candidates.shape[1]):
            if not 0.0 < candidates[i, c] < np.inf:
                continue
            for k in range(2 * STEPS + 1):
                step = (k + 1) // 2 * (1 - 2 * (k % 2))  # 0, −1, 1, −2, …: of equal fits the nearest stays
                f = candidates[i, c] + step * REACH / STEPS / baseline
                harmonic_shares(work, n, f, shares)
                exact_weighted.fold(hjd[a:b], mag[a:b], error[:n], f, (scale[0], scale[1]), sums)
                shares[0] = exact_weighted.best_box(sums, widths, least)[0] / scale[2]
                _keep_best(shares, n, f * baseline, f, i, c, criterion, refined, power, model)


@jit()
def _keep_best(
    shares: np.ndarray,
    n: int,
    cycles: float,
    f: float,
    i: int,
    c: int,
    criterion: np.ndarray,
    refined: np.ndarray,
    power: np.ndarray,
    model: np.ndarray,
) -> None:
    for h in range(HARMONICS + 1):
        if h > 2 and (cycles < FEW_CYCLES or shares[2] < LEAST_OF_TWO * shares[h]):
            continue  # a shape seen a few times only, or the star's frequency is a multiple of this one
        parameters = 2.0 * h + 2.0 if h > 0 else BOX_PARAMETERS
        x = n * np.log(max(1.0 - shares[h], 1e-12)) + parameters * np.log(float(n))
        if x < criterion[i, c] - TIE:
            criterion[i, c], refined[i, c], power[i, c], model[i, c] = x, f, shares[h], h
