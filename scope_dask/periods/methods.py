"""The methods of the period search on the CPU: the scan of a whole grid, and the statistic at single frequencies.

A scan is single precision and returns peaks, larger is better; an evaluation is float64 and in the method's own sense.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from scope_dask.periods import exact_folding, exact_weighted
from scope_dask.periods.aov import aov_peaks
from scope_dask.periods.boxes import box_peaks
from scope_dask.periods.derivative import DerivativePeaks, aov_derivative_peaks, conditional_entropy_derivative_peaks
from scope_dask.periods.exact_lombscargle import lomb_scargle
from scope_dask.periods.exact_multiharmonic import multiharmonic
from scope_dask.periods.folding import conditional_entropy_peaks
from scope_dask.periods.fpw import fpw_peaks
from scope_dask.periods.grid import FrequencyGrid
from scope_dask.periods.lombscargle import lomb_scargle_peaks
from scope_dask.periods.multiharmonic import multiharmonic_peaks
from scope_dask.periods.options import FOLDED, PeriodOptions
from scope_dask.periods.peaks import Peaks
from scope_dask.ragged import LightCurves

Scan = Callable[[LightCurves, FrequencyGrid, PeriodOptions], Peaks]
Evaluation = Callable[[LightCurves, np.ndarray, np.ndarray, PeriodOptions], np.ndarray]


class Method(NamedTuple):
    """A method of the period search."""

    scan: Scan
    evaluate: Evaluation


def _lomb_scargle(weighted: bool) -> Method:
    """Return Lomb-Scargle with weights and a fitted mean, or with neither."""

    def scan(curves: LightCurves, grid: FrequencyGrid, options: PeriodOptions) -> Peaks:
        return lomb_scargle_peaks(*curves.arrays, grid, options.top_n_periods, options.samples_per_peak, weighted)

    def evaluate(curves: LightCurves, freqs: np.ndarray, freq_offsets: np.ndarray, _: PeriodOptions) -> np.ndarray:
        return lomb_scargle(*curves.arrays, freqs, freq_offsets, weighted)

    return Method(scan, evaluate)


def _entropy(rescaled: bool) -> Method:
    """Return conditional entropy, of magnitudes as they are or rescaled."""

    def scan(curves: LightCurves, grid: FrequencyGrid, options: PeriodOptions) -> Peaks:
        k, sep = options.top_n_periods, options.samples_per_peak
        return conditional_entropy_peaks(curves.hjd, curves.mag, curves.offsets, grid, k, sep, rescaled)

    def evaluate(curves: LightCurves, freqs: np.ndarray, freq_offsets: np.ndarray, _: PeriodOptions) -> np.ndarray:
        return exact_folding.conditional_entropy(curves.hjd, curves.mag, curves.offsets, freqs, freq_offsets, rescaled)

    return Method(scan, evaluate)


def _scan_aov(curves: LightCurves, grid: FrequencyGrid, options: PeriodOptions) -> Peaks:
    return aov_peaks(curves.hjd, curves.mag, curves.offsets, grid, options.top_n_periods, options.samples_per_peak)


def _aov(curves: LightCurves, freqs: np.ndarray, freq_offsets: np.ndarray, _: PeriodOptions) -> np.ndarray:
    return exact_folding.aov(curves.hjd, curves.mag, curves.offsets, freqs, freq_offsets)


def _scan_multiharmonic(curves: LightCurves, grid: FrequencyGrid, options: PeriodOptions) -> Peaks:
    return multiharmonic_peaks(
        *curves.arrays, grid, options.top_n_periods, options.samples_per_peak, options.n_harmonics
    )


def _multiharmonic(
    curves: LightCurves, freqs: np.ndarray, freq_offsets: np.ndarray, options: PeriodOptions
) -> np.ndarray:
    return multiharmonic(*curves.arrays, freqs, freq_offsets, options.n_harmonics)


def _scan_boxes(curves: LightCurves, grid: FrequencyGrid, options: PeriodOptions) -> Peaks:
    return box_peaks(*curves.arrays, grid, options.top_n_periods, options.samples_per_peak, options.boxes)


def _boxes(curves: LightCurves, freqs: np.ndarray, freq_offsets: np.ndarray, options: PeriodOptions) -> np.ndarray:
    return exact_weighted.box(*curves.arrays, freqs, freq_offsets, options.boxes).power


def _scan_fpw(curves: LightCurves, grid: FrequencyGrid, options: PeriodOptions) -> Peaks:
    return fpw_peaks(*curves.arrays, grid, options.top_n_periods, options.samples_per_peak)


def _fpw(curves: LightCurves, freqs: np.ndarray, freq_offsets: np.ndarray, _: PeriodOptions) -> np.ndarray:
    return exact_weighted.fpw(*curves.arrays, freqs, freq_offsets)


METHODS = {
    "LS": _lomb_scargle(True),
    "CE": _entropy(False),
    "AOV": Method(_scan_aov, _aov),
    "ELS": _lomb_scargle(False),
    "ECE": _entropy(True),
    "EAOV": Method(_scan_aov, _aov),
    "MHAOV": Method(_scan_multiharmonic, _multiharmonic),
    "BLS": Method(_scan_boxes, _boxes),
    "FPW": Method(_scan_fpw, _fpw),
}


def changing_period_scan(
    name: str, curves: LightCurves, grid: FrequencyGrid, options: PeriodOptions
) -> DerivativePeaks:
    """Return the peaks of a method of `options.FOLDED` over frequencies and the period derivatives of the options."""
    assert name in FOLDED
    k, sep, pdots = options.top_n_periods, options.samples_per_peak, np.array(options.pdots)
    if name.endswith("AOV"):
        return aov_derivative_peaks(curves.hjd, curves.mag, curves.offsets, grid, pdots, k, sep)
    rescaled = name == "ECE"
    return conditional_entropy_derivative_peaks(curves.hjd, curves.mag, curves.offsets, grid, pdots, k, sep, rescaled)
