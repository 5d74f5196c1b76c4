"""From the options of a command to a job of the feature generation."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from scope_dask.commands._layout import find_file
from scope_dask.errors import OptionError, nearest

if TYPE_CHECKING:
    from scope_dask.commands._parser import Call
    from scope_dask.crossmatch import Catalog
    from scope_dask.extraction.features import FeatureOptions
    from scope_dask.generation import (
        Catalogs,
        FeatureFolder,
        GenerationOptions,
        Job,
        Origin,
        Quadrant,
        SpecificIds,
    )

ALGORITHMS = {"CPU": ("LS", "CE", "AOV", "LS_CE_AOV"), "GPU": ("ELS", "ECE", "EAOV", "ELS_ECE_EAOV")}
MINUTES_PER_DAY = 1440.0


def check_device(call: Call) -> None:
    """Check that one device is asked for at most, and that a GPU is there where this machine is to compute on it.

    Raises
    ------
    OptionError, RunError
    """
    from scope_dask.generation.gpu import require_gpu

    options = call.options
    if options.doCPU and options.doGPU:
        raise OptionError("--doCPU and --doGPU are both given: one of them decides")
    if options.doGPU and not options.cluster and not call.dry_run:
        require_gpu(None)


def job_of(call: Call, what: Quadrant | SpecificIds | None = None, folder: FeatureFolder | None = None) -> Job:
    """Return the job that a command line asks for.

    Parameters
    ----------
    call : Call
    what : Quadrant or SpecificIds, optional
        By default what the options name.
    folder : FeatureFolder, optional
        By default that of the options.

    Raises
    ------
    OptionError, SourceError
        If an option is wrong, or a file that it names cannot be read.
    """
    from scope_dask.generation import Job

    options = call.options
    folder = folder_of(call) if folder is None else folder
    what = what_of(call, folder) if what is None else what
    origin, generation = origin_of(call), options_of(call)
    names = {
        "ZTF_source_catalog": "source_catalog",
        "ZTF_alerts_catalog": "alerts_catalog",
        "Gaia_catalog": "gaia_catalog",
    }
    stated = {key: str(getattr(options, name)) for key, name in names.items()}
    stated["ZTF_source_catalog"] = origin.name
    return Job(origin, what, folder, generation, catalogs_of(call, origin, generation), stated)


def folder_of(call: Call, suffix: str = "") -> FeatureFolder:
    """Return the folder of the features, `suffix` added to its name and to those of the files.

    Raises
    ------
    OptionError
        If the names of the files would begin with a folder.
    """
    from scope_dask.generation import FeatureFolder
    from scope_dask.user_config.features import feature_generation

    if Path(call.options.filename).name != call.options.filename:
        raise OptionError(f"--filename is {call.options.filename!r}, expected a name without slashes; see --dirname")
    root = Path(os.path.expanduser(feature_generation(call.config).path_to_features or "."))
    return FeatureFolder(root / f"{call.options.dirname}{suffix}", f"{call.options.filename}{suffix}")


def what_of(call: Call, folder: FeatureFolder) -> Quadrant | SpecificIds:
    """Return the quadrant or the ids that the options name."""
    from scope_dask.generation import Quadrant
    from scope_dask.generation.specific import read_specific_ids
    from scope_dask.user_config.features import feature_generation

    options = call.options
    if options.doQuadrantFile and options.doSpecificIDs:
        raise OptionError("--doQuadrantFile and --doSpecificIDs are both given: one of them decides")
    if options.doSpecificIDs:
        skipped = feature_generation(call.config).ids_skipGaia if options.skipCloseSources else None
        if not (path := options.fg_dataset or skipped):
            raise OptionError(
                "--doSpecificIDs needs a file with ztf_id: give --fg-dataset, or dataset below feature_generation in "
                "config.yaml"
            )
        return read_specific_ids(find_file(os.path.expanduser(path)))
    if options.doQuadrantFile:
        return folder.job(options.quadrant_file, options.quadrant_index)
    for name, least, most in (("field", 0, 10**6), ("ccd", 1, 16), ("quad", 1, 4)):
        if not least <= getattr(options, name) <= most:
            raise OptionError(f"--{name} is {getattr(options, name)}, expected {least} to {most}")
    return Quadrant(options.field, options.ccd, options.quad)


def origin_of(call: Call) -> Origin:
    """Return where the light curves come from."""
    from scope_dask.generation import ArchiveOrigin, KowalskiOrigin
    from scope_dask.sources.kowalski import Kowalski, KowalskiOptions

    options = call.options
    for name in ("query_size_limit", "Ncore", "n_workers"):
        if (number := getattr(options, name)) is not None and number < 1:
            raise OptionError(f"--{name.replace('_', '-')} is {number}, expected 1 or more")
    if options.source_archive:
        return ArchiveOrigin(os.path.expanduser(options.source_archive))
    # The documents of a query are in memory together: more than the library's own number are never asked for.
    rows = min(options.query_size_limit, KowalskiOptions.__dataclass_fields__["query_rows"].default)
    kowalski = Kowalski.from_config(call.config, max_queries=options.Ncore, query_rows=rows)
    return KowalskiOrigin(kowalski, options.source_catalog)


def catalogs_of(call: Call, origin: Origin, generation: GenerationOptions) -> Catalogs:
    """Return the catalogues: local copies where they are named, else Kowalski's where light curves come from there."""
    from scope_dask.crossmatch import LocalCatalog
    from scope_dask.generation import Catalogs, KowalskiOrigin
    from scope_dask.generation.origins import named_paths
    from scope_dask.sources.kowalski.as_catalog import KowalskiCatalog
    from scope_dask.user_config.features import feature_generation

    options = call.options
    paths = named_paths(options.catalog_path or [])
    external = tuple(generation.crossmatch.fields)
    gaia = options.gaia_catalog if generation.bright_stars is not None else None
    wanted = [name for name in (gaia, options.alerts_catalog, *external) if name]
    for name in paths:
        if name not in (*wanted, options.gaia_catalog):
            raise OptionError(
                f"--catalog-path names {name!r}{nearest(name, wanted)}; catalogues are {', '.join(wanted)}"
            )
    filters = feature_generation(call.config).external_filters

    def catalog(name: str, condition: Mapping[str, Any]) -> Catalog | None:
        if name in paths:
            return LocalCatalog(paths[name], condition=condition)
        return KowalskiCatalog(origin.kowalski, name, condition) if isinstance(origin, KowalskiOrigin) else None

    matched = {name: catalog(name, filters.get(name, {})) for name in external}
    stars, alerts = (catalog(name, {}) if name else None for name in (gaia, options.alerts_catalog))
    found = {**matched, gaia: stars, options.alerts_catalog: alerts}
    _warn_of_missing([name for name in dict.fromkeys(wanted) if found[name] is None], gaia)
    return Catalogs(stars, alerts, {name: own for name, own in matched.items() if own is not None})


def _warn_of_missing(names: Sequence[str], gaia: str | None) -> None:
    if not names:
        return
    what = "their columns are left out" + (", and sources close to bright stars are kept" if gaia in names else "")
    warnings.warn(f"no --catalog-path for {', '.join(names)}: {what}", UserWarning, stacklevel=4)


def options_of(call: Call) -> GenerationOptions:
    """Return what is computed."""
    from scope_dask.conditioning.lightcurves import LightCurveOptions
    from scope_dask.crossmatch import BrightStarOptions, CrossmatchOptions
    from scope_dask.generation import GenerationOptions
    from scope_dask.user_config.features import feature_generation

    options = call.options
    section = feature_generation(call.config)
    # Positions are part of a match, not a feature of it.
    fields = {
        name: tuple(field for field in fields if not field.startswith("coordinates"))
        for name, fields in section.external_catalogs.items()
    }
    return GenerationOptions(
        lightcurves=LightCurveOptions(options.min_n_lc_points, options.min_cadence_minutes),
        features=features_of(call),
        find_periods=options.doCPU or options.doGPU,
        cesium=section.cesium_features if options.doCesium else (),
        bright_stars=(None if options.skipCloseSources else BrightStarOptions(options.bright_star_query_radius_arcsec)),
        crossmatch=CrossmatchOptions(options.xmatch_radius_arcsec, fields),
        max_timestamp_hjd=options.max_timestamp_hjd,
        first=options.query_size_limit if options.stop_early else None,
        period_batch_size=options.period_batch_size,
    )


def features_of(call: Call) -> FeatureOptions:
    """Return the options of the features: algorithms, frequencies, device."""
    from scope_dask.extraction.features import FeatureOptions
    from scope_dask.periods.options import PeriodOptions
    from scope_dask.user_config.features import feature_options

    options = call.options
    device: Literal["cpu", "gpu"] = "gpu" if options.doGPU else "cpu"
    feature_options(call.config, device.upper())  # the bins of dmdt in the file are checked
    fastest = options.max_freq
    if options.doScaleMinPeriod:
        if not options.min_cadence_minutes > 0:
            raise OptionError("--doScaleMinPeriod needs --min-cadence-minutes above 0")
        fastest = MINUTES_PER_DAY / (2 * options.min_cadence_minutes)
    periods = PeriodOptions(
        algorithms=algorithms_of(call),
        max_freq=fastest,
        samples_per_peak=options.samples_per_peak,
        remove_terrestrial=options.doRemoveTerrestrial,
        top_n_periods=options.top_n_periods,
        nested_full_aov=options.nested_full_aov,
    )
    return replace(FeatureOptions(fourier=options.fourier, device=device), periods=periods)


def algorithms_of(call: Call) -> tuple[str, ...]:
    """Return the period algorithms of the command line, or those of the configuration for the device.

    Raises
    ------
    OptionError
        If there is no such algorithm.
    """
    from scope_dask.user_config.features import period_algorithms

    given = call.options.period_algorithms or period_algorithms(call.config, "GPU" if call.options.doGPU else "CPU")
    names = tuple(str(name).removesuffix("_periodogram") for name in given)
    known = [name for own in ALGORITHMS.values() for name in own]
    for name in names:
        if name not in known:
            listed = ", ".join(f"{' '.join(own)} ({device})" for device, own in ALGORITHMS.items())
            raise OptionError(f"there is no period algorithm {name!r}; there are {listed}")
    return names
