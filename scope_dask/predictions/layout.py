"""Where features to score lie, and where predictions go: the folders and names of SCoPe 0.9.5."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scope_dask.errors import OptionError, SourceError

SPECIFIC = "specific_ids"
CCDS, QUADS = 16, 4


@dataclass(frozen=True)
class Target:
    """The light curves that go into one file of predictions: a field, a quadrant of it, or specific ids.

    Attributes
    ----------
    field : str
        Number of the field, or ``[<label>_]specific_ids``.
    ccd, quad : int or None
        Of a quadrant; None: all of the field.
    """

    field: str
    ccd: int | None = None
    quad: int | None = None

    def __post_init__(self) -> None:
        if not self.specific and not self.field.isdecimal():
            raise OptionError(
                f"the field is {self.field!r}, expected a number, {SPECIFIC} or a name that ends in {SPECIFIC}"
            )
        if Path(self.field).name != self.field:
            raise OptionError(f"the field is {self.field!r}, expected a name without slashes")
        for name, value, most in (("CCD", self.ccd, CCDS), ("quadrant", self.quad, QUADS)):
            if value is not None and not 1 <= value <= most:
                raise OptionError(f"the {name} is {value}, expected 1 to {most}")

    @property
    def specific(self) -> bool:
        """Whether these are specific ids."""
        return SPECIFIC in self.field

    @property
    def stem(self) -> str:
        """Name of the file of predictions, without its ending."""
        if self.specific or self.ccd is None:
            return f"field_{self.field}"
        return f"ccd_{self.ccd:02d}_quad_{self.quad}"

    def __str__(self) -> str:
        if self.specific:
            return self.field
        return f"field {self.field}" + ("" if self.ccd is None else f", CCD {self.ccd}, quadrant {self.quad}")

    def predictions(self, root: Path, algorithm: str) -> Path:
        """Return the file of the predictions below `root`: ``preds_<algorithm>/field_<F>/<stem>.parquet``."""
        return root / f"preds_{algorithm}" / f"field_{self.field}" / f"{self.stem}.parquet"

    def features(self, folder: Path, prefix: str = "gen_features") -> list[Path]:
        """Return the files with the features, in their order.

        Of a field the files of the whole field are taken where there are some (``field_<F>[_iter_<i>].parquet``),
        else all files in its folder. Those of a quadrant are ``ccd_<CC>_quad_<Q>[_iter_<i>].parquet`` or
        ``<prefix>_field_<F>_ccd_<C>_quad_<Q>.parquet``, those of specific ids ``<prefix>_<field>.parquet``.

        Parameters
        ----------
        folder : Path
            With the folders ``field_<F>`` and ``specific_ids``.
        prefix : str
            What the names of generated files begin with.

        Raises
        ------
        SourceError
            If there are none.
        """
        names: tuple[str, ...]
        if self.specific:
            names, own = (rf"{re.escape(f'{prefix}_{self.field}')}",), folder / SPECIFIC
        elif self.ccd is None:
            names, own = (rf"field_{self.field}(_iter_\d+)?", ".*"), folder / f"field_{self.field}"
        else:
            quadrant = rf"ccd_{self.ccd:02d}_quad_{self.quad}(_iter_\d+)?"
            generated = re.escape(f"{prefix}_field_{self.field}_ccd_{self.ccd}_quad_{self.quad}")
            names, own = (f"{quadrant}|{generated}",), folder / f"field_{self.field}"
        files = [path for path in own.glob("*.parquet") if not path.name.startswith((".", "_"))]
        for name in names:
            if found := [path for path in files if re.fullmatch(name, path.stem)]:
                return sorted(found, key=_natural)
        wanted = f"{prefix}_{self.field}.parquet" if self.specific else "files of features"
        raise SourceError(
            f"there are no {wanted} of {self} in {own}: download or generate them first (get-features, "
            "generate-features), or name their folder with --feature-directory"
        )


def _natural(path: Path) -> list[tuple[int, str]]:
    """Return a key by which file 10 comes after file 9."""
    return [(int(word), "") if word.isdecimal() else (-1, word) for word in re.split(r"(\d+)", path.stem)]


def predicted_fields(folder: Path) -> list[str]:
    """Return the fields of which a folder has predictions, in order: numbers first."""
    found = [path.name.removeprefix("field_") for path in folder.glob("field_*") if path.is_dir()]
    return sorted(found, key=lambda name: _natural(Path(name)))


def prediction_files(folder: Path, field: str) -> list[Path]:
    """Return the files with the predictions of a field: that of the whole field, or those of its quadrants.

    Raises
    ------
    SourceError
        If there are none.
    """
    own = folder / f"field_{field}"
    if (whole := own / f"field_{field}.parquet").is_file():
        return [whole]
    found = sorted(own.glob("ccd_*_quad_*.parquet"), key=_natural)
    if not found:
        raise SourceError(f"there are no predictions of field {field} in {folder}: run-inference makes them")
    return found


def known_fields(given: Sequence[str], folder: Path) -> list[str]:
    """Return the fields of a list; ``all`` stands for those of which a folder has predictions.

    Raises
    ------
    SourceError
        If there are none.
    """
    if list(given) != ["all"]:
        return list(dict.fromkeys(given))
    if not (found := predicted_fields(folder)):
        raise SourceError(f"there are no predictions in {folder}: run-inference makes them")
    return found
