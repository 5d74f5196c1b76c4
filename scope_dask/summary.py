"""What a run did, added up from the records of its partitions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from scope_dask.journal import Record


@dataclass
class StageSummary:
    """Rows and seconds of one stage over all partitions."""

    rows_in: int = 0
    rows_out: int = 0
    seconds: float = 0.0
    dropped: dict[str, int] = field(default_factory=dict)
    set_aside: dict[str, int] = field(default_factory=dict)

    def add(self, entry: dict[str, Any]) -> None:
        self.rows_in += entry["rows_in"]
        self.rows_out += entry["rows_out"]
        self.seconds += entry["seconds"]
        for mine, other in ((self.dropped, entry["dropped"]), (self.set_aside, entry["set_aside"])):
            for reason, count in other.items():
                mine[reason] = mine.get(reason, 0) + count


@dataclass
class RunSummary:
    """Totals of a run.

    Attributes
    ----------
    partitions, computed, reused : int
        Partitions in all, computed now, and taken from an earlier run.
    failed : dict
        Reason by partition, of the partitions that could not be computed.
    rows : dict
        Rows written, by table.
    bytes_written : int
    stages : dict
        `StageSummary` by stage, in the order of the pipeline.
    wall_seconds : float
    """

    partitions: int
    computed: int = 0
    reused: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    bytes_written: int = 0
    stages: dict[str, StageSummary] = field(default_factory=dict)
    wall_seconds: float = 0.0

    def add(self, record: Record, reused: bool = False) -> None:
        """Add the record of a partition."""
        if not record["ok"]:
            self.failed[record["partition"]] = record["reason"]
            return
        self.reused += reused
        self.computed += not reused
        self.bytes_written += sum(size for _, size in record["files"])
        for table, count in record["rows"].items():
            self.rows[table] = self.rows.get(table, 0) + count
        for entry in record["history"]:
            self.stages.setdefault(entry["stage"], StageSummary()).add(entry)

    @property
    def finished(self) -> int:
        return self.computed + self.reused + len(self.failed)

    def as_dict(self) -> dict[str, Any]:
        """Return the totals as plain dicts, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, totals: Mapping[str, Any]) -> RunSummary:
        """Return the totals that `as_dict` made plain dicts of."""
        return cls(**{**totals, "stages": {name: StageSummary(**own) for name, own in totals["stages"].items()}})

    def stage_lines(self) -> list[str]:
        """Return what each stage did, as lines of text."""
        lines = []
        if self.stages:
            lines.append(f"{'stage':<12} {'rows in':>12} {'rows out':>12} {'kernel s':>12} {'rows/s/core':>12}")
        for name, stage in self.stages.items():
            rate = f"{stage.rows_in / stage.seconds:,.0f}" if stage.seconds > 0 else "-"
            lines.append(f"{name:<12} {stage.rows_in:>12,} {stage.rows_out:>12,} {stage.seconds:>12,.1f} {rate:>12}")
            lines += [f"{'':<12} dropped {n:,}: {reason}" for reason, n in stage.dropped.items()]
            lines += [f"{'':<12} set aside {n:,}: {reason}" for reason, n in stage.set_aside.items()]
        return lines

    def __str__(self) -> str:
        head = f"{self.computed} of {self.partitions} partitions computed in {self.wall_seconds:.1f} s"
        lines = [head + (f", {self.reused} taken from an earlier run" if self.reused else ""), *self.stage_lines()]
        for partition, reason in sorted(self.failed.items())[:10]:
            lines.append(f"partition {partition} set aside: {reason}")
        if len(self.failed) > 10:
            lines.append(f"... and {len(self.failed) - 10} more partitions set aside (see set_aside/)")
        return "\n".join(lines)
