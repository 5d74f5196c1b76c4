"""Every table's columns, declared once: name, dtype, unit, meaning, formula and where the formula comes from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import pandas as pd
import pyarrow as pa

from scope_dask.errors import SchemaError, nearest

DMDT_SHAPE = (26, 26)
ALL_FILTERS = {1: "g", 2: "r", 3: "i"}

_ARROW = {
    "list<float64>": pa.list_(pa.float64()),
    "list<float32>": pa.list_(pa.float32()),
    "list<int32>": pa.list_(pa.int32()),
    "float32[676]": pa.list_(pa.float32(), DMDT_SHAPE[0] * DMDT_SHAPE[1]),
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    name : str
    dtype : str
        ``int64``, ``float64``, ``Int64`` (nullable), ``str``, ``list<float64>``, ``list<float32>``, ``list<int32>``,
        ``float32[676]``, or ``list<float>``: a list of either float type, kept as the source has it.
    unit : str
        Unit as astropy writes it; empty where there is none.
    meaning, formula, source : str
        What it is in one line, how it is computed, and the paper or convention behind the formula.
    """

    name: str
    dtype: str
    unit: str = ""
    meaning: str = ""
    formula: str = ""
    source: str = ""

    @property
    def pandas_dtype(self) -> object:
        """The dtype of the column in a pandas partition (``list<float>`` has none of its own: float64)."""
        dtype = "list<float64>" if self.dtype == "list<float>" else self.dtype
        if dtype in _ARROW:
            return pd.ArrowDtype(_ARROW[dtype])
        return pd.StringDtype(na_value=np.nan) if dtype == "str" else dtype

    def accepts(self, dtype: object) -> bool:
        """Tell whether a column of this pandas `dtype` can serve."""
        if "list" in self.dtype or "[" in self.dtype:
            arrow = getattr(dtype, "pyarrow_dtype", None)
            if arrow is None or not hasattr(arrow, "value_type"):
                return False
            integer = self.dtype == "list<int32>"
            return pa.types.is_integer(arrow.value_type) if integer else pa.types.is_floating(arrow.value_type)
        if self.dtype == "str":
            return bool(pd.api.types.is_string_dtype(dtype))
        if self.dtype in ("int64", "Int64"):
            return bool(pd.api.types.is_integer_dtype(dtype))
        return bool(pd.api.types.is_numeric_dtype(dtype))


class Schema:
    """An ordered set of columns."""

    def __init__(self, columns: Iterable[Column]) -> None:
        self.columns = tuple(columns)

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def __getitem__(self, name: str) -> Column:
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    @cached_property
    def _by_name(self) -> dict[str, Column]:
        return {c.name: c for c in self.columns}

    @property
    def names(self) -> list[str]:
        return [c.name for c in self.columns]

    def without(self, *names: str) -> Schema:
        return Schema(c for c in self.columns if c.name not in names)

    def dtypes(self, like: pd.DataFrame | None = None) -> dict[str, object]:
        """Return the pandas dtype of every column; ``list<float>`` columns take the one they have in `like`."""
        found = {} if like is None else dict(like.dtypes)
        return {
            c.name: found[c.name] if c.dtype == "list<float>" and c.name in found else c.pandas_dtype
            for c in self.columns
        }

    def empty(self, like: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return a table without rows; for `like` see `dtypes`."""
        return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in self.dtypes(like).items()})

    def require(self, frame: pd.DataFrame, where: str) -> None:
        """Check that `frame` (a partition or the meta of a lazy table) has these columns.

        Raises
        ------
        SchemaError
            If columns are missing or have another dtype; the message names the stage, the columns and what to do.
        """
        have = [str(c) for c in frame.columns]
        missing = [c.name for c in self.columns if c.name not in frame.columns]
        if missing:
            hints = "".join(nearest(name, have) for name in missing[:1])
            raise SchemaError(
                f"{where} needs the column{'s' * (len(missing) > 1)} {', '.join(missing)}{hints}; "
                f"the table has {', '.join(have) or 'no columns'}: rename or add what is missing"
            )
        wrong = [
            f"{c.name} is {frame[c.name].dtype}, expected {c.dtype}"
            for c in self.columns
            if not c.accepts(frame[c.name].dtype)
        ]
        if wrong:
            raise SchemaError(f"{where} cannot use these column types: {'; '.join(wrong)}: cast them first")


SOURCES = Schema(
    [
        Column("_id", "int64", "", "identifier of the ZTF light curve: one object in one filter of one field"),
        Column("ra", "float64", "deg", "right ascension, ICRS"),
        Column("dec", "float64", "deg", "declination, ICRS"),
        Column("field", "int64", "", "ZTF field"),
        Column(
            "ccd",
            "int64",
            "",
            "CCD, 1 to 16",
            "rc // 4 + 1",
            "ZTF readout channel rc = 4 (ccd - 1) + quad - 1",
        ),
        Column("quad", "int64", "", "quadrant of the CCD, 1 to 4", "rc % 4 + 1", "as ccd"),
        Column("filter", "int64", "", "1 g, 2 r, 3 i"),
    ]
)

CURVES = Schema(
    [
        Column("hjd", "list<float64>", "d", "heliocentric Julian date", "HMJD + 2400000.5"),
        Column("mag", "list<float>", "mag", "magnitude, in the float type of the source"),
        Column("magerr", "list<float>", "mag", "magnitude error, in the float type of the source"),
    ]
)

CATFLAGS = Column("catflags", "list<int32>", "", "ZTF quality bits of each point; 0 is good")

RAW_LIGHTCURVES = Schema([*SOURCES, *CURVES, CATFLAGS])
LIGHTCURVES = Schema([*SOURCES, *CURVES])

# Columns that are carried from table to table where they are present.
IDENTIFICATION = Schema([*SOURCES, Column("obj_id", "str", "", "name of the source on the follow-up service")])


def carried(frame: pd.DataFrame) -> list[str]:
    """Return the identification columns that `frame` has, in the order of the schema."""
    return [name for name in IDENTIFICATION.names if name in frame.columns]


_S1 = "ORIGINAL §1"
_W = "w_i = 1/e_i², m̄ = Σ w m / Σ w"

STATISTICS = Schema(
    [
        Column("n", "float64", "", "number of points", "N", _S1),
        Column("median", "float64", "mag", "median magnitude", "median(m)", _S1),
        Column("wmean", "float64", "mag", "weighted mean magnitude", f"m̄; {_W}", _S1),
        Column("chi2red", "float64", "", "reduced χ² about the mean", "Σ w (m − m̄)² / (N − 1)", _S1),
        Column(
            "roms",
            "float64",
            "",
            "robust median statistic",
            "Σ |m − median(m)|/e / (N − 1)",
            "Enoch et al. 2003",
        ),
        Column("wstd", "float64", "mag", "weighted standard deviation", "√(Σ w (m − m̄)² / Σ w)", _S1),
        Column(
            "norm_peak_to_peak_amp",
            "float64",
            "",
            "normalised peak-to-peak amplitude, of the magnitudes as they are",
            "(max(m − e) − min(m + e)) / (max(m − e) + min(m + e))",
            "Sokolovsky et al. 2009",
        ),
        Column(
            "norm_excess_var",
            "float64",
            "",
            "normalised excess variance, of the magnitudes as they are",
            "Σ((m − m̄)² − e²) / (N m̄²)",
            "Nandra et al. 1997",
        ),
        Column(
            "median_abs_dev",
            "float64",
            "mag",
            "median absolute deviation, not scaled",
            "median |m − median(m)|",
            _S1,
        ),
        Column("iqr", "float64", "mag", "interquartile range, not scaled", "P75 − P25, linear interpolation", _S1),
        Column("i60r", "float64", "mag", "range of the central 60 %", "P80 − P20", _S1),
        Column("i70r", "float64", "mag", "range of the central 70 %", "P85 − P15", _S1),
        Column("i80r", "float64", "mag", "range of the central 80 %", "P90 − P10", _S1),
        Column("i90r", "float64", "mag", "range of the central 90 %", "P95 − P5", _S1),
        Column(
            "skew",
            "float64",
            "",
            "skewness in units of the errors (unbounded: grows with S/N)",
            "N / ((N − 1)(N − 2)) · Σ ((m − m̄)/e)³",
            _S1,
        ),
        Column(
            "smallkurt",
            "float64",
            "",
            "small-sample kurtosis in units of the errors",
            "N(N + 1)/((N − 1)(N − 2)(N − 3)) · Σ ((m − m̄)/e)⁴ − 3 (N − 1)²/((N − 2)(N − 3))",
            _S1,
        ),
        Column(
            "inv_vonneumannratio",
            "float64",
            "",
            "inverse time-weighted von Neumann ratio",
            "1/η, η = Σ(Δt⁻² Δm²) / (Σ Δt⁻² · wstd²)",
            "von Neumann 1941; Kim et al. 2014",
        ),
        Column(
            "welch_i",
            "float64",
            "",
            "Welch-Stetson I of consecutive points, not divided by N",
            "Σ d_i d_{i+1}, d_i = √(N/(N − 1)) (m_i − m̄)/e_i",
            "Welch & Stetson 1993",
        ),
        Column(
            "stetson_j",
            "float64",
            "",
            "Stetson J of consecutive points, not divided by the weights",
            "Σ sign(P_i) √|P_i|, P_i = d_i d_{i+1}",
            "Stetson 1996",
        ),
        Column("stetson_k", "float64", "", "Stetson K", "(Σ|d|/N) / √(Σ d²/N)", "Stetson 1996"),
        Column("ad", "float64", "", "Anderson-Darling A² of m/e against a normal distribution", "A²(m/e)", _S1),
        Column("sw", "float64", "", "Shapiro-Wilk W of m/e", "W(m/e), Royston 1995", "Royston 1995, AS R94"),
    ]
)

DMDT = Column(
    "dmdt",
    "float32[676]",
    "",
    "26 × 26 histogram of all pairs, row dm, column dt, stored row by row",
    "counts of (t_j − t_i, m_j − m_i), i < j, divided by the Frobenius norm",
    "Mahabal et al. 2017",
)

FOURIER = (
    "power",
    "BIC",
    "a",
    "b",
    "amp",
    "phi0",
    *(f"rel{k}{i}" for i in range(1, 5) for k in ("amp", "phi")),
)


def _fourier_columns(algorithm: str) -> list[Column]:
    where = f"at period_{algorithm}"
    source = "ORIGINAL §2"
    columns = [
        Column(
            f"f1_power_{algorithm}",
            "float64",
            "",
            f"χ² removed by the Fourier series {where}",
            "(χ²_0 − χ²_k)/χ²_0",
        ),
        Column(
            f"f1_BIC_{algorithm}",
            "float64",
            "",
            f"lowest BIC of orders 0 to 5 {where}",
            "χ²_k + ln N (2 + 2k)",
        ),
        Column(f"f1_a_{algorithm}", "float64", "mag", f"offset at the first point {where}", "c0"),
        Column(f"f1_b_{algorithm}", "float64", "mag / d", f"slope {where}", "c1"),
        Column(f"f1_amp_{algorithm}", "float64", "mag", f"first harmonic {where}", "raw: A_1; documented: amp_1"),
        Column(
            f"f1_phi0_{algorithm}",
            "float64",
            "mag or rad",
            f"first harmonic {where}",
            "raw: B_1; documented: φ_1",
        ),
    ]
    for n in range(2, 6):
        i = n - 1
        columns += [
            Column(
                f"f1_relamp{i}_{algorithm}",
                "float64",
                "mag or 1",
                f"harmonic {n} {where}",
                f"raw: A_{n}; documented: amp_{n}/amp_1",
            ),
            Column(
                f"f1_relphi{i}_{algorithm}",
                "float64",
                "mag or cycle",
                f"harmonic {n} {where}",
                f"raw: B_{n}; documented: ((φ_{n}/{n} − φ_1)/(2π/{n})) mod 1",
            ),
        ]
    return [Column(c.name, c.dtype, c.unit, c.meaning, c.formula, source) for c in columns]


# What is maximised (or minimised), one line an algorithm; `fap`: the false-alarm probability is defined.
ALGORITHMS: dict[str, tuple[str, str, bool]] = {
    "LS": (
        "weighted Lomb-Scargle with floating mean, standard normalisation",
        "Zechmeister & Kürster 2009",
        True,
    ),
    "CE": ("conditional entropy, 20 phase × 10 magnitude bins", "Graham et al. 2013", False),
    "AOV": ("phase-binned analysis of variance, 20 bins", "Schwarzenberg-Czerny 1989", False),
    "ELS": ("unweighted Lomb-Scargle of the mean-subtracted magnitudes", "Scargle 1982; ORIGINAL §3", True),
    "ECE": (
        "conditional entropy of magnitudes rescaled to [5e-4, 0.9995]",
        "Graham et al. 2013; ORIGINAL §3",
        False,
    ),
    "EAOV": ("phase-binned analysis of variance, 20 bins", "Schwarzenberg-Czerny 1989; ORIGINAL §3", False),
    "ELS_ECE_EAOV": ("EAOV among the best ELS and ECE peaks", "ORIGINAL §3", False),
}


def _period_columns(algorithm: str) -> list[Column]:
    what, source, fap = ALGORITHMS[algorithm]
    nested = algorithm.count("_") > 1
    significance = "raw EAOV statistic at the period" if nested else "|best − mean|/std over the unmasked grid"
    columns = [
        Column(
            f"period_{algorithm}",
            "float64",
            "d",
            f"best period of {algorithm}: {what}",
            "1/f, a grid value",
            source,
        ),
        Column(
            f"significance_{algorithm}",
            "float64",
            "",
            f"significance of period_{algorithm}",
            significance,
            source,
        ),
        Column(f"pdot_{algorithm}", "float64", "", "period derivative (0: not searched)", "0", source),
    ]
    if fap:
        formula = "log10 of Baluev's upper limit, without under- or overflow"
        columns.append(
            Column(
                f"log10_fap_{algorithm}",
                "float64",
                "",
                "log10 false-alarm probability",
                formula,
                "Baluev 2008",
            )
        )
    return columns


@cache
def feature_schema(algorithms: tuple[str, ...]) -> Schema:
    """Return the columns of a features table (identification aside) for the period `algorithms` that are written."""
    periods = [c for a in algorithms for c in _period_columns(a)]
    fourier = [c for a in algorithms for c in _fourier_columns(a)]
    return Schema([*STATISTICS, *periods, *fourier, DMDT])


def score_schema(tags: Iterable[str]) -> Schema:
    """Return the columns of a scores table (identification aside): one per class and algorithm."""
    return Schema(Column(t, "float32", "", f"score of class {t.rsplit('_', 1)[0]}, 0 to 1") for t in tags)


SET_ASIDE = Schema(
    [
        Column("_id", "Int64", "", "light curve, or nothing where a whole partition is meant"),
        Column("stage", "str", "", "stage that could not compute it"),
        Column("reason", "str", "", "why, in one sentence"),
        Column("partition", "int64", "", "number of the partition"),
    ]
)
