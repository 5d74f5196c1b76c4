"""What a demonstration found, ready to be printed and drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from scope_dask.demo.recovery import RATIOS, fractions
from scope_dask.summary import RunSummary
from scope_dask.training.evaluation import best_class, confusion


@dataclass(frozen=True)
class Recovery:
    """How many of the known periods were found.

    Attributes
    ----------
    table : pandas.DataFrame
        `recovery_table` of the search.
    by : list of str
        Columns of the groups that are counted.
    shares : pandas.DataFrame
        `fractions` of `table`.
    others : dict of str to pandas.DataFrame
        `fractions` of other searches of the same light curves, by name.
    """

    table: pd.DataFrame
    by: list[str]
    shares: pd.DataFrame
    others: Mapping[str, pd.DataFrame]

    @classmethod
    def of(cls, table: pd.DataFrame, others: Mapping[str, pd.DataFrame]) -> Recovery:
        """Count a `recovery_table`, per survey where there are several, and those of other searches."""
        by = ["survey", "class_label"] if "survey" in table and table["survey"].nunique() > 1 else ["class_label"]
        return cls(table, by, fractions(table, by), {name: fractions(other, by) for name, other in others.items()})

    @property
    def total(self) -> pd.Series:
        return self.shares.iloc[-1]

    def columns(self) -> pd.DataFrame:
        """Return the fractions of the search, and the recovered fraction of the others beside them."""
        table = self.shares.copy()
        for name, other in self.others.items():
            table[f"{name}: P"] = other["P"]
            table[f"{name}: recovered"] = other["recovered"]
        return table


@dataclass(frozen=True)
class Classification:
    """Scores of light curves of known class.

    Attributes
    ----------
    scores : pandas.DataFrame
        ``_id`` and one column per tag.
    labels : pandas.Series
        Known class of each row.
    classes : dict of str to str
        Class by tag.
    cross_validated : bool
        Whether the scores are of models that have seen other stars of the same data (else: of another field).
    """

    scores: pd.DataFrame
    labels: pd.Series
    classes: Mapping[str, str]
    cross_validated: bool

    def predicted(self) -> pd.Series:
        """Return the class of the highest score of each row."""
        return best_class(self.scores[list(self.classes)]).map(dict(self.classes))

    def confusion(self) -> pd.DataFrame:
        """Return counts by true and predicted class, in the order of the classes."""
        names = list(self.classes.values())
        return confusion(self.labels, self.predicted()).reindex(index=names, columns=names, fill_value=0)

    @property
    def accuracy(self) -> float:
        return float((self.labels == self.predicted()).mean())

    @property
    def balanced_accuracy(self) -> float:
        """The mean over the classes of the fraction of their members in the right class."""
        return float((self.labels == self.predicted()).groupby(self.labels).mean().mean())


@dataclass
class Results:
    """What a demonstration did.

    Attributes
    ----------
    out : pathlib.Path
    source : str
        What the light curves are, in words.
    trained_on : str
        What the models are trained on, in words.
    command : str
        That makes it again.
    foreign_models : bool
        Whether real light curves were scored by models of simulated ones.
    summaries : dict of str to RunSummary
        By run, the main one last.
    algorithm : str
        Period algorithm whose period is shown.
    features, scores : pandas.DataFrame
        Of the main run; scores by tag.
    classes : dict of str to str
        Class by tag of the models.
    truth : pandas.DataFrame or None
    recovery : Recovery or None
    classification : Classification or None
    steps : dict of str to float
        Wall seconds.
    """

    out: Path
    source: str
    trained_on: str
    command: str
    foreign_models: bool
    summaries: dict[str, RunSummary]
    algorithm: str
    features: pd.DataFrame
    scores: pd.DataFrame
    classes: Mapping[str, str]
    truth: pd.DataFrame | None = None
    recovery: Recovery | None = None
    classification: Classification | None = None
    steps: dict[str, float] = field(default_factory=dict)

    def text(self) -> str:
        """Return the lines that are printed at the end."""
        lines = [f"light curves  {self.source}"]
        if self.recovery is not None:
            lines += _recovery_lines(self.recovery)
        if self.classification is not None:
            lines.append(_classification_line(self.classification))
        if self.foreign_models:
            lines.append(
                "              scored by models trained on simulated light curves: no or too few labels with these"
            )
        failed = sum(len(s.failed) for s in self.summaries.values())
        if failed:
            lines.append(f"set aside     {failed} partitions, see {self.out / 'run' / 'set_aside'}")
        tables = ", ".join(f"{self.out / 'run' / name}" for name in ("features", "scores"))
        lines.append(f"took          {sum(self.steps.values()):.0f} s")
        return "\n".join([*lines, f"tables        {tables}", f"page          {self.out / 'report.html'}"])


def _recovery_lines(recovery: Recovery) -> list[str]:
    total = recovery.total
    parts = ", ".join(f"{total[name]:.1%} at {name}" for name in RATIOS)
    lines = [f"periods       {total['recovered']:.1%} of {total['light curves']:,} known ones found ({parts})"]
    for name, other in recovery.others.items():
        row = other.iloc[-1]
        parts = ", ".join(f"{row[ratio]:.1%} at {ratio}" for ratio in RATIOS)
        lines.append(f"{'':<14}{name}, same light curves: {row['recovered']:.1%} ({parts})")
    table = recovery.columns()
    shares = {name: "{:.1%}".format for name in table.columns if table[name].dtype == "float64"}
    return [*lines, *("  " + line for line in table.to_string(index=False, formatters=shares).splitlines())]


def _classification_line(found: Classification) -> str:
    how = "cross-validated by star" if found.cross_validated else "models trained on another field"
    return (
        f"classes       {found.accuracy:.1%} of {len(found.labels):,} in their class, {found.balanced_accuracy:.1%} "
        f"on average over {len(found.classes)} classes ({how})"
    )
