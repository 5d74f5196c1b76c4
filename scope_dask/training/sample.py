"""What a model of one class is fitted to, and what comes of it: the same of every kind of model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from scope_dask.inference.calibration import Calibration
from scope_dask.inference.preparation import Inputs, Preparation, Score


@dataclass(frozen=True)
class Sample:
    """What a model of one class is fitted to.

    Attributes
    ----------
    names : tuple of str
        Of the features.
    inputs : Inputs
        Of all rows.
    y : numpy.ndarray
        1 for members, 0 for others, of all rows.
    parts : dict of numpy.ndarray
        Rows of training, validation and test.
    preparation : Preparation
        Fitted on the training rows.
    groups : numpy.ndarray of uint64
        Star of each row, as of `scope_dask.training.dataset.group_keys`.
    """

    names: tuple[str, ...]
    inputs: Inputs
    y: np.ndarray
    parts: dict[str, np.ndarray]
    preparation: Preparation
    groups: np.ndarray

    def x(self, part: str) -> np.ndarray:
        """Return the prepared features of the rows of a part, float32."""
        return self.preparation.apply(self.inputs.values[self.parts[part]])

    def targets(self, part: str) -> np.ndarray:
        """Return 1 for members and 0 for others of the rows of a part."""
        found: np.ndarray = self.y[self.parts[part]]
        return found

    def weights(self) -> tuple[float, float]:
        """Return the weights of members and others of the training part that make both count the same.

        The larger one is 1, and stands with the kind that has fewer rows.
        """
        members = float(self.targets("train").sum())
        others = len(self.parts["train"]) - members
        fewest = min(members, others)
        return fewest / members, fewest / others


@dataclass(frozen=True)
class Fitted:
    """A model that was fitted to a `Sample`.

    Attributes
    ----------
    preparation : Preparation
    score : Score
    files : dict of bytes
        Contents of the model's files by suffix, the one that scoring reads first.
    copies : tuple of str
        Suffixes of files that hold the same model in another format.
    parameters, metrics : dict
        What the manifest says beside the options and the results on held-out stars.
    versions : dict
        Of the packages that made it.
    calibration : Calibration or None
        That `score` is calibrated by.
    """

    preparation: Preparation
    score: Score
    files: dict[str, bytes]
    copies: tuple[str, ...]
    parameters: dict[str, Any]
    metrics: dict[str, Any]
    versions: dict[str, str]
    calibration: Calibration | None = None
