"""``scope-download-classification``: classifications, votes and periods from Fritz, with features from Kowalski."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scope_dask.commands._parser import Call, Command, flag, option, values
from scope_dask.commands._resuming import with_ending
from scope_dask.errors import OptionError, SchemaError

if TYPE_CHECKING:
    import pandas as pd

    from scope_dask.commands._downloading import Download
    from scope_dask.commands._merging import Merging

PARSE = "parse"

ARGUMENTS = (
    option("--file", "sources with obj_id, or ra and dec: csv, h5 or parquet; 'parse': those of groups", default=PARSE),
    values("--group-ids", "groups on Fritz, for --file parse", int),
    option("--start", "row of the file from which to begin, from 0; with --file parse, page of 500 from 1", int, 0),
    flag("--merge-features", "add the features of the light curves within 2 arcsec, from Kowalski"),
    option(
        "--features-catalog",
        "catalogue of features",
        default="ZTF_source_features_DR16",
        config=("kowalski", "collections", "features"),
    ),
    option("--features-limit", "light curves of a query", int, 1000),
    option("--taxonomy-map", "taxonomy mapper", default="golden_dataset_mapper.json"),
    option("--output-dir", "folder of the files", default="fritzDownload"),
    option("--output-filename", "file with the features", default="merged_classifications_features"),
    option("--output-format", "parquet, h5 or csv, where --output-filename does not say", default="parquet"),
    flag("--get-ztf-filters", "add the filter of each light curve, from the catalogue of sources"),
    flag("--impute-missing-features", "impute missing features by the strategies of the configuration"),
    flag("--update-training-set", "merge the features, and add them to the training set of the configuration by votes"),
    option("--updated-training-set-prefix", "what the name of the updated set begins with", default="updated_AL"),
    option("--min-vote-diff", "least net votes of a classification, for --update-training-set", int, 1),
)


@dataclass(frozen=True)
class Plan:
    """What a command line asks for.

    Attributes
    ----------
    download : Download or None
        None: the file has the classifications already.
    table : pandas.DataFrame or None
        Of the file.
    merging : Merging or None
    merged : Path
        File with the features.
    training, updated : Path or None
        Training set to be updated, and the file of the updated one.
    """

    download: Download | None
    table: pd.DataFrame | None
    merging: Merging | None
    merged: Path
    training: Path | None
    updated: Path | None

    @property
    def files(self) -> list[Path]:
        """What is written."""
        own = None if self.download is None else self.download.file
        return [file for file in (own, self.merged if self.merging else None, self.updated) if file is not None]


def plan_of(call: Call) -> Plan:
    """Return what a command line asks for.

    Raises
    ------
    OptionError, SourceError, SchemaError
        If an option is wrong, or a file is absent or lacks a column.
    """
    from scope_dask.commands._merging import training_set

    options = call.options
    for name, least in (("start", 0), ("features_limit", 1)):
        if getattr(options, name) < least:
            raise OptionError(f"--{name.replace('_', '-')} is {getattr(options, name)}, expected {least} or more")
    folder = Path(options.output_dir)
    merged = with_ending(folder / options.output_filename, options.output_format, "--output-format")
    table = None if options.file == PARSE else _read(Path(options.file))
    training = training_set(call.config) if options.update_training_set else None
    updated = training and training.with_name(f"{options.updated_training_set_prefix}_{training.name}")
    download = _download_of(call, table, folder, merged.suffix)
    return Plan(download, table, _merging_of(call), merged, training, updated)


def _read(file: Path) -> pd.DataFrame:
    from scope_dask.formats import read_table

    table = read_table(file)
    if "obj_id" not in table and not {"ra", "dec"} <= set(table):
        raise SchemaError(f"{file} has neither obj_id nor ra and dec; it has {', '.join(map(str, table.columns))}")
    return table


def _download_of(call: Call, table: pd.DataFrame | None, folder: Path, ending: str) -> Download | None:
    from scope_dask.commands._downloading import Download
    from scope_dask.fritz.download import NEEDED

    options = call.options
    groups, start = tuple(dict.fromkeys(options.group_ids or ())), options.start
    if table is None:
        if not groups:
            raise OptionError("--file parse downloads the sources of groups: name them by --group-ids")
        end = f"_continued_page_{start}" if start > 1 else ""
    else:
        if groups:
            warnings.warn("--group-ids is not used with --file: its sources are asked for", UserWarning, stacklevel=2)
        if set(NEEDED) <= set(table.columns):
            return None
        if start and start >= len(table):
            raise OptionError(f"--start is {start}, and {options.file} has {len(table)} rows, from 0")
        end, groups = f"_continued_index_{start}" if start else "", ()
    return Download(table, groups, start, folder / f"{Path(options.file).stem}_fritzDownload{end}{ending}")


def _merging_of(call: Call) -> Merging | None:
    from scope_dask.commands._merging import Merging
    from scope_dask.fritz.mappers import read_mapper

    options = call.options
    update = options.update_training_set
    if not (options.merge_features or update):
        for name in ("get_ztf_filters", "impute_missing_features"):
            if getattr(options, name):
                what = f"--{name.replace('_', '-')} is not used without --merge-features"
                warnings.warn(what, UserWarning, stacklevel=2)
        return None
    mapper = read_mapper(options.taxonomy_map)
    votes = options.min_vote_diff if update else None
    return Merging(options.features_catalog, options.features_limit, mapper, options.get_ztf_filters, votes)


def run(call: Call) -> None:
    """Download classifications and merge features, or tell what would be done."""
    from scope_dask.commands._downloading import download
    from scope_dask.fritz import Fritz

    plan = plan_of(call)
    if call.dry_run:
        _show(call, plan)
        return
    table = plan.table
    if plan.download is not None:
        with Fritz.from_config(call.config) as fritz:
            table = download(call, fritz, plan.download)
        found = int(table["classification"].notna().sum())
        call.say(f"{found} of {len(table)} sources have classifications, in {plan.download.file}")
    assert table is not None
    if plan.merging is not None:
        _merge(call, plan, plan.merging, table)


def _merge(call: Call, plan: Plan, how: Merging, table: pd.DataFrame) -> None:
    from scope_dask._version import __version__
    from scope_dask.commands._merging import imputed, merged, updated
    from scope_dask.formats import read_table, write_table
    from scope_dask.sources.kowalski import Kowalski

    whole = merged(Kowalski.from_config(call.config), table, how)
    if call.options.impute_missing_features:
        whole = imputed(whole, call.config)
    metadata = {
        "scope_code_version": __version__,
        "features_ztf_dataRelease": how.catalog.split("_")[-1],
        "features_imputed": bool(call.options.impute_missing_features),
    }
    write_table(whole, plan.merged, metadata)
    call.say(f"{len(whole)} light curves with features and labels in {plan.merged}")
    if plan.training is not None and plan.updated is not None:
        before = read_table(plan.training)
        after = updated(before, whole, [name for name, entry in how.mapper.items() if entry.uploaded])
        write_table(after, plan.updated, before.attrs.get("scope", {}))
        call.say(f"{len(after) - len(before)} light curves more than in {plan.training}, in {plan.updated}")


def _show(call: Call, plan: Plan) -> None:
    """Print what would be read, sent and written."""
    from scope_dask.fritz import Fritz
    from scope_dask.sources.kowalski import Kowalski

    if plan.download is None:
        call.say(f"{call.options.file} has the classifications: would not ask Fritz")
    else:
        fritz, table = Fritz.from_config(call.config), plan.download.table
        groups = f"the sources of the groups {', '.join(map(str, plan.download.groups))}"
        what = groups if table is None else f"{len(table) - plan.download.start} sources"
        call.say(f"would ask {fritz} for the classifications, votes and annotations of {what}")
    if plan.merging is not None:
        kowalski = Kowalski.from_config(call.config)
        call.say(f"would ask {kowalski} for the features of their light curves in {plan.merging.catalog}")
    for file in plan.files:
        call.say(f"would write {file}")


COMMAND = Command(
    "scope-download-classification",
    "Download the classifications of sources from Fritz, and merge the features of their light curves.",
    ARGUMENTS,
    run,
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
