"""Where the files of a feature generation lie, and the quadrant file of its jobs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scope_dask.errors import OptionError, SourceError
from scope_dask.formats import parts_folder
from scope_dask.generation.options import Quadrant, SpecificIds

SPECIFIC = "specific_ids"


@dataclass(frozen=True)
class FeatureFolder:
    """A folder of generated features, laid out as SCoPe 0.9.5 does it.

    Attributes
    ----------
    root : Path
    filename : str
        What the names of the files begin with.
    """

    root: Path
    filename: str = "gen_features"

    def file(self, what: Quadrant | SpecificIds) -> Path:
        """Return the file of a quadrant, or that of specific ids."""
        if isinstance(what, SpecificIds):
            return self.root / SPECIFIC / f"{self.filename}_{SPECIFIC}.parquet"
        name = f"{self.filename}_field_{what.field}_ccd_{what.ccd}_quad_{what.quad}.parquet"
        return self.root / f"field_{what.field}" / name

    def parts(self, what: Quadrant | SpecificIds) -> Path:
        """Return the folder of the partitions of a file in the making."""
        return parts_folder(self.file(what))

    def set_aside(self, what: Quadrant | SpecificIds) -> Path:
        """Return the file with what could not be computed, out of the way of those who read features."""
        return self.root / "set_aside" / self.file(what).name

    @property
    def meta(self) -> Path:
        """The file with one entry a quadrant."""
        return self.root / "meta.json"

    def job(self, quadrant_file: str, index: int) -> Quadrant:
        """Return the quadrant of a job: a line ``job field ccd quad`` of a file in the folder ``slurm``.

        Raises
        ------
        SourceError
            If the file is absent or has no such lines.
        OptionError
            If there is no such job.
        """
        path = self.root / "slurm" / quadrant_file
        jobs = read_jobs(path)
        if index not in jobs:
            raise OptionError(f"{path} has no job {index}; it has {min(jobs)} to {max(jobs)}: see --quadrant-index")
        return jobs[index]


def read_jobs(path: Path) -> dict[int, Quadrant]:
    """Return the quadrants of a quadrant file by their job numbers.

    Raises
    ------
    SourceError
        If it is absent, or a line is not four integers.
    """
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise SourceError(
            f"the quadrant file {path} cannot be read ({error.strerror}): "
            "generate-features-slurm --generateQuadrantFile makes it"
        ) from None
    jobs = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        try:
            job, field, ccd, quad = map(int, words)
        except ValueError:
            raise SourceError(f"{path}, line {number} is {line!r}, expected: job field ccd quad") from None
        jobs[job] = Quadrant(field, ccd, quad)
    if not jobs:
        raise SourceError(f"{path} has no jobs, expected lines: job field ccd quad")
    return jobs


def format_jobs(quadrants: Iterable[Quadrant]) -> str:
    """Return the text of a quadrant file: lines ``job field ccd quad``, jobs from 0."""
    return "".join(f"{job} {q.field} {q.ccd} {q.quad}\n" for job, q in enumerate(quadrants))
