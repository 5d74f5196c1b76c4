"""Columns of the cross-matches and of the alert statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from scope_dask.schema import SOURCES, Column, Schema

POSITIONS = Schema([SOURCES["_id"], SOURCES["ra"], SOURCES["dec"]])
"""What a cross-match needs of a table."""

_BANDS = ("g", "r", "i", "z", "y")

_AUTHORS = {
    "AllWISE": "AllWISE, Cutri et al. 2013",
    "Gaia_EDR3": "Gaia EDR3, Gaia Collaboration 2021",
    "PS1_DR1": "Pan-STARRS1 DR1, Chambers et al. 2016",
}

# dtype, unit and meaning of the columns of catalogues.
_KNOWN: dict[str, tuple[str, str, str]] = {
    "_id": ("Int64", "", "identifier in the catalogue"),
    **{f"w{k}mpro": ("float64", "mag", f"W{k} magnitude, profile fit, Vega") for k in range(1, 5)},
    **{f"w{k}sigmpro": ("float64", "mag", f"error of w{k}mpro") for k in range(1, 5)},
    "ph_qual": ("str", "", "photometric quality of W1 to W4: A, B, C, U (upper limit), X or Z"),
    "phot_g_mean_mag": ("float64", "mag", "mean G magnitude, Vega"),
    "phot_bp_mean_mag": ("float64", "mag", "mean BP magnitude, Vega"),
    "phot_rp_mean_mag": ("float64", "mag", "mean RP magnitude, Vega"),
    "parallax": ("float64", "mas", "parallax"),
    "parallax_error": ("float64", "mas", "error of the parallax"),
    "pmra": ("float64", "mas / yr", "proper motion in right ascension, times cos dec"),
    "pmra_error": ("float64", "mas / yr", "error of pmra"),
    "pmdec": ("float64", "mas / yr", "proper motion in declination"),
    "pmdec_error": ("float64", "mas / yr", "error of pmdec"),
    "astrometric_excess_noise": ("float64", "mas", "excess noise of the astrometric solution"),
    "phot_bp_rp_excess_factor": ("float64", "", "flux of BP and RP over that of G"),
    **{f"{b}MeanPSFMag": ("float64", "mag", f"mean PSF magnitude in {b}, AB") for b in _BANDS},
    **{f"{b}MeanPSFMagErr": ("float64", "mag", f"error of {b}MeanPSFMag") for b in _BANDS},
    "qualityFlag": ("float64", "", "bits on the quality of the object, as a real number"),
}

EXTERNAL_FIELDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "AllWISE": ("_id", *(f"w{k}{s}" for k in range(1, 5) for s in ("mpro", "sigmpro")), "ph_qual"),
        "Gaia_EDR3": (
            "_id",
            *(f"phot_{b}_mean_mag" for b in ("g", "bp", "rp")),
            *(f"{name}{e}" for name in ("parallax", "pmra", "pmdec") for e in ("", "_error")),
            "astrometric_excess_noise",
            "phot_bp_rp_excess_factor",
        ),
        "PS1_DR1": ("_id", *(f"{b}MeanPSFMag{e}" for b in _BANDS for e in ("", "Err")), "qualityFlag"),
    }
)
"""The catalogues that SCoPe 0.9.5 matches, and the fields it takes of each."""

MISSING_VALUE = MappingProxyType({"PS1_DR1": -999.0})
"""The number that stands for a missing value in a catalogue."""

_FIRST = "the nearest is taken; SCoPe 0.9.5 takes the first that the server returns"


def external_column(catalog: str, field: str) -> Column:
    """Return the column ``<catalog>__<field>``; a field that is not known here is a real number."""
    dtype, unit, meaning = _KNOWN.get(field, ("float64", "", f"{field} of the catalogue"))
    marked = catalog in MISSING_VALUE and dtype == "float64"
    departs = f"{_FIRST}; {MISSING_VALUE[catalog]:g} is stored as NaN" if marked else _FIRST
    formula = f"{field} of the nearest source of {catalog} within the radius"
    return Column(f"{catalog}__{field}", dtype, unit, meaning, formula, _AUTHORS.get(catalog, catalog), departs)


def external_schema(fields: Mapping[str, Sequence[str]]) -> Schema:
    """Return the columns of a cross-match; `fields` are those wanted of each catalogue."""
    return Schema(external_column(catalog, field) for catalog, names in fields.items() for field in names)


ALERT_STATISTICS = Schema(
    [
        Column("n_ztf_alerts", "int64", "", "number of ZTF alerts within the radius", "count", "SCoPe 0.9.5"),
        Column(
            "mean_ztf_alert_braai",
            "float64",
            "",
            "mean real-bogus score (braai) of those alerts",
            "Σ braai / number of alerts with a score; 0 where there are none",
            "Duev et al. 2019",
        ),
    ]
)
