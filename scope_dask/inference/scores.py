"""The stage that turns features into scores."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from scope_dask import tally
from scope_dask.errors import ModelError, nearest
from scope_dask.inference.models import Models, score_of
from scope_dask.inference.preparation import inputs_of, predict
from scope_dask.schema import DMDT, Column, Schema, carried, score_schema
from scope_dask.stage import Stage

_INCOMPLETE = "a feature is missing that is not imputed by the models {}"
_NO_NUMBER = "features are so large that there is no score of the models {}"


class ModelFeatures(Schema):
    """The features that models need; what is missing is told model by model."""

    def __init__(self, models: Models) -> None:
        features = [Column(name, "float64", "", "feature of a model") for name in models.features]
        super().__init__([*features, DMDT] if models.dmdt else features)
        self._models = models

    def require(self, frame: pd.DataFrame, where: str) -> None:
        """Check that `frame` has the features of every model.

        Raises
        ------
        ModelError
            If a model needs a column that is not there.
        SchemaError
            If a column is not a number.
        """
        have = [str(c) for c in frame.columns]
        needed = {m.tag: [*m.preparation.features, *[DMDT.name] * bool(m.preparation.dmdt)] for m in self._models}
        lacking = {tag: [name for name in names if name not in have] for tag, names in needed.items()}
        lacking = {tag: names for tag, names in lacking.items() if names}
        if lacking:
            tag, names = next(iter(lacking.items()))
            others = f" (so do {len(lacking) - 1} others)" if len(lacking) > 1 else ""
            hints = "".join(f"{n}{nearest(n, have)}, " for n in names[:5])
            more = f"and {len(names) - 5} more" if len(names) > 5 else ""
            raise ModelError(
                f"{where}: the model {tag!r} needs columns that the features table does not have{others}: "
                f"{(hints + more).rstrip(', ')}; compute them (period algorithms of the features stage), "
                "or train the model on a table like this one"
            )
        super().require(frame, where)


def score_partition(partition: pd.DataFrame, models: Models) -> pd.DataFrame:
    """Score every row of a features partition with every model.

    A row without any of a model's features gets NaN: the stage that could not compute them has set it aside
    already. A row that lacks something which the model does not impute, or that the model makes no number of,
    gets NaN and is set aside here.
    """
    names = models.features
    inputs = inputs_of(partition, names, models.dmdt)
    position = {name: k for k, name in enumerate(names)}
    scored: dict[str, np.ndarray] = {}
    unscored: dict[str, dict[int, list[str]]] = {}
    for model in models:
        own = inputs.features(position[f] for f in model.preparation.features)
        found = scored[model.column] = predict(score_of(model), model.preparation, own)
        given_up = np.isnan(found) & ~model.preparation.blank(own)
        incomplete = model.preparation.incomplete(own)
        for row in np.flatnonzero(given_up):
            reason = _INCOMPLETE if incomplete[row] else _NO_NUMBER
            unscored.setdefault(reason, {}).setdefault(int(row), []).append(model.tag)
    out = pd.concat([partition[carried(partition)], pd.DataFrame(scored, index=partition.index)], axis=1)
    ids = partition["_id"].to_numpy() if unscored else np.empty(0, np.int64)
    reasons = [(row, reason.format(", ".join(t))) for reason, rows in unscored.items() for row, t in rows.items()]
    return tally.note(out, set_aside=[(ids[row], reason) for row, reason in sorted(reasons)])


def _provides(models: Models) -> Schema:
    return score_schema(models.columns)


SCORES = Stage("scores", score_partition, ModelFeatures, _provides)


def check_fourier(models: Models, fourier: str) -> None:
    """Check that the models were trained on Fourier columns with the contents `fourier`.

    Raises
    ------
    ModelError
        If a model uses Fourier amplitudes or phases of the other kind.
    """
    wrong = [m for m in models if m.fourier != fourier and m.fourier_features]
    if wrong:
        tags, trained = ", ".join(m.tag for m in wrong), wrong[0].fourier
        raise ModelError(
            f"the models {tags} were trained on {trained!r} Fourier columns, the table has {fourier!r} ones: "
            f"compute the features with fourier: {trained}, or train the models on a table like this one"
        )


def scores(features: Any, models: Models, fourier: Literal["raw", "documented"] = "raw") -> Any:
    """Score light curves: lazily for a Dask table, at once for a pandas partition.

    Parameters
    ----------
    features : dask.dataframe.DataFrame or pandas.DataFrame
        Table with the features of the models.
    models : Models
        As `load_models` gives them.
    fourier : {"raw", "documented"}
        Contents of the table's Fourier columns.

    Returns
    -------
    dask.dataframe.DataFrame or pandas.DataFrame
        Identification columns and one float32 column ``<tag>_xgb`` or ``<tag>_dnn`` per model: the probability,
        not rounded.

    Raises
    ------
    ModelError
        If the table lacks features of a model, or its Fourier columns are of the other kind.
    SchemaError
        If a feature is not a number.
    """
    check_fourier(models, fourier)
    return SCORES(features, models)
