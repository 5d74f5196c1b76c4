"""How models without a manifest are fed, such as those of SCoPe 0.9.5: as the configuration says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from scope_dask.errors import ModelError, OptionError, SourceError
from scope_dask.formats import read_table
from scope_dask.inference.preparation import Preparation, feature_values
from scope_dask.mapping import read_yaml
from scope_dask.training.dataset import fit_preparation
from scope_dask.training.options import Scaling, TrainingOptions
from scope_dask.user_config import UserConfig, packaged_defaults
from scope_dask.user_config.features import feature_names, feature_statistics, imputation_strategies

SCALINGS = ("min_max", "median_std", "none")
BITS = (64, 32, 16)
_FROM_STATISTICS = {"zero": None, "mean": "mean", "median": "median", "regress": "median"}


@dataclass(frozen=True)
class Preparations(Mapping[str, Preparation]):
    """The preparation of each class, fitted when it is asked for.

    Attributes
    ----------
    config : UserConfig
    suffix : str or None
        Period algorithm of the features.
    scaling : str
        ``min_max``, ``median_std`` or ``none``.
    statistics : mapping
        Feature to its statistics, for scaling and in place of what is missing; empty: those of the training set.
    dataset : str or None
        Training set; None: none is needed, or there is none.
    float_bits : int
    names : mapping of str to str
        Class that a model is of, by the name in its file, where these differ.
    """

    config: UserConfig
    suffix: str | None
    scaling: str = "min_max"
    statistics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    dataset: str | None = None
    float_bits: int = 32
    names: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, tag: str) -> Preparation:
        """Return the preparation of a class.

        Raises
        ------
        ModelError
            If the features of the class are not known, or there is nothing to fit on.
        SourceError
            If the training set cannot be read.
        """
        tag = self.names.get(tag, tag)
        names = self._features(tag)
        strategies = self._strategies
        options = TrainingOptions(
            features=names,
            period_suffix=self.suffix,
            imputation="none",
            imputation_of={name: strategies[name] for name in names if name in strategies},
            scaling=cast(Scaling, self.scaling),
            feature_stats=self.statistics,
        )
        if self._reference is None:
            return self._by_statistics(names, options)
        lacking = [name for name in names if name not in self._reference]
        if lacking:
            raise ModelError(
                f"the training set {self.dataset} lacks {', '.join(lacking[:5])}{'…' * (len(lacking) > 5)}, features "
                f"of the class {tag}: name another with --trainingSet, or another --period-suffix"
            )
        values = feature_values(self._reference, names)
        return replace(fit_preparation(values, names, options), float_bits=self.float_bits)

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)

    def __contains__(self, tag: object) -> bool:
        return self.names.get(str(tag), tag) in self._classes

    @cached_property
    def _classes(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.config.section("training", "classes") or {}
        return found

    @cached_property
    def _strategies(self) -> dict[str, Any]:
        return imputation_strategies(self.config, self.suffix)

    def _features(self, tag: str) -> tuple[str, ...]:
        group = self._classes[tag].get("features", "phenomenological")
        found = feature_names(self.config, group, self.suffix)
        return found if found is not None else feature_names(packaged_defaults(), group, self.suffix) or ()

    @cached_property
    def _reference(self) -> Any:
        """The features of the training set; None where statistics are stated in their place."""
        if self.dataset is None:
            return None
        if not Path(self.dataset).exists():
            if self.statistics:
                return None
            raise SourceError(
                f"the training set {self.dataset} is not there, and models without a manifest are scaled and imputed "
                "by it: name it with --trainingSet or below training: dataset: in config.yaml, or give "
                "--feature-stats config"
            )
        return read_table(self.dataset)

    def _by_statistics(self, names: tuple[str, ...], options: TrainingOptions) -> Preparation:
        """Return the preparation by stated statistics; a feature without them is as it is."""
        end = f"_{self.suffix}" if self.suffix else ""
        own = {name: self.statistics.get(name) or self.statistics.get(name.removesuffix(end)) or {} for name in names}
        imputation: list[float | None] = []
        for name in names:
            strategy = options.imputation_of.get(name, "none")
            key = _FROM_STATISTICS.get(strategy)
            imputation.append(0.0 if strategy == "zero" else own[name].get(key) if key else None)
        scales = [_scale(own[name], self.scaling) for name in names] if self.scaling != "none" else []
        offset, width = tuple(low for low, _ in scales), tuple(wide or 1.0 for _, wide in scales)
        return Preparation(names, tuple(imputation), self.scaling, offset, width, float_bits=self.float_bits)


def _scale(statistics: Mapping[str, float], scaling: str) -> tuple[float, float]:
    """Return offset and width of a feature; where they are not stated, of one that is not scaled."""
    if scaling == "min_max":
        low = statistics.get("min", 0.0)
        return low, statistics.get("max", low + 1.0) - low
    return statistics.get("median", 0.0), statistics.get("std", 1.0)


def statistics_of(stated: str | None, config: UserConfig) -> dict[str, dict[str, float]]:
    """Return the statistics that ``--feature-stats`` names: ``config``, or a JSON or YAML file.

    Raises
    ------
    OptionError, SourceError
        If there are none there.
    """
    if stated is None:
        return {}
    if stated == "config":
        found = feature_statistics(config) or feature_statistics(packaged_defaults())
        if not found:
            raise OptionError(f"--feature-stats is config, and {config.path} has no feature_stats: write them there")
        return found
    path = Path(stated)
    if not path.is_file():
        raise SourceError(f"--feature-stats is {stated!r}, expected config or a JSON or YAML file of statistics")
    try:
        content = json.loads(path.read_text()) if path.suffix == ".json" else read_yaml(path)
        return feature_statistics(UserConfig({"feature_stats": content}, stated))
    except (ValueError, AttributeError) as error:
        raise SourceError(f"{stated} cannot be read as statistics: {error}") from None
