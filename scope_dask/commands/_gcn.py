"""One GCN event: its sources, their features and scores, and the upload of these; each source once."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scope_dask.commands.scope_download_gcn_sources import Event, download_event, label_of
from scope_dask.errors import ModelError, OptionError

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

    from scope_dask.commands._parser import Call
    from scope_dask.commands._upload_table import Upload
    from scope_dask.fritz import Fritz
    from scope_dask.generation import SpecificIds
    from scope_dask.sources.kowalski import Kowalski

KINDS = {"gw": ("GW",), "grb": ("GRB", "Fermi")}  # by the tags of an event


def kind_of(event: Mapping[str, Any]) -> str | None:
    """Return ``gw`` or ``grb``, or None where an event is neither."""
    tags = {str(tag.get("text", "")) if isinstance(tag, Mapping) else str(tag) for tag in event.get("tags") or ()}
    return next((kind for kind, names in KINDS.items() if tags.intersection(names)), None)


@dataclass
class Checkpoint:
    """Which sources are done, by the kind of event; after some days all are looked at anew.

    Attributes
    ----------
    path : Path
    start : datetime
        When it was begun (UTC).
    sources : dict of str to list of str
    """

    path: Path
    start: datetime
    sources: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})

    @classmethod
    def read(cls, path: Path, refresh_days: float, ignore: bool = False) -> Checkpoint:
        """Read a checkpoint, or begin one where there is none, it is too old, cannot be read or is not wanted."""
        now = datetime.now(UTC)
        try:
            content = json.loads(path.read_text())
            start = datetime.fromisoformat(content["start_dt"])
            start = start.replace(tzinfo=UTC) if start.tzinfo is None else start
            known = {kind: [str(name) for name in content["sources"].get(kind, [])] for kind in KINDS}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls(path, now)
        if ignore or now - start > timedelta(days=refresh_days):
            return cls(path, now)
        return cls(path, start, known)

    def add(self, kind: str, names: Iterable[str]) -> None:
        """Record that sources are done."""
        from scope_dask.formats.atomic import replacing

        self.sources[kind] = list(dict.fromkeys([*self.sources[kind], *names]))
        content = {"start_dt": self.start.isoformat(), "sources": self.sources}
        with replacing(self.path) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n")


@dataclass(frozen=True)
class Loop:
    """What all events of a call have in common.

    Attributes
    ----------
    call : Call
        Its options are those of ``gcn-cronjob``.
    fritz : Fritz
    kowalski : Kowalski
    client : distributed.Client
    checkpoint : Checkpoint
    models : list of str
        Folders of models.
    """

    call: Call
    fritz: Fritz
    kowalski: Kowalski
    client: Client
    checkpoint: Checkpoint
    models: list[str]

    def process(self, dateobs: str, kind: str) -> int:
        """Do what is left to do of an event, and return how many sources were new.

        Raises
        ------
        ScopeDaskError
        """
        options = self.call.options
        event = Event(dateobs, tuple(options.query_group_ids or ()), options.days_range, options.radius_arcsec)
        table = download_event(self.call, self.fritz, self.kowalski, event, options.save_filename)
        table = table[~table["fritz_name"].isin(self.checkpoint.sources[kind])]
        if table.empty:
            self.call.say(f"{dateobs}: no new sources")
            return 0
        names = sorted(set(table["fritz_name"]))
        self.call.say(f"{dateobs}: {len(names)} new sources with {len(table)} light curves")
        label = label_of(dateobs)
        scored = self._scores(label, table)
        if scored is not None and not options.doNotPost:
            self._upload(label, kind, scored)
        if not options.doNotPost:
            self.checkpoint.add(kind, names)
        return len(names)

    def _scores(self, label: str, table: pd.DataFrame) -> pd.DataFrame | None:
        """Return a row for each source with its scores, or None where no light curve has enough points."""
        from scope_dask.formats import read_table
        from scope_dask.generation.specific import specific_ids

        ids = specific_ids(table["ztf_id"].to_numpy("int64"), table["fritz_name"].tolist())
        rows = self._features(label, ids)
        self.call.say(f"features of {rows} light curves with {self.call.options.min_n_lc_points} points or more")
        return read_table(self._predictions(label)) if rows else None

    def _features(self, label: str, ids: SpecificIds) -> int:
        from scope_dask.commands._generation import folder_of, job_of
        from scope_dask.errors import RunError, UsageError
        from scope_dask.generation import FeatureFolder, generate

        folder = FeatureFolder(folder_of(self.call).root, f"{self.call.options.filename}_{label}")
        job = job_of(self.call, ids, folder)
        try:
            return generate(job, self.client).rows
        except UsageError as error:
            if isinstance(error, RunError) or not folder.parts(ids).exists():
                raise
            # An interrupted run of the sources of another day is in the way.
            return generate(job, self.client, overwrite=True).rows

    def _predictions(self, label: str) -> Path:
        """Score the light curves, bring both kinds of models together, and return the file of the sources."""
        from scope_dask.commands import run_inference
        from scope_dask.predictions.combining import Combination, CombineOptions, write_combination
        from scope_dask.predictions.run import run as score

        options, name = self.call.options, f"{label}_specific_ids"
        words = ["--paths-models", *self.models, "--field", name, "--feature-directory", options.dirname]
        words += ["--feature-file-prefix", options.filename]
        words += ["--config-path", options.config_path] if options.config_path else []
        job = run_inference.job_of(run_inference.COMMAND.parse(words))
        made = score(job, self.client)
        folders = {"dnn": options.dnn_preds_directory, "xgb": options.xgb_preds_directory}
        inputs: dict[str, list[Path]] = {"dnn": [], "xgb": []}
        for algorithm, path in job.outputs.items():
            target = job.root / folders[algorithm] / f"field_{name}" / path.name
            if target != path:
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)
            inputs[algorithm].append(target)
        out = job.root / options.combined_preds_dirname / label / f"merged_GCN_sources_{label}.parquet"
        how = CombineOptions(merge=True, method=options.agg_method, p_threshold=options.p_threshold, per_source=True)
        rows = write_combination(Combination(label, inputs, out, options=how))
        self.call.say(f"scores of {made.rows} light curves, {rows} sources, in {out}")
        return out

    def _upload(self, label: str, kind: str, scored: pd.DataFrame) -> None:
        from scope_dask.commands._uploading import run_upload

        upload = self._upload_of(label, kind, scored)
        if not upload.sent():
            self.call.say(f"no class reaches {upload.threshold:g}: nothing is posted")
            return
        result = run_upload(self.call, self.fritz, lambda: self.kowalski, upload)
        counts = result["status"].value_counts()
        said = ", ".join(f"{count} {status}" for status, count in counts.items())
        self.call.say(f"classifications: {said}; in {upload.result}")

    def _upload_of(self, label: str, kind: str, scored: pd.DataFrame) -> Upload:
        from scope_dask.commands._posting import Posting
        from scope_dask.commands._upload_table import READ, Upload, pairing
        from scope_dask.commands.scope_upload_classification import settle_seconds
        from scope_dask.fritz.mappers import read_mapper
        from scope_dask.fritz.upload import UploadOptions

        options = self.call.options
        pairs = pairing([READ], read_mapper(options.taxonomy_map), scored)
        period = next((str(c) for c in scored.columns if str(c).startswith("period")), None)
        table = scored.rename(columns={period: "period"} if period else {})
        table = table.assign(**{column: table[column].fillna(0.0) for column in pairs})  # not scored: not posted
        groups = tuple(dict.fromkeys(options.post_group_ids if kind == "gw" else options.grb_group_ids))
        posting = Posting(groups, photometry=False, plots=True, folded=period is not None)
        how = UploadOptions(groups, settle_seconds=settle_seconds(self.call))
        result = Path("fritzUpload") / f"GCN_sources_{label}_classifications.parquet"
        return Upload(table, range(len(table)), pairs, options.p_threshold, posting, how, True, False, "", result)


def default_models(given: list[str] | None) -> list[str]:
    """Return the folders of models: those given, or the only group in each of models_dnn and models_xgb.

    Raises
    ------
    ModelError
        If there is none.
    OptionError
        If there are several.
    """
    if given:
        return given
    found = []
    for folder in (Path("models_dnn"), Path("models_xgb")):
        groups = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
        if len(groups) > 1:
            raise OptionError(f"{folder} has {', '.join(g.name for g in groups)}: name the models by --paths-models")
        found += [str(group) for group in groups]
    if not found:
        raise ModelError("there are no models in models_dnn or models_xgb: train some, or name them by --paths-models")
    return found


def stamp() -> str:
    """Return the time (UTC) for the log."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
