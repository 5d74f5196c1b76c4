"""The kernel of boosted trees against XGBoost's own predictions."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import xgboost

from scope_dask.inference.trees import MOST_NODES, read_trees, trees_score
from scope_dask.inference.xgb import booster_score, load_booster

# The sums of leaves are the same; the logistic function is computed in float64 and rounded, theirs in float32.
TOLERANCE = 2.0**-23
NONE = np.empty(0, np.int64)


def boosted(rounds: int = 20, **parameters: Any) -> Any:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(3000, 7)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] + np.sin(3 * x[:, 2]) + rng.normal(0, 0.5, 3000) > 0.3).astype(float)
    given = {"objective": "binary:logistic", "nthread": 1, "seed": 1, **parameters}
    return load_booster(bytes(xgboost.train(given, xgboost.DMatrix(x, y), rounds).save_raw("json")))


def raw(booster: Any) -> bytes:
    return bytes(booster.save_raw("json"))


def rows_on_edges(booster: Any, n: int = 1500) -> np.ndarray:
    """Return rows of which many a feature is a threshold of the trees, or next to one."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(n, 7)).astype(np.float32)
    trees = json.loads(raw(booster))["learner"]["gradient_booster"]["model"]["trees"]
    for tree in trees[:10]:
        inner = np.flatnonzero(np.array(tree["left_children"]) >= 0)
        features = np.array(tree["split_indices"])[inner]
        edges = np.array(tree["split_conditions"], np.float32)[inner]
        for value in (edges, np.nextafter(edges, np.float32(-9)), np.nextafter(edges, np.float32(9))):
            x[rng.integers(0, n, len(inner)), features] = value
    x[0], x[1] = np.finfo(np.float32).max, -np.finfo(np.float32).max
    return x


@pytest.mark.parametrize(
    "parameters",
    [
        *({"max_depth": depth} for depth in (1, 2, 3, 6, 7)),
        {"max_leaves": 20, "max_depth": 0, "grow_policy": "lossguide"},
        {"scale_pos_weight": 5.0, "base_score": 0.2},
        {"gamma": 1e9},  # nothing is worth a split: every tree is one leaf
        {"num_parallel_tree": 3, "subsample": 0.5},
    ],
)
def test_the_kernel_gives_what_xgboost_gives(parameters: dict[str, Any]) -> None:
    booster = boosted(**parameters)
    trees = read_trees(raw(booster))
    assert trees is not None
    x = rows_on_edges(booster)
    for n in (0, 1, 63, 64, 65, len(x)):
        found = trees_score(trees)(x[:n], None, NONE)
        assert found.dtype == np.float32
        expected = booster.inplace_predict(x[:n]) if n else np.empty(0)
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    booster = boosted(max_depth=6)
    score, x = booster_score(booster), rows_on_edges(booster)
    whole = score(x, None, NONE)
    assert len(np.unique(whole)) > 500
    for size in (1, 13, 64, 100):
        parts = [score(x[k : k + size], None, NONE) for k in range(0, len(x), size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    order = np.random.default_rng(1).permutation(len(x))
    np.testing.assert_array_equal(score(np.asfortranarray(x[order]), None, NONE), whole[order])


@pytest.mark.parametrize(
    "parameters",
    [
        {"booster": "dart", "rate_drop": 0.5},
        {"objective": "binary:hinge"},
        {"objective": "reg:squarederror"},
        {"max_depth": 14, "min_child_weight": 0, "reg_lambda": 0, "eta": 0.01},
    ],
)
def test_other_models_are_left_to_xgboost(parameters: dict[str, Any]) -> None:
    booster = boosted(3, **parameters)
    assert read_trees(raw(booster)) is None
    x = np.random.default_rng(6).normal(size=(200, 7)).astype(np.float32)
    np.testing.assert_array_equal(booster_score(booster)(x, None, NONE), booster.inplace_predict(x))


def test_a_model_with_a_part_that_is_not_known_is_left_to_xgboost() -> None:
    """As XGBoost 3.4 writes the weights of trees that were dropped in the training."""
    content = json.loads(raw(boosted(3)))
    assert read_trees(json.dumps(content).encode()) is not None
    content["learner"]["gradient_booster"]["model"]["weight_drop"] = [0.5, 0.5, 1.0]
    assert read_trees(json.dumps(content).encode()) is None


def test_trees_of_depth_eight_are_the_largest_for_the_kernel() -> None:
    full = boosted(2, max_depth=8, min_child_weight=0)
    trees = read_trees(raw(full))
    assert trees is not None
    assert len(trees.kind) <= 2 * MOST_NODES
