"""``scope-upload-classification``: classifications of a table to Fritz, with sources, photometry and comments."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from scope_dask.commands._parser import Call, Command, flag, option, values
from scope_dask.commands._resuming import with_ending
from scope_dask.errors import OptionError, SchemaError

if TYPE_CHECKING:
    import pandas as pd

    from scope_dask.commands._posting import Posting
    from scope_dask.commands._upload_table import Upload
    from scope_dask.fritz.upload import UploadOptions
    from scope_dask.sources.kowalski import Kowalski

ARGUMENTS = (
    option("--file", "table with ra, dec and probabilities: csv, h5 or parquet", required=True),
    values("--group-ids", "groups on Fritz", int, required=True),
    values("--classification", "keys of the taxonomy mapper; 'read': all that are columns; none: no classifications"),
    option("--taxonomy-map", "taxonomy mapper, for --classification"),
    option("--comment", "comment on each source"),
    option("--start", "first row, from 0", int),
    option("--stop", "last row, included", int),
    option("--classification-origin", "where the classifications come from", default="SCoPe"),
    flag("--skip-phot", "no photometry of sources that are there already"),
    flag("--post-survey-id", "annotate the id in the column survey_id"),
    option("--survey-id-origin", "origin of these annotations", default="SCoPe_xmatch"),
    option("--p-threshold", "least probability that is posted; at 0 only those above it", float, 0.0),
    flag("--match-ids", "a source is the same only if its annotated survey_id is"),
    flag("--use-existing-obj-id", "sources have the names in the column obj_id"),
    flag("--post-upvote", "vote for the new classifications"),
    flag("--check-labelled-box", "tick the box 'labelled' of the sources"),
    flag("--write-obj-id", "write a copy of the file with the names of the sources in obj_id"),
    option("--result-dir", "folder of the result files", default="fritzUpload"),
    option("--result-filetag", "what is added to the name of the file", default="fritzUpload"),
    option("--result-format", "parquet, h5 or csv, where --result-filetag does not say", default="parquet"),
    flag("--replace-classifications", "first take the classifications that are there out of the groups"),
    option("--radius-arcsec", "light curves within this radius of a source are its photometry", float, 2.0),
    flag("--no-ml", "the classifications do not come from machine learning"),
    flag("--post-phot-as-comment", "attach a plot of the photometry to a comment"),
    flag("--post-phasefolded-phot", "attach one folded by the column period as well"),
    option("--phot-dirname", "folder of the plots", default="phot_plots"),
    option("--instrument-name", "instrument of the photometry", default="ZTF"),
)


def upload_of(call: Call) -> Upload:
    """Return what a command line asks for.

    Raises
    ------
    OptionError, SourceError, SchemaError
        If an option is wrong, or a file is absent or lacks a column.
    """
    from scope_dask.commands._upload_table import Upload, pairing
    from scope_dask.formats import read_table
    from scope_dask.fritz.mappers import read_mapper

    options = call.options
    table = read_table(options.file)
    _require(call, table)
    if options.classification and not options.taxonomy_map:
        raise OptionError("--classification needs a taxonomy mapper: name it by --taxonomy-map")
    mapper = read_mapper(options.taxonomy_map) if options.taxonomy_map else {}
    copy = Path(options.result_dir) / f"{Path(options.file).stem}_{options.result_filetag}"
    copy = with_ending(copy, options.result_format, "--result-format")
    return Upload(
        table,
        _rows(options.start, options.stop, len(table)),
        pairing(options.classification, mapper, table),
        options.p_threshold,
        _posting(call),
        _classifying(call),
        options.use_existing_obj_id,
        options.match_ids,
        options.survey_id_origin,
        copy.with_name(f"{copy.stem}_classifications{copy.suffix}"),
        copy if options.write_obj_id else None,
    )


def _require(call: Call, table: pd.DataFrame) -> None:
    """Check that the table has the columns that the options need, and the options their ranges."""
    options = call.options
    needs = {"ra": "a source", "dec": "a source"}
    needs |= {"obj_id": "--use-existing-obj-id"} if options.use_existing_obj_id else {}
    needs |= {"survey_id": "--post-survey-id or --match-ids"} if options.post_survey_id or options.match_ids else {}
    needs |= {"period": "--post-phasefolded-phot"} if options.post_phasefolded_phot else {}
    if missing := [f"{name} (for {why})" for name, why in needs.items() if name not in table.columns]:
        raise SchemaError(f"{options.file} has no column {', '.join(missing)}")
    if not 0.0 <= options.p_threshold <= 1.0:
        raise OptionError(f"--p-threshold is {options.p_threshold}, expected 0 to 1")
    if not options.radius_arcsec > 0.0:
        raise OptionError(f"--radius-arcsec is {options.radius_arcsec}, expected more than 0")
    if options.use_existing_obj_id and options.match_ids:
        warnings.warn("--match-ids is not used with --use-existing-obj-id", UserWarning, stacklevel=2)


def _rows(start: int | None, stop: int | None, count: int) -> range:
    """Return the rows from `start` to `stop`, both included, as far as there are any."""
    first, last = start or 0, count - 1 if stop is None else min(stop, count - 1)
    if first < 0 or last < first:
        raise OptionError(
            f"--start {first} and --stop {last if stop is None else stop} leave no row of {count}, from 0"
        )
    return range(first, last + 1)


def _posting(call: Call) -> Posting:
    from scope_dask.commands._posting import Posting
    from scope_dask.style import require_matplotlib

    options = call.options
    if options.post_phot_as_comment or options.post_phasefolded_phot:
        require_matplotlib()
    return Posting(
        tuple(dict.fromkeys(options.group_ids)),
        options.comment,
        not options.skip_phot,
        options.survey_id_origin if options.post_survey_id else None,
        options.post_phot_as_comment,
        options.post_phasefolded_phot,
        Path(options.phot_dirname),
        options.radius_arcsec,
        options.instrument_name,
    )


def _classifying(call: Call) -> UploadOptions:
    from scope_dask.fritz.upload import UploadOptions

    options = call.options
    return UploadOptions(
        tuple(dict.fromkeys(options.group_ids)),
        origin=options.classification_origin,
        ml=not options.no_ml,
        vote=options.post_upvote,
        label=options.check_labelled_box,
        replace=options.replace_classifications,
        settle_seconds=settle_seconds(call),
    )


def settle_seconds(call: Call) -> float:
    """Return how long the service may take to finish a write whose answer was lost."""
    from scope_dask.fritz.options import fritz_options

    return min(20.0, 4.0 * fritz_options(call.config).backoff)


def run(call: Call) -> None:
    """Upload classifications, or tell what would be sent."""
    from scope_dask.commands._uploading import run_upload
    from scope_dask.fritz import Fritz
    from scope_dask.sources.kowalski import Kowalski

    upload = upload_of(call)
    for column, entry in upload.pairs.items():
        call.say(f"{column}: {entry.fritz_label} of taxonomy {entry.taxonomy_id}")
    if call.dry_run:
        _show(call, upload)
        return

    def kowalski() -> Kowalski:
        return Kowalski.from_config(call.config)

    with Fritz.from_config(call.config) as fritz:
        result = run_upload(call, fritz, kowalski, upload)
    counts = result["status"].value_counts()
    said = ", ".join(f"{count} {status}" for status, count in counts.items()) or "none"
    call.say(f"classifications: {said}; in {upload.result}")
    for row in result[result["status"] == "refused"].itertuples():
        call.say(f"{row.obj_id} {row.classification} is refused: {row.message}", level=0)
    if upload.copy is not None:
        call.say(f"the file with the names of the sources is {upload.copy}")


def _show(call: Call, upload: Upload) -> None:
    """Print what would be read, sent and written."""
    from scope_dask.commands._upload_table import local_findings
    from scope_dask.fritz import Fritz

    local_findings(upload).refuse()
    names, posting = upload.names(), upload.posting
    classes, sent = upload.classes(), upload.sent()
    also = "" if upload.existing_ids else ", or to the sources that are there within 2 arcsec"
    groups = ", ".join(map(str, posting.group_ids))
    call.say(f"would send to {Fritz.from_config(call.config)}, groups {groups}{also}:")
    for row in sent:
        own = classes[classes["row"] == row]
        said = ", ".join(f"{c} {p:g}" for c, p in zip(own["classification"], own["probability"], strict=True))
        call.say(f"{names[row]}: {said or 'no classification'}")
    if upload.classifying.replace:
        call.say("would first take the classifications that these have out of the groups")
    what = {
        "photometry": posting.photometry,
        "photometry of new sources only": not posting.photometry,
        "periods": "period" in upload.table,
        f"survey ids ({posting.survey_origin})": posting.survey_origin is not None,
        f"the comment {posting.comment!r}": bool(posting.comment),
        "plots": posting.plots or posting.folded,
    }
    call.say(f"would send with each: {', '.join(name for name, wanted in what.items() if wanted)}")
    for file in (upload.result, upload.copy):
        if file is not None:
            call.say(f"would write {file}")


COMMAND = Command(
    "scope-upload-classification",
    "Upload classifications to Fritz, each once, with their sources, photometry, annotations and comments.",
    ARGUMENTS,
    run,
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
