"""What the file says about features: which are computed, which models see, and how missing ones are imputed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from scope_dask.errors import OptionError, nearest
from scope_dask.mapping import from_mapping
from scope_dask.training.options import Imputation, TrainingOptions
from scope_dask.user_config.file import UserConfig

if TYPE_CHECKING:
    from scope_dask.extraction.features import FeatureOptions

STRATEGIES: tuple[str, ...] = get_args(Imputation)


def feature_options(config: UserConfig, algorithms_of: str = "CPU") -> FeatureOptions:
    """Return the options of the feature extraction.

    Parameters
    ----------
    config : UserConfig
    algorithms_of : {"CPU", "GPU"}
        Which list of ``feature_generation: period_algorithms`` is taken.

    Raises
    ------
    OptionError
        If an algorithm is unknown, or the file has other dmdt bins than features are computed with.
    """
    import numpy as np

    from scope_dask.extraction.dmdt import DM_EDGES, DT_EDGES
    from scope_dask.extraction.features import FeatureOptions
    from scope_dask.periods.options import PeriodOptions

    for name, edges in (("dtints", DT_EDGES), ("dmints", DM_EDGES)):
        found = config.get("feature_generation", "dmdt_ints", name)
        if found is not None and not np.array_equal(np.asarray(found, dtype=float), edges):
            raise OptionError(
                f"{config.path}: feature_generation: dmdt_ints: {name} is {found}, but dmdt is made with the edges "
                f"{edges.tolist()} only: remove the key"
            )
    algorithms = config.get("feature_generation", "period_algorithms", algorithms_of)
    where = f"{config.path}: feature_generation: period_algorithms"
    periods = {} if algorithms is None else {"algorithms": algorithms}
    return FeatureOptions(periods=from_mapping(PeriodOptions, periods, where))


def period_suffix(config: UserConfig) -> str | None:
    """Return the period algorithm whose columns models use; None where they have no suffix."""
    info = config.get("features", "info", default={})
    if "period_suffix" not in info:
        return TrainingOptions().period_suffix
    suffix = info["period_suffix"]
    return None if suffix in (None, "None") else str(suffix)


def feature_names(config: UserConfig, set_name: str, suffix: str | None) -> tuple[str, ...] | None:
    """Return the included features of a set, in the order of the file, periodic ones with the suffix.

    Parameters
    ----------
    config : UserConfig
    set_name : str
        Such as ``phenomenological`` or ``ontological``.
    suffix : str or None
        As `period_suffix` gives it.

    Returns
    -------
    tuple of str or None
        None where the file has no feature sets: the default of `TrainingOptions.features`.

    Raises
    ------
    OptionError
        If the file has feature sets, but not this one.
    """
    sets = {name: entries for name, entries in config.get("features", default={}).items() if name != "info"}
    if not sets:
        return None
    if set_name not in sets:
        hint = nearest(set_name, sets)
        raise OptionError(f"{config.path}: there is no feature set {set_name!r}{hint}; there are {', '.join(sets)}")
    end = f"_{suffix}" if suffix else ""
    entries = {name: entry or {} for name, entry in config.get("features", set_name, default={}).items()}
    return tuple(
        f"{name}{end}" if entry.get("periodic") else str(name)
        for name, entry in entries.items()
        if entry.get("include", True)
    )


def imputation_strategies(config: UserConfig, suffix: str | None) -> dict[str, str]:
    """Return how missing values of each feature are imputed, from whichever set of the file states it.

    Parameters
    ----------
    config : UserConfig
    suffix : str or None
        Of the names of periodic features, as `period_suffix` gives it.

    Returns
    -------
    dict of str to str
        ``zero``, ``mean``, ``median``, ``regress`` or ``none`` (a row without the feature is left out), in the order
        of the file; the sets of the packaged defaults where the file has none.

    Raises
    ------
    OptionError
        If the file states another strategy.
    """
    stated: dict[str, str] = {}
    for set_name, entries in config.section("features").items():
        for name, entry in entries.items() if set_name != "info" else ():
            if not isinstance(entry, Mapping) or "impute_strategy" not in entry:
                continue
            strategy = str(entry["impute_strategy"]).lower()
            if strategy not in STRATEGIES:
                where = f"{config.path}: features: {set_name}: {name}: impute_strategy"
                raise OptionError(f"{where} is {strategy!r}{nearest(strategy, STRATEGIES)}; {', '.join(STRATEGIES)}")
            stated[f"{name}_{suffix}" if suffix and entry.get("periodic") else str(name)] = strategy
    return stated


def feature_statistics(config: UserConfig) -> dict[str, dict[str, float]]:
    """Return min, max, median, mean and std of features that the file states for scaling; empty if it has none.

    Raises
    ------
    OptionError
        If one is not a number.
    """
    stated = {name: config.get("feature_stats", name, default={}) for name in config.get("feature_stats", default={})}
    try:
        return {name: {key: float(value) for key, value in values.items()} for name, values in stated.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise OptionError(f"{config.path}: feature_stats: expected numbers below each feature: {error}") from None


@dataclass(frozen=True, slots=True)
class FeatureGeneration:
    """The section ``feature_generation`` of the file, beside the options of the extraction itself.

    Attributes
    ----------
    path_to_features : str or None
        Folder of the generated features; None: the working folder.
    dataset : str or None
        File with the sources of ``--doSpecificIDs``.
    ids_skipGaia : str or None
        File with ids that keep their place near bright stars.
    fields_to_run : tuple of int
    cesium_features : tuple of str
        Names that the package cesium knows.
    external_catalogs : dict of str to tuple of str
        Catalogue to its fields that become features.
    external_filters : dict of str to dict
        Catalogue to what its objects must meet to be matched, in Kowalski's language; empty: any.
    """

    path_to_features: str | None = None
    dataset: str | None = None
    ids_skipGaia: str | None = None  # noqa: N815 - the key of the file
    fields_to_run: tuple[int, ...] = ()
    cesium_features: tuple[str, ...] = ()
    external_catalogs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    external_filters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def feature_generation(config: UserConfig) -> FeatureGeneration:
    """Return the section ``feature_generation``; what the file leaves out is as in the packaged defaults.

    Raises
    ------
    OptionError
        If a value has another kind.
    """
    where = f"{config.path}: feature_generation"
    names = [f.name for f in fields(FeatureGeneration) if not f.name.startswith("external_")]
    content = {name: config.section("feature_generation", name) for name in names}
    catalogs = config.section("feature_generation", "external_catalog_features")
    found = from_mapping(FeatureGeneration, {k: v for k, v in content.items() if v is not None}, where)
    return replace(
        found,
        external_catalogs={name: _fields(entry, f"{where}: {name}") for name, entry in catalogs.items()},
        external_filters={name: _filter(entry, f"{where}: {name}") for name, entry in catalogs.items()},
    )


def _fields(entry: Any, where: str) -> tuple[str, ...]:
    """Return the fields of a catalogue's projection."""
    projection = entry.get("projection") if isinstance(entry, Mapping) else None
    if not isinstance(projection, Mapping):
        raise OptionError(f"{where}: expected a projection with the fields, found {entry!r}")
    return tuple(str(name) for name, wanted in projection.items() if wanted)


def _filter(entry: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """Return what the objects of a catalogue must meet."""
    found = entry.get("filter") or {}
    if not isinstance(found, Mapping):
        raise OptionError(f"{where}: expected a filter of keys and values, found {found!r}")
    return found


def period_algorithms(config: UserConfig, device: Literal["CPU", "GPU"]) -> tuple[str, ...]:
    """Return the algorithms of ``feature_generation: period_algorithms`` for a device."""
    found = config.section("feature_generation", "period_algorithms", device)
    return tuple(map(str, found if isinstance(found, list) else [found]))
