"""The demonstration: simulate (or read), train, run the pipeline, and leave one page of plots."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
from distributed import Client

from scope_dask.config import ArchiveOptions, PipelineOptions, ScoreOptions, SourceOptions, load
from scope_dask.demo import labels as known
from scope_dask.demo.curves import curve_facts
from scope_dask.demo.page import write_page
from scope_dask.demo.recovery import MIN_POINTS, astropy_available, recovery_table
from scope_dask.demo.results import Classification, Recovery, Results
from scope_dask.demo.training import TrainingSet, cross_validated, trained_models
from scope_dask.diagnostics import cluster_for
from scope_dask.errors import RunError, UsageError
from scope_dask.extraction.features import FeatureOptions
from scope_dask.inference.models import Models
from scope_dask.pipeline import Pipeline
from scope_dask.schema import SOURCES
from scope_dask.simulate import SimulationOptions
from scope_dask.style import require_matplotlib
from scope_dask.summary import RunSummary

logger = logging.getLogger(__name__)

PARTITIONS = 32  # an archive is cut into about as many
_PARTITION_BYTES = (256 * 2**10, 64 * 2**20)
_ASTROPY = "astropy LombScargle"


def run_demo(
    out: str | os.PathLike[str] = "out/demo",
    *,
    archive: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    config: str | os.PathLike[str] = "demo.yaml",
) -> str:
    """Demonstrate the pipeline on a simulated field or on real light curves, and leave ``report.html`` in `out`.

    A second call goes on where an earlier one stopped.

    Parameters
    ----------
    out : path
        Output folder: ``training``, ``models``, ``run`` (features, scores, set_aside), tables as CSV, the page.
    archive : path, optional
        Folder or file of light curves that `read_archive` reads; with labels from a ``truth.parquet`` (``_id``,
        ``class_label``, ``period_days``, optionally ``star_id`` and ``survey``) beside them where there is one. Without
        it: simulated light curves.
    overwrite : bool
        Delete an earlier demonstration in `out` first.
    config : path
        Options of the pipeline, with the simulated field to classify.

    Returns
    -------
    str
        Summary: periods recovered, accuracy, where the page and the tables are.

    Raises
    ------
    UsageError
        If matplotlib is not installed, an input cannot be used, or `out` holds another demonstration.
    RunError
        If no light curve came through.
    """
    require_matplotlib()
    options, root = load(config), Path(out)
    arguments = ["--out", os.fspath(out)] + (["--archive", os.fspath(archive)] if archive is not None else [])
    command = shlex.join(["dask", "scope", "demo", *arguments])
    if archive is not None:
        options = replace(options, sources=SourceOptions(archive=_archive_options(archive)))
    truth = known.read_truth(archive) if archive is not None else None
    if overwrite:
        _clear(root)
    start = time.perf_counter()
    with cluster_for(None, options.run, options.features.periods) as client:
        demo = Demonstration(root, options, load(config), client, command)
        demo.steps["kernels and cluster"] = time.perf_counter() - start
        results = demo.simulated() if archive is None else demo.real(truth)
        with demo.step("figures and page"):
            page = write_page(results, client, demo.options)
    logger.info("page: %s", page)
    return results.text()


def _archive_options(archive: str | os.PathLike[str]) -> ArchiveOptions:
    """Return options that cut an archive into partitions enough for progress, resuming and several workers."""
    from scope_dask.sources.archive import read_archive, slices_of

    slices = slices_of(read_archive(os.fspath(archive)))
    total = 0 if slices is None else int(slices.nbytes.sum())
    least, most = _PARTITION_BYTES
    return ArchiveOptions(path=os.fspath(archive), partition_bytes=min(max(total // PARTITIONS, least), most))


def _clear(root: Path) -> None:
    for name in ("training", "models", "run"):
        shutil.rmtree(root / name, ignore_errors=True)
    for name in ("report.html", "recovery.csv", "confusion.csv"):
        (root / name).unlink(missing_ok=True)


@dataclass
class Demonstration:
    """The steps of a demonstration, and what they share.

    Attributes
    ----------
    root : pathlib.Path
    options : PipelineOptions
        Of the main run.
    simulation : PipelineOptions
        Of a run on the simulated field.
    client : distributed.Client
    command : str
    steps : dict of str to float
        Wall seconds by step.
    """

    root: Path
    options: PipelineOptions
    simulation: PipelineOptions
    client: Client
    command: str
    steps: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.options = replace(self.options, out=str(self.root / "run"), scores=None)
        if self.simulation.sources.simulate is None:
            raise UsageError("the configuration of the demonstration has no simulated field: give sources: simulate")

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Log and time a step."""
        logger.info("-- %s", name)
        start = time.perf_counter()
        yield
        self.steps[name] = time.perf_counter() - start

    @property
    def algorithm(self) -> str:
        """The period algorithm that models see and figures show."""
        return self.options.features.periods.written[-1]

    def simulated(self) -> Results:
        """Train on one simulated field, classify another."""
        field = self.options.sources.simulate
        assert field is not None
        training, _, name = self._models_of_simulation()
        options = replace(self.options, scores=ScoreOptions(str(self.root / "models")))
        with self.step("features and scores of the field"):
            summary = Pipeline(options).run(self.client)
        truth = known.simulated_truth(field)
        results = self._results(f"simulated field {field.field}: {field.n_light_curves:,}", name, known.SIMULATED_TAGS)
        results.summaries = {"training field": training, "field": summary}
        self._compare(results, truth)
        labelled = results.scores.merge(truth[["_id", "class_label"]], on="_id")
        results.classification = self._classification(labelled, known.SIMULATED_TAGS, False)
        return results

    def real(self, truth: pd.DataFrame | None) -> Results:
        """Classify real light curves, with models of their own labels where there are enough."""
        with self.step("features of the archive"):
            summary = Pipeline(self.options).run(self.client)
        features = self._read("features")
        labels = None if truth is None else known.archive_labels(truth, features["_id"])
        archive = self.options.sources.archive
        assert archive is not None
        source = f"{archive.path}: {summary.stages['lightcurves'].rows_in:,}"
        if labels is None:
            training, models, name = self._models_of_simulation()
            summaries, classes = {"training field": training, "archive": summary}, known.SIMULATED_TAGS
        else:
            name, classes, summaries = f"labels of {archive.path}", labels.classes, {"archive": summary}
            data = TrainingSet(name, features, labels, self.algorithm, self.options.features.fourier)
            with self.step("training"):
                models = trained_models(data, self.root / "models")
        with self.step("scores of the archive"):
            self._score(models, summary)
        results = self._results(source, name, classes)
        results.summaries, results.foreign_models = summaries, labels is None
        if truth is not None:
            self._compare(results, truth)
        if labels is not None and truth is not None:
            with self.step("cross-validation"):
                scores = cross_validated(data).merge(truth[["_id", "class_label"]], on="_id")
            results.classification = self._classification(scores, labels.classes, True)
        return results

    def _models_of_simulation(self) -> tuple[RunSummary, Models, str]:
        """Run the features of a simulated field other than the one to classify, and train on its truth."""
        simulate = self.simulation.sources.simulate
        assert simulate is not None
        simulate = training_field(simulate)
        options = replace(
            self.simulation,
            out=str(self.root / "training"),
            sources=SourceOptions(simulate=simulate),
            features=self.options.features,
            scores=None,
        )
        with self.step("features of the training field"):
            summary = Pipeline(options).run(self.client)
        labels = known.simulated_labels(known.simulated_truth(simulate))
        features = _read_features(self.root / "training", self.options.features)
        name = f"simulated field {simulate.field} ({len(features):,} light curves)"
        data = TrainingSet(name, features, labels, self.algorithm, self.options.features.fourier)
        with self.step("training"):
            return summary, trained_models(data, self.root / "models"), name

    def _score(self, models: Models, summary: RunSummary) -> None:
        """Score the features that are there, write the scores beside them, and add what was done to their summary."""
        import dask.dataframe as dd

        from scope_dask.inference.scores import scores
        from scope_dask.writing import write

        folder = self.root / "run"
        parts = [str(path) for path in sorted((folder / "features").rglob("*.parquet"))]
        columns = [*SOURCES.names, *models.features]
        meta = read_table(parts[0], columns).iloc[:0]
        features = dd.from_map(read_table, parts, columns=columns, meta=meta, label="read_features")
        scored = write(scores(features, models, self.options.features.fourier), folder / "scores", resume=True)
        summary.stages |= scored.stages
        summary.rows["scores"] = sum(scored.rows.values())

    def _read(self, table: str) -> pd.DataFrame:
        if table == "features":
            return _read_features(self.root / "run", self.options.features)
        return read_table(self.root / "run" / table)

    def _results(self, source: str, trained_on: str, classes: dict[str, str]) -> Results:
        scores = self._read("scores").rename(columns={f"{tag}_xgb": tag for tag in classes})
        return Results(
            out=self.root,
            source=f"{source} light curves",
            trained_on=trained_on,
            command=self.command,
            foreign_models=False,
            summaries={},
            algorithm=self.algorithm,
            features=self._read("features"),
            scores=scores[["_id", *classes]],
            classes=classes,
            steps=self.steps,
        )

    def _compare(self, results: Results, truth: pd.DataFrame) -> None:
        """Compare the periods with the true ones, of our searches and of astropy's where it is installed."""
        results.truth = truth
        features = results.features
        wanted = truth.loc[truth["period_days"] > 0, "_id"]
        rows = features[features["_id"].isin(wanted) & (features["n"] >= MIN_POINTS)]
        if rows.empty:
            return
        with_astropy = self.options.sources.archive is not None and astropy_available()
        with self.step("period recovery" + (f" and {_ASTROPY}" if with_astropy else "")):
            facts = curve_facts(self.client, self.options, rows["_id"].to_numpy(), with_astropy)
            rows = rows.merge(facts, on="_id")
            columns = {name: f"period_{name}" for name in self.options.features.periods.written}
            if self.options.features.periods.aliases:
                columns["resolved"] = "period_resolved"
            if with_astropy:
                columns[_ASTROPY] = "period_astropy"
            tables = {name: recovery_table(rows, truth, rows["baseline_days"], column=c) for name, c in columns.items()}
        own = tables.pop(self.algorithm)
        results.recovery = Recovery.of(own, tables)
        results.recovery.columns().to_csv(self.root / "recovery.csv", index=False, float_format="%.4f")

    def _classification(self, labelled: pd.DataFrame, classes: dict[str, str], validated: bool) -> Classification:
        labelled = labelled.dropna(subset=list(classes), ignore_index=True)
        scores = labelled[["_id", *classes]]
        found = Classification(scores, labelled["class_label"].astype(object), classes, validated)
        found.confusion().to_csv(self.root / "confusion.csv")
        return found


def training_field(field: SimulationOptions) -> SimulationOptions:
    """Return the simulated field to train on: as `field`, elsewhere on the sky, and with other random numbers."""
    number = field.field + 1 if field.field + 1 in (*range(1, 890), *range(1001, 1890)) else field.field - 1
    return replace(field, field=number, seed=(field.seed + 1) % 2**32)


def read_table(path: str | os.PathLike[str], columns: list[str] | None = None) -> pd.DataFrame:
    """Read a Parquet file or folder by its own types: pandas cannot restore some list types from its notes in it."""
    frame: pd.DataFrame = pq.read_table(path, columns=columns).to_pandas(ignore_metadata=True)
    return frame


def _read_features(root: Path, options: FeatureOptions) -> pd.DataFrame:
    """Read the features of a run, without the large dmdt.

    Raises
    ------
    RunError
        If there are none.
    """
    names = options.periods.schema.without("dmdt").names
    folder = root / "features"
    if folder.is_dir():
        frame = read_table(folder, ["_id", "filter", *names])
        if len(frame):
            return frame
    raise RunError(f"no light curve came through: {folder} is empty, the reasons are in {root / 'set_aside'}")
