"""Catalogues as Kowalski holds them: ids as text, a missing value as an absent key."""

from __future__ import annotations

from typing import Any

import pandas as pd
from kowalski_documents import place


def catalog_documents(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows with ``ra``, ``dec`` as documents; a score ``braai`` goes below ``classifications``."""
    made = []
    for number, row in enumerate(table.to_dict("records")):
        there = {name: value for name, value in row.items() if not pd.isna(value)}
        if "braai" in row:
            there["classifications"] = {name: there.pop(name) for name in ("braai",) if name in there}
        made.append({**there, "_id": str(row.get("_id", f"{number:024x}")), **place(row["ra"], row["dec"])})
    return made
