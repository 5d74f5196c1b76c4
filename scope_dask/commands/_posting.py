"""What an upload sends besides classifications: sources, photometry, annotations, comments and plots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scope_dask.fritz.annotations import annotations_of, post_annotation, update_annotation
from scope_dask.fritz.comments import comments_of, post_comment
from scope_dask.fritz.matching import SURVEY_ID, Target, survey_id_of, survey_ids
from scope_dask.fritz.photometry import put_photometry
from scope_dask.fritz.sources import save_source

if TYPE_CHECKING:
    from scope_dask.fritz import Fritz
    from scope_dask.sources.kowalski import Kowalski

PERIOD = "period"
PERIOD_ORIGIN = "uploadedperiod"
SOURCE_ORIGIN = "Fritz"
CURVES_AT_A_TIME = 20


@dataclass(frozen=True)
class Posting:
    """What is sent of each source.

    Attributes
    ----------
    group_ids : tuple of int
    comment : str or None
    photometry : bool
        Of sources that are there already as well as of new ones.
    survey_origin : str or None
        Annotate the survey id under this origin.
    plots : bool
        Attach a figure of the light curves to a comment.
    folded : bool
        Attach a phase-folded one as well, where there is a period.
    plot_folder : Path
        Where the figures are kept.
    radius_arcsec : float
        Light curves within this radius are of the source.
    instrument : str
    """

    group_ids: tuple[int, ...]
    comment: str | None = None
    photometry: bool = True
    survey_origin: str | None = None
    plots: bool = False
    folded: bool = False
    plot_folder: Path = Path("phot_plots")
    radius_arcsec: float = 2.0
    instrument: str = "ZTF"

    def needs_curves(self, target: Target) -> bool:
        """Whether the light curves of a source are asked for."""
        return self.plots or self.folded or self.puts(target)

    def puts(self, target: Target) -> bool:
        """Whether the photometry of a source is sent."""
        return self.photometry or target.new


def with_points(
    kowalski: Kowalski | None, targets: list[Target], posting: Posting
) -> Iterator[tuple[Target, pd.DataFrame | None]]:
    """Yield the sources with their points, where these are needed; the service is asked for several at a time."""
    from scope_dask.fritz.lightcurves import points_of
    from scope_dask.sources.kowalski import lightcurves_by_id, sources_around

    for start in range(0, len(targets), CURVES_AT_A_TIME):
        some = targets[start : start + CURVES_AT_A_TIME]
        wanted = [target for target in some if posting.needs_curves(target)] if kowalski is not None else []
        points: dict[int, pd.DataFrame] = {}
        if wanted and kowalski is not None:
            ra, dec = ([getattr(target, name) for target in wanted] for name in ("ra", "dec"))
            near = sources_around(kowalski, ra, dec, posting.radius_arcsec)
            curves = lightcurves_by_id(kowalski, near["_id"].to_numpy())
            for number, target in enumerate(wanted):
                ids = near.loc[near["position"] == number, "_id"]
                points[target.row] = points_of(curves[curves["_id"].isin(ids)].reset_index(drop=True))
        for target in some:
            yield target, points.get(target.row)


def send(
    fritz: Fritz,
    target: Target,
    values: Mapping[str, Any],
    points: pd.DataFrame | None,
    posting: Posting,
    instrument: int | None,
) -> None:
    """Send a source with what belongs to it; what is there already is not sent again.

    Raises
    ------
    FritzError
    """
    groups = posting.group_ids
    if target.new:
        save_source(fritz, target.obj_id, target.ra, target.dec, groups, origin=SOURCE_ORIGIN)
    if points is not None and len(points) and posting.puts(target) and instrument is not None:
        put_photometry(fritz, target.obj_id, points, instrument, groups)
    _annotate(fritz, target.obj_id, values, posting)
    comments = list(_comments(target, values, points, posting))
    if comments:
        there = {(one["text"], one.get("attachment_name")) for one in comments_of(fritz, target.obj_id)}
        for text, attachment in comments:
            if (text, attachment and attachment[0]) not in there:
                post_comment(fritz, target.obj_id, text, groups, attachment)


def period_of(values: Mapping[str, Any]) -> float | None:
    """Return the period (d) of a row, if it has one."""
    period = values.get(PERIOD)
    return float(period) if period is not None and pd.notna(period) and np.isfinite(period) and period > 0 else None


def _annotate(fritz: Fritz, obj_id: str, values: Mapping[str, Any], posting: Posting) -> None:
    """Annotate the period and the survey id of a source, unless that is there."""
    period, survey = period_of(values), survey_id_of(values)
    origin = posting.survey_origin if survey is not None else None
    if period is None and origin is None:
        return
    there = annotations_of(fritz, obj_id)
    if period is not None and all(note["origin"] != PERIOD_ORIGIN for note in there):
        post_annotation(fritz, obj_id, PERIOD_ORIGIN, {PERIOD: period}, posting.group_ids)
    if origin is None:
        return
    known = survey_ids({"annotations": there}, origin)
    own = next((note for note in there if note["origin"] == origin), None)
    if own is None:
        post_annotation(fritz, obj_id, origin, {SURVEY_ID: survey}, posting.group_ids)
    elif survey not in known:
        keys = (SURVEY_ID, *(f"{SURVEY_ID}_{number}" for number in range(2, len(own["data"]) + 3)))
        update_annotation(fritz, own, {next(key for key in keys if key not in own["data"]): survey})


def _comments(
    target: Target, values: Mapping[str, Any], points: pd.DataFrame | None, posting: Posting
) -> Iterator[tuple[str, tuple[str, bytes] | None]]:
    """Yield the comments on a source: text, and perhaps (name of a file, content); figures are kept as files."""
    from scope_dask.formats.atomic import replacing
    from scope_dask.fritz.plots import folded, time_series

    if posting.comment:
        yield posting.comment, None
    if points is None or points.empty:
        return
    drawn = []
    if posting.plots or posting.folded:
        drawn.append(("ZTF photometry", f"{target.obj_id}_phot.png", time_series(points, target.obj_id)))
    period = period_of(values)
    if posting.folded and period is not None:
        text = f"ZTF photometry folded by {period:.8g} d"
        drawn.append((text, f"{target.obj_id}_phasefolded.png", folded(points, period, target.obj_id)))
    for text, name, content in drawn:
        with replacing(posting.plot_folder / name) as temporary:
            temporary.write_bytes(content)
        yield text, (name, content)
