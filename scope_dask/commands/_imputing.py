"""What of downloaded features is imputed, and how it is fitted on all of them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scope_dask.commands._feature_files import read_pages
from scope_dask.errors import SourceError
from scope_dask.formats import common_schema, read_table
from scope_dask.training.imputation import Imputation, fit_imputation
from scope_dask.user_config import packaged_defaults
from scope_dask.user_config.features import feature_names, imputation_strategies, period_suffix

if TYPE_CHECKING:
    from scope_dask.user_config import UserConfig

SET = "ontological"  # the set of features that is imputed


@dataclass(frozen=True)
class Imputing:
    """What is imputed, and on which rows it is fitted.

    Attributes
    ----------
    strategies : mapping
        Of every included feature.
    dataset : Path or None
        Training set; None: the rows of the call.
    """

    strategies: Mapping[str, str]
    dataset: Path | None

    def describe(self) -> dict[str, Any]:
        """Return what tells this imputation from another."""
        stat = self.dataset.stat() if self.dataset else None
        file = None if stat is None else [str(self.dataset), stat.st_size, stat.st_mtime_ns]
        return {"strategies": dict(self.strategies), "dataset": file}

    def fit(self, parts: list[Path]) -> Imputation | None:
        """Fit the strategies of the features that the pages have; None where they have none.

        Raises
        ------
        SchemaError, SourceError
            If the training set lacks a feature or cannot be read.
        """
        names = common_schema(parts).names
        strategies = {name: kind for name, kind in self.strategies.items() if name in names}
        if absent := [name for name in self.strategies if name not in strategies]:
            shown = ", ".join(absent[:3]) + "…" * (len(absent) > 3)
            warn(f"{len(absent)} of {len(self.strategies)} features to impute are not among the columns: {shown}")
        if not strategies:
            return None
        needed = [name for name, kind in strategies.items() if kind not in ("zero", "none")]
        reference = read_pages(parts, needed) if self.dataset is None else read_table(self.dataset, needed)
        fitted = fit_imputation(reference, strategies)
        if fitted.unfitted:
            warn(
                f"no row has {', '.join(fitted.unfitted)}: left missing; --no-self-impute takes the values of the "
                "training set"
            )
        return fitted


def warn(sentence: str) -> None:
    """Warn the user."""
    warnings.warn(sentence, UserWarning, stacklevel=3)


def changed(types: Mapping[str, str], fitted: Imputation | None, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with columns of these types, and imputed features.

    Features that no light curve of a quadrant has are missing in all of its rows.
    """
    frame = frame.astype(dict(types))
    if fitted is None:
        return frame
    absent = {name: np.nan for name in fitted.strategies if name not in frame.columns}
    return fitted.complete(frame.assign(**absent))


def _included(config: UserConfig, suffix: str | None) -> tuple[str, ...]:
    """Return the features that models use, by the configuration."""
    found = feature_names(config, SET, suffix)
    return found if found is not None else feature_names(packaged_defaults(), SET, suffix) or ()


def kinds_of(config: UserConfig, suffix: str | None) -> dict[str, str]:
    """Return the type that the configuration states of each feature."""
    entries = config.section("features", SET) or {}
    named = {f"{name}_{suffix}" if suffix and e.get("periodic") else str(name): e for name, e in entries.items() if e}
    return {name: str(entry["dtype"]) for name, entry in named.items() if "dtype" in entry}


def imputing_of(config: UserConfig, on_training_set: bool) -> Imputing:
    """Return what the configuration says of imputation; with `on_training_set` fitted on ``training: dataset``.

    Raises
    ------
    OptionError
        If a strategy is unknown.
    SourceError
        If the training set is not there.
    """
    suffix = period_suffix(config)
    stated = imputation_strategies(config, suffix)
    strategies = {name: stated[name] for name in _included(config, suffix) if name in stated}
    if not on_training_set:
        return Imputing(strategies, None)
    dataset = config.section("training", "dataset")
    if dataset is None or not Path(dataset).is_file():
        raise SourceError(
            f"--no-self-impute needs the training set, training: dataset: of the configuration; {dataset} is no file"
        )
    return Imputing(strategies, Path(dataset))
