"""``docs/features.md``, made from the schema: ``python -m scope_dask.documentation docs/features.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from scope_dask.crossmatch.schema import ALERT_STATISTICS, EXTERNAL_FIELDS, external_schema
from scope_dask.extraction.dmdt import DM_EDGES, DT_EDGES
from scope_dask.periods.grid import TERRESTRIAL_WINDOWS
from scope_dask.periods.options import PeriodOptions
from scope_dask.schema import (
    ALGORITHMS,
    CATFLAGS,
    CURVES,
    DMDT,
    IDENTIFICATION,
    SET_ASIDE,
    STATISTICS,
    Column,
    score_schema,
)

_HEAD = """\
# Columns of the tables

Made from `scope_dask/schema.py` by `python -m scope_dask.documentation docs/features.md` (`make docs`): do not edit.

Symbols: a light curve has N points (t_i, m_i, e_i): heliocentric Julian date, magnitude and its error, in time order,
after the conditioning. w_i = 1/e_i², m̄ = Σ w m / Σ w, Pq is the q-th percentile, P the period and f = 1/P.
A value that cannot be computed is NaN, and its light curve is listed in `set_aside` with the reason.
The last column says where a definition departs from that of the source named before it. Most departures are those of
SCoPe 0.9.5 (van Roestel et al. 2021; Coughlin et al. 2021; Healy et al. 2024), kept so that its models can be used.
"""


_CATALOGS = """\
Columns `<catalogue>__<field>` of the nearest source of each catalogue within `--xmatch-radius-arcsec`, NaN where there
is none. Catalogues and fields are those of `feature_generation: external_catalog_features` in `config.yaml`; these are
the default ones. `AllWISE_w1mpro`, with one underscore, is understood when tables are read.
"""


def features_page() -> str:
    """Return the page on every column of every table, in Markdown."""
    default = PeriodOptions()
    nested = default.written[-1]
    columns = list(default.schema)
    periods = [c for c in columns if c.name not in STATISTICS and c != DMDT and not c.name.startswith("f1_")]
    fourier = [c for c in columns if c.name.startswith("f1_") and c.name.endswith(f"_{nested}")]
    sections = [
        _HEAD,
        "## Light curves\n",
        _table([*IDENTIFICATION, *CURVES, CATFLAGS]),
        "`obj_id` is there when the source has it, `catflags` until the conditioning has used it.\n",
        "## Features: statistics\n",
        _table(STATISTICS),
        "## Features: periods\n",
        _periods_text(default),
        _algorithms(),
        f"The columns that the default, `{nested}`, writes:\n",
        _table(periods),
        "## Features: Fourier decomposition\n",
        _fourier_text(default),
        _table(fourier),
        "## Features: dmdt\n",
        _table([DMDT]),
        _dmdt_text(),
        "## Features: alerts\n",
        "Of the ZTF alerts within `--xmatch-radius-arcsec` of a source; their catalogue is optional.\n",
        _table(ALERT_STATISTICS),
        "## Features: other catalogues\n",
        _CATALOGS,
        _table(external_schema(EXTERNAL_FIELDS)),
        "## Scores\n",
        _table(score_schema(["CLASS_xgb"])),
        "## Set aside\n",
        _table(SET_ASIDE),
    ]
    return "\n".join(sections)


def _periods_text(options: PeriodOptions) -> str:
    windows = ", ".join(f"{low:g}–{high:g}" for low, high in sorted(TERRESTRIAL_WINDOWS.tolist()))
    return (
        f"Frequencies from 2/T to {options.max_freq:g} cycles/day in steps of 1/({options.samples_per_peak} T), with T "
        "the light curve's own time\nspan, or the option `baseline_days`. With `remove_terrestrial` these are masked, "
        f"in cycles/day:\n{windows}.\n"
    )


def _fourier_text(options: PeriodOptions) -> str:
    return (
        f"One set for each of {', '.join(options.written)}; here that of {options.written[-1]}.\n"
        "Orders k ≤ 5 with N > 2 + 2k are fitted by weighted least squares; coefficients of orders above the chosen\n"
        "one are 0.\n"
    )


def _dmdt_text() -> str:
    dt, dm = (", ".join(f"{edge:g}" for edge in edges.tolist()) for edges in (DT_EDGES, DM_EDGES))
    return f"Edges of dt (days): {dt}.\n\nEdges of dm (mag): {dm}.\n"


def _algorithms() -> str:
    rows = [
        (name, method.meaning, "yes" if method.false_alarm else "", method.source, method.departs)
        for name, method in ALGORITHMS.items()
    ]
    rows.append(
        ("LS_CE_AOV", "nested: LS and CE, then AOV; columns named ELS_ECE_EAOV", "", "Coughlin et al. 2021", "")
    )
    return _markdown(("algorithm", "meaning", "false-alarm probability", "source", "departs from it"), rows)


def _table(columns: Iterable[Column]) -> str:
    rows = [(f"`{c.name}`", f"`{c.dtype}`", c.unit, c.meaning, c.formula, c.source, c.departs) for c in columns]
    return _markdown(("column", "type", "unit", "meaning", "formula", "source", "departs from it"), rows)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table without the columns that are empty in every row."""
    used = [i for i in range(len(head)) if any(row[i] for row in rows)]
    lines = [[head[i] for i in used], ["---"] * len(used)]
    lines += [[row[i].replace("|", "\\|") for i in used] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(features_page(), encoding="utf-8")
