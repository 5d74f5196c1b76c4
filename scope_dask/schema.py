"""Every table's columns, declared once: name, dtype, unit, meaning, formula and where the formula comes from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import pandas as pd

from scope_dask.columns import DMDT_SHAPE, Column, Schema

__all__ = [
    "ALGORITHMS",
    "ALL_FILTERS",
    "CATFLAGS",
    "CURVES",
    "DMDT",
    "DMDT_SHAPE",
    "FOURIER",
    "IDENTIFICATION",
    "LIGHTCURVES",
    "RAW_LIGHTCURVES",
    "SET_ASIDE",
    "SOURCES",
    "STATISTICS",
    "Algorithm",
    "Column",
    "Schema",
    "carried",
    "feature_schema",
    "score_schema",
]

ALL_FILTERS = {1: "g", 2: "r", 3: "i", 4: "u", 5: "z", 6: "y"}  # ZTF has the first three

SOURCES = Schema(
    [
        Column("_id", "int64", "", "identifier of the ZTF light curve: one object in one filter of one field"),
        Column("ra", "float64", "deg", "right ascension, ICRS"),
        Column("dec", "float64", "deg", "declination, ICRS"),
        Column("field", "int64", "", "ZTF field"),
        Column("ccd", "int64", "", "CCD, 1 to 16", "rc // 4 + 1", "ZTF readout channel rc = 4 (ccd − 1) + quad − 1"),
        Column("quad", "int64", "", "quadrant of the CCD, 1 to 4", "rc % 4 + 1", "as ccd"),
        Column("filter", "int64", "", "1 g, 2 r, 3 i; 4 u, 5 z, 6 y where the survey has them"),
    ]
)

CURVES = Schema(
    [
        Column("hjd", "list<float64>", "d", "heliocentric Julian date", "HMJD + 2400000.5", "Kowalski's convention"),
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


_SCOPE = "SCoPe 0.9.5"
_SCOPE_DASK = "scope_dask"
_W = "w_i = 1/e_i², m̄ = Σ w m / Σ w"
_D = "d_i = √(N/(N − 1)) (m_i − m̄)/e_i"
_NOT_RESIDUALS = "the test is on m/e, not on the residuals (m − m̄)/e"


def _statistic(
    name: str, unit: str, meaning: str, formula: str, source: str = "order statistic", departs: str = ""
) -> Column:
    return Column(name, "float64", unit, meaning, formula, source, departs)


STATISTICS = Schema(
    [
        _statistic("n", "", "number of points", "N", _SCOPE, "stored as a real number"),
        _statistic("median", "mag", "median magnitude", "median(m)"),
        _statistic("wmean", "mag", "weighted mean magnitude", f"m̄; {_W}", "Bevington & Robinson 2003"),
        _statistic(
            "chi2red", "", "reduced χ² about the weighted mean", "Σ w (m − m̄)² / (N − 1)", "Bevington & Robinson 2003"
        ),
        _statistic("roms", "", "robust median statistic", "Σ |m − median(m)|/e / (N − 1)", "Enoch et al. 2003"),
        _statistic(
            "wstd", "mag", "weighted standard deviation", "√(Σ w (m − m̄)² / Σ w)", "Bevington & Robinson 2003",
            "population form: not corrected by N/(N − 1)",
        ),
        _statistic(
            "norm_peak_to_peak_amp", "", "normalised peak-to-peak amplitude",
            "(max(m − e) − min(m + e)) / (max(m − e) + min(m + e))", "Sokolovsky et al. 2009",
            "defined for fluxes, here of magnitudes: about amplitude/(2 m̄); negative where errors exceed the range",
        ),
        _statistic(
            "norm_excess_var", "", "normalised excess variance", "Σ((m − m̄)² − e²) / (N m̄²)", "Nandra et al. 1997",
            "defined for fluxes, here of magnitudes",
        ),
        _statistic(
            "median_abs_dev", "mag", "median absolute deviation", "median |m − median(m)|",
            departs="not scaled by 1.4826 to a standard deviation",
        ),
        _statistic(
            "iqr", "mag", "interquartile range", "P75 − P25, percentiles interpolated linearly",
            departs="not scaled by 0.7413 to a standard deviation",
        ),
        _statistic("i60r", "mag", "range of the central 60 %", "P80 − P20"),
        _statistic("i70r", "mag", "range of the central 70 %", "P85 − P15"),
        _statistic("i80r", "mag", "range of the central 80 %", "P90 − P10"),
        _statistic("i90r", "mag", "range of the central 90 %", "P95 − P5"),
        _statistic(
            "skew", "", "skewness", "N / ((N − 1)(N − 2)) · Σ ((m − m̄)/e)³", "Richards et al. 2011",
            "residuals in units of each point's error, not of the standard deviation: unbounded, grows with S/N",
        ),
        _statistic(
            "smallkurt", "", "small-sample kurtosis",
            "N(N + 1)/((N − 1)(N − 2)(N − 3)) · Σ ((m − m̄)/e)⁴ − 3 (N − 1)²/((N − 2)(N − 3))", "Richards et al. 2011",
            "residuals in units of each point's error, as skew",
        ),
        _statistic(
            "inv_vonneumannratio", "", "inverse von Neumann ratio", "1/η, η = Σ(Δt⁻² Δm²) / (Σ Δt⁻² · wstd²)",
            "von Neumann 1941; Kim et al. 2014",
            "differences weighted by 1/Δt², without the factors (t_N − t_1)² and N − 1 of η^e",
        ),
        _statistic(
            "welch_i", "", "Welch-Stetson I", f"Σ d_i d_{{i+1}}, {_D}", "Welch & Stetson 1993",
            "consecutive points of one filter, not pairs of two; a sum over the pairs, not their mean",
        ),
        _statistic(
            "stetson_j", "", "Stetson J", f"Σ sign(P_i) √|P_i|, P_i = d_i d_{{i+1}}, {_D}", "Stetson 1996",
            "consecutive points; not divided by the weights of the pairs, so that it grows with N",
        ),
        _statistic(
            "stetson_k", "", "Stetson K", f"(Σ|d|/N) / √(Σ d²/N), {_D}", "Stetson 1996", "not divided by 0.798"
        ),
        _statistic(
            "ad", "", "Anderson-Darling A² for a normal distribution, its mean and deviation estimated", "A²(m/e)",
            "Anderson & Darling 1952; Stephens 1974", _NOT_RESIDUALS,
        ),
        _statistic("sw", "", "Shapiro-Wilk W", "W(m/e)", "Royston 1995, algorithm AS R94", _NOT_RESIDUALS),
    ]
)  # fmt: skip

DMDT = Column(
    "dmdt",
    "float32[676]",
    "",
    "26 × 26 histogram of all pairs of points, row dm, column dt, stored row by row",
    "counts of (t_j − t_i, m_j − m_i), i < j, divided by the root of the sum of their squares",
    "Mahabal et al. 2017",
    "unit Frobenius norm, where the paper divides by the number of pairs",
)

FOURIER = ("power", "BIC", "a", "b", "amp", "phi0", *(f"rel{k}{i}" for i in range(1, 5) for k in ("amp", "phi")))

_FOURIER_SOURCE = "Simon & Lee 1981; order by BIC, Schwarz 1978"
_RAW = "raw, the default, as SCoPe 0.9.5: a coefficient, not the amplitude or phase that the name says"


def _fourier_columns(algorithm: str) -> list[Column]:
    where = f"at period_{algorithm}"

    def column(name: str, unit: str, meaning: str, formula: str, departs: str = "") -> Column:
        return Column(
            f"f1_{name}_{algorithm}", "float64", unit, f"{meaning} {where}", formula, _FOURIER_SOURCE, departs
        )

    return [
        column(
            "power", "", "fraction of χ² removed by the Fourier series of order k", "(χ²_0 − χ²_k)/χ²_0",
            "χ²_0 is that of offset and slope, not of a constant",
        ),
        column("BIC", "", "lowest Bayesian information criterion of the orders 0 to 5", "χ²_k + ln N (2 + 2k)"),
        column("a", "mag", "offset", "c0 of M = c0 + c1 (t − t_1) + Σ_n A_n cos(2πnt/P) + B_n sin(2πnt/P), t in HJD"),
        column("b", "mag / d", "slope", "c1"),
        column("amp", "mag", "harmonic 1", "raw: A_1; documented: amp_1 = √(A_1² + B_1²)", _RAW),
        column("phi0", "mag or rad", "harmonic 1", "raw: B_1; documented: φ_1 = atan2(A_1, B_1)", _RAW),
        *(
            column(*entry, _RAW)
            for n in range(2, 6)
            for entry in (
                (f"relamp{n - 1}", "mag or 1", f"harmonic {n}", f"raw: A_{n}; documented: amp_{n}/amp_1"),
                (
                    f"relphi{n - 1}", "mag or cycle", f"harmonic {n}",
                    f"raw: B_{n}; documented: ((φ_{n}/{n} − φ_1)/(2π/{n})) mod 1",
                ),
            )
        ),
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A method of the period search: what it is, after whom, whether it has a false-alarm probability."""

    meaning: str
    source: str
    false_alarm: bool = False
    departs: str = ""


ALGORITHMS = {
    "LS": Algorithm(
        "Lomb-Scargle, weighted, floating mean, standard normalisation",
        "Zechmeister & Kürster 2009",
        True,
        "the highest power wins; SCoPe 0.9.5 takes the lowest false-alarm probability, which underflows",
    ),
    "CE": Algorithm(
        "conditional entropy, 20 phase × 10 magnitude bins (lowest wins)",
        "Graham et al. 2013",
        departs="the faintest point is kept; SCoPe 0.9.5 drops it on the CPU",
    ),
    "AOV": Algorithm(
        "analysis of variance, 20 phase bins",
        "Schwarzenberg-Czerny 1989",
        departs="phase-binned; AOV of SCoPe 0.9.5 on the CPU fits harmonics (Schwarzenberg-Czerny 1996)",
    ),
    "ELS": Algorithm(
        "Lomb-Scargle, unweighted, of the mean-subtracted magnitudes",
        "Scargle 1982",
        True,
        "no floating mean, no errors",
    ),
    "ECE": Algorithm(
        "conditional entropy of magnitudes rescaled to [5e-4, 0.9995] (lowest wins)", "Graham et al. 2013"
    ),
    "EAOV": Algorithm(
        "analysis of variance, 20 phase bins",
        "Schwarzenberg-Czerny 1989",
        departs="the number of bins is not reduced for empty ones",
    ),
    "MHAOV": Algorithm(
        "weighted fit of a mean and several harmonics (3 unless told otherwise), standard normalisation",
        "Schwarzenberg-Czerny 1996",
        True,
        "the power P, of which his Θ is a monotone function",
    ),
    "BLS": Algorithm(
        "box least squares, weighted, up to 5 cycles/day: share of χ² that the best box explains",
        "Kovács, Zucker & Mazeh 2002",
        departs="only boxes in which the star is fainter, with a least weight inside and outside",
    ),
    "FPW": Algorithm(
        "weighted phase folding: share of χ² that the means of 20 phase bins explain", "Plavchan et al. 2008"
    ),
    "ELS_ECE_EAOV": Algorithm(
        "nested: the highest EAOV among the best distinct peaks of ELS and ECE",
        "Coughlin et al. 2021",
        departs="distinct peaks are compared; SCoPe 0.9.5 takes the best grid points, most of them neighbours",
    ),
}


def _period_columns(algorithm: str, refine: bool, aliases: bool) -> list[Column]:
    method = ALGORITHMS[algorithm]
    nested = algorithm.count("_") > 1

    def column(name: str, unit: str, meaning: str, formula: str, source: str, departs: str = "") -> Column:
        return Column(f"{name}_{algorithm}", "float64", unit, meaning, formula, source, departs)

    columns = [
        column(
            "period", "d", f"best period of {algorithm}: {method.meaning}", "1/f, f on the grid", method.source,
            method.departs,
        ),
        column(
            "significance", "", f"significance of period_{algorithm}",
            "analysis of variance at the period" if nested else "|best − mean|/std of the statistic over the grid",
            _SCOPE, "the raw statistic, not in units of its deviation" if nested else "",
        ),
        column(
            "pdot", "", "period derivative at period_" + algorithm, "that of the best fold with period P + Ṗ (t − t_1)",
            _SCOPE, "0 unless derivatives are searched (option pdots)",
        ),
    ]  # fmt: skip
    if method.false_alarm:
        formula = "log10 of the upper limit of the probability, computed as a logarithm"
        columns.append(
            column("log10_fap", "", f"false-alarm probability of period_{algorithm}", formula, "Baluev 2008, 2009")
        )
    if refine:
        columns += [
            column(
                "period_refined",
                "d",
                f"period of the maximum within a grid step of period_{algorithm}",
                "of the power of LS, ELS or MHAOV, for others of a fit of up to 5 harmonics",
                "Kiefer 1953",
                "Fourier columns and phases belong to the period on the grid",
            ),
            column(
                "period_refined_error",
                "d",
                f"standard deviation of period_refined_{algorithm}",
                "σ_f P², σ_f² = 2 (1 − p)/((N − 2H − 2) |p″|), p the power",
                "Montgomery & O'Donoghue 1999",
                "for white noise; knows nothing of aliases",
            ),
        ]
    if aliases:
        columns.append(
            Column(
                f"relation_{algorithm}",
                "str",
                "",
                f"what period_{algorithm} is to period_resolved",
                "same, harmonic (2, 1/2, 3, 1/3), alias: and of which period of the observing times, or unrelated",
                "Deeming 1975",
            )
        )
    return columns


_RESOLVED = Schema(
    [
        Column(
            "period_resolved", "float64", "d", "period, of the best peaks of all methods, whose shape fits best",
            "least n ln(1 − p) + k ln n of fits of 1 to 4 harmonics and of a box, p the share of variance explained",
            "Schwarz 1978",
        ),
        Column(
            "period_resolved_score", "float64", "", "lead of period_resolved over the best unrelated or alias peak",
            "difference of the Bayesian information criteria; above 10 is decisive, inf without competition",
            "Kass & Raftery 1995",
        ),
        Column(
            "period_agreement", "float64", "", "how far the methods agree on a period, 0 to 1",
            "share of the other methods with the same period or 2, 1/2, 3, 1/3 of it, an alias counting half; of the "
            "method for which it is largest",
            _SCOPE_DASK,
        ),
    ]
)  # fmt: skip


@cache
def feature_schema(algorithms: tuple[str, ...], refine: bool = True, aliases: bool = True) -> Schema:
    """Return the columns of a features table (identification aside).

    Parameters
    ----------
    algorithms : tuple of str
        Period algorithms that are written.
    refine, aliases : bool
        As in `scope_dask.PeriodOptions`.
    """
    periods = [c for a in algorithms for c in _period_columns(a, refine, aliases)]
    fourier = [c for a in algorithms for c in _fourier_columns(a)]
    return Schema([*STATISTICS, *periods, *(_RESOLVED if aliases else ()), *fourier, DMDT])


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
