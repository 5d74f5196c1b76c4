"""Scores as probabilities: the curve from what a model says to how often that is right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from scope_dask.inference.preparation import Score

_EDGE = float(np.finfo(np.float32).eps)  # scores are no nearer to 0 and 1 than this


@dataclass(frozen=True, slots=True)
class Calibration:
    """A curve that never falls, fitted to the scores of stars that the model was not trained on.

    Attributes
    ----------
    method : str
        ``sigmoid`` (Platt 1999): the log-odds become ``slope × log-odds + intercept``. ``isotonic`` (Zadrozny and
        Elkan 2002): straight lines between points, constant beyond them.
    x, y : tuple of float
        Points of the curve; of a sigmoid (slope,) and (intercept,).
    """

    method: str
    x: tuple[float, ...]
    y: tuple[float, ...]

    def apply(self, scores: np.ndarray) -> np.ndarray:
        """Return calibrated scores, float32; each depends on its own score alone, NaN stays NaN."""
        given = np.asarray(scores, dtype=np.float64)
        if self.method == "isotonic":
            return np.interp(given, self.x, self.y).astype(np.float32)
        from scipy.special import expit

        return np.asarray(expit(self.x[0] * log_odds(given) + self.y[0]), dtype=np.float32)

    def wrap(self, score: Score) -> Score:
        """Return a model's function that scores, calibrated."""

        def calibrated(x: np.ndarray, histograms: np.ndarray | None, rows: np.ndarray) -> np.ndarray:
            return self.apply(score(x, histograms, rows))

        return calibrated

    @classmethod
    def from_mapping(cls, content: Mapping[str, Any]) -> Calibration:
        """Build it of its attributes, as a JSON file has them."""
        return cls(str(content["method"]), tuple(map(float, content["x"])), tuple(map(float, content["y"])))


def log_odds(scores: np.ndarray) -> np.ndarray:
    """Return ``ln(p/(1 − p))`` of scores, finite at 0 and 1."""
    from scipy.special import logit

    return np.asarray(logit(np.clip(scores, _EDGE, 1.0 - _EDGE)))
