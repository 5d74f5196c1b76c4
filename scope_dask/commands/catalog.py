"""``dask scope catalog``: predictions of many fields as one catalogue of sources, and what is in it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import click

from scope_dask.commands._endings import one_sentence, show_log

DIRECTORIES = ("preds_dnn", "preds_xgb")
SHOWN_ROWS = 20
FIRST = ("_id", "obj_id", "ra", "dec", "n_lightcurves")


@click.group()
def catalog() -> None:
    """Make a catalogue of the scores of many fields, or ask one."""


@catalog.command()
@click.argument("predictions", nargs=-1)
@click.option("--out", default="catalog", show_default=True, help="Folder of the catalogue.")
@click.option(
    "--statistic",
    default="mean",
    show_default=True,
    help="Of the scores of a source's light curves: mean, median or max.",
)
@click.option("--radius-arcsec", type=float, help="For light curves without an identifier; default: 1.5.")
@click.option("--hats/--no-hats", default=None, help="Whether it is a HATS catalogue; default: if hats is installed.")
@click.option("--overwrite", is_flag=True, help="Delete an earlier catalogue in the folder.")
@click.option("--cluster", metavar="NAME|PROFILE|tcp://…", help="Compute on this cluster.")
def build(
    predictions: tuple[str, ...],
    out: str,
    statistic: str,
    radius_arcsec: float | None,
    hats: bool | None,
    overwrite: bool,
    cluster: str | None,
) -> None:
    """Bring the light curves of each source together, over filters, fields and kinds of models.

    PREDICTIONS are folders of run-inference or files of predictions; by default preds_dnn and preds_xgb.
    """
    with one_sentence():
        from scope_dask.predictions.catalog import write_catalog
        from scope_dask.predictions.sources import RADIUS_ARCSEC

        show_log()
        files = files_of(predictions)
        with contextlib.ExitStack() as stack:
            if cluster:
                from scope_dask.cluster.connect import client_of

                stack.enter_context(client_of(cluster))
            made = write_catalog(
                files,
                out,
                statistic=statistic,  # type: ignore[arg-type]
                radius_arcsec=RADIUS_ARCSEC if radius_arcsec is None else radius_arcsec,
                hats=hats,
                overwrite=overwrite,
            )
        kind = "a HATS catalogue" if made.hats else "a catalogue"
        click.echo(f"{made.sources} sources of {len(files)} files in {made.path}, {kind} of {made.tiles} tiles")


def files_of(given: Sequence[str]) -> list[Path]:
    """Return the files of predictions that words stand for.

    Parameters
    ----------
    given : sequence of str
        Files, or folders such as ``preds_xgb``; none: those of `DIRECTORIES` that are there.

    Raises
    ------
    SourceError
        If one is absent or has no predictions.
    """
    from scope_dask.errors import SourceError
    from scope_dask.predictions.layout import known_fields, prediction_files

    paths = [Path(word) for word in given] or [Path(name) for name in DIRECTORIES if Path(name).is_dir()]
    if not paths:
        raise SourceError(f"there is no folder {' or '.join(DIRECTORIES)}: run-inference makes them, or name others")
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise SourceError(f"{path} does not exist; expected a folder or a file of predictions")
        fields = known_fields(["all"], path) if path.is_dir() else []
        found += [path] if path.is_file() else [file for field in fields for file in prediction_files(path, field)]
    return found


@catalog.command()
@click.argument("folder")
@click.option("--cone", type=float, nargs=3, metavar="RA DEC RADIUS", help="Degrees, degrees, arcseconds.")
@click.option(
    "--class",
    "classes",
    type=(str, float),
    multiple=True,
    metavar="COLUMN LEAST",
    help="Least score of a class; all of them hold.",
)
@click.option("--column", "columns", multiple=True, metavar="NAME", help="Which columns; default: all.")
@click.option("--out", help="Write the sources to this file: .csv, .parquet or .h5.")
def query(
    folder: str,
    cone: tuple[float, float, float] | None,
    classes: tuple[tuple[str, float], ...],
    columns: tuple[str, ...],
    out: str | None,
) -> None:
    """Find sources by position and scores in the catalogue FOLDER."""
    with one_sentence():
        from scope_dask.formats import suffix_of, write_table
        from scope_dask.predictions.catalog import read_catalog

        if out:
            suffix_of(out)
        found = read_catalog(folder, cone, dict(classes), list(columns) or None)
        if out:
            write_table(found, out)
        else:
            first = columns or [name for name in (*FIRST, *dict(classes)) if name in found]
            click.echo(found[list(first)].head(SHOWN_ROWS).to_string(index=False))
        more = "" if out or len(found) <= SHOWN_ROWS else f", the first {SHOWN_ROWS} above (all by --out)"
        click.echo(f"{len(found)} sources{f' in {out}' if out else ''}{more}")
