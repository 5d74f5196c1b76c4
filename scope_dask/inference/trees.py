"""Boosted trees as a kernel: sixty-four light curves at a time.

A tree is walked node by node, and where a walk goes next is known only when the comparison is done: a processor waits
most of the time. Here every node of a tree is evaluated, from the leaves up, for sixty-four rows: more comparisons, of
which none waits. For trees of depth six this takes a third of the time, and a row does not depend on its neighbours.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from scope_dask.compiled import jit
from scope_dask.inference.preparation import Score
from scope_dask.periods.lanes import WIDTH, load, splat, store, where_less

ROWS = 4 * WIDTH  # that are evaluated together
MOST_NODES = 255  # of a tree, on average: those of a depth of eight; deeper ones are faster walked
_KNOWN_PARTS = {"cats", "gbtree_model_param", "iteration_indptr", "tree_info", "trees"}  # XGBoost 3.4 adds weight_drop
_BOTH_LEAVES, _LEFT_LEAF, _RIGHT_LEAF, _NO_LEAF = range(4)


@dataclass(frozen=True)
class Trees:
    """Boosted trees in the order in which the kernel evaluates their nodes: those below a node before it.

    Attributes
    ----------
    first : numpy.ndarray, shape (trees + 1,), int64
        Where the nodes of each tree begin.
    kind, feature : numpy.ndarray, shape (nodes,), int64
        Which of a node's children are leaves, and which feature is compared.
    threshold, left, right : numpy.ndarray, shape (nodes,), float32
        A row goes left where the feature is below the threshold; values of the children that are leaves.
    depth : int
        Most results that wait for the node above them at a time.
    start : float
        Log-odds before the first tree.
    """

    first: np.ndarray
    kind: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    depth: int
    start: float


def read_trees(content: bytes) -> Trees | None:
    """Read the JSON of an XGBoost model; None where it is of another kind than the kernel evaluates.

    That is: a binary classifier by the logistic loss, of trees that compare numbers, with up to `MOST_NODES` nodes,
    and with no part that is not known: the scores of a newer XGBoost would be wrong without a word.
    """
    learner = json.loads(content)["learner"]
    known, model = learner["learner_model_param"], learner["gradient_booster"]
    if (learner["objective"]["name"], model["name"], known["num_target"]) != ("binary:logistic", "gbtree", "1"):
        return None
    trees, parts = model["model"]["trees"], set(model["model"])
    ordered = [_ordered(tree) for tree in trees]
    first = np.cumsum([0, *(len(nodes) for nodes, _ in ordered)])
    if parts - _KNOWN_PARTS or first[-1] > MOST_NODES * len(trees) or any(any(tree["split_type"]) for tree in trees):
        return None
    kind, feature, threshold, left, right = zip(*(node for nodes, _ in ordered for node in nodes), strict=True)
    base = np.float32(known["base_score"].strip("[]"))
    return Trees(
        first=first,
        kind=np.array(kind),
        feature=np.array(feature),
        threshold=np.array(threshold, np.float32),
        left=np.array(left, np.float32),
        right=np.array(right, np.float32),
        depth=max(depth for _, depth in ordered),
        start=float(-np.log(np.float32(1.0) / base - np.float32(1.0))),
    )


def _ordered(tree: dict[str, Any]) -> tuple[list[tuple[int, int, float, float, float]], int]:
    """Return (kind, feature, threshold, left, right) of a tree's inner nodes, and how many results wait at most."""
    low, high, value = tree["left_children"], tree["right_children"], tree["split_conditions"]
    if low[0] < 0:  # the tree is one leaf
        return [(_BOTH_LEAVES, 0, 0.0, value[0], value[0])], 1
    nodes = []
    waiting = most = 0
    below = [(0, False)]
    while below:
        node, ready = below.pop()
        children = low[node], high[node]
        inner = [child for child in children if low[child] >= 0]
        if not ready:
            below += [(node, True), *((child, False) for child in reversed(inner))]
            continue
        kind = _NO_LEAF if len(inner) == 2 else _BOTH_LEAVES if not inner else _LEFT_LEAF + (children[0] in inner)
        nodes.append((kind, tree["split_indices"][node], value[node], value[children[0]], value[children[1]]))
        waiting += 1 - len(inner)
        most = max(most, waiting)
    return nodes, most


def trees_score(trees: Trees) -> Score:
    """Return the function that scores with trees; several threads may call it at once."""
    from scope_dask.extraction.ordering import frozen

    whole = [frozen(array, np.int64) for array in (trees.first, trees.kind, trees.feature)]
    parts = [frozen(array, np.float32) for array in (trees.threshold, trees.left, trees.right)]

    def score(x: np.ndarray, histograms: np.ndarray | None, rows: np.ndarray) -> np.ndarray:
        out = np.empty(len(x), np.float32)
        _evaluate(frozen(x, np.float32), *whole, *parts, trees.depth, np.float32(trees.start), out)
        return out

    return score


@jit()
def _evaluate(
    x: np.ndarray,
    first: np.ndarray,
    kind: np.ndarray,
    feature: np.ndarray,
    threshold: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    depth: int,
    start: float,
    out: np.ndarray,
) -> None:
    """Fill `out` with the probabilities of the rows of `x`, shape (n, features), float32, without NaN."""
    columns = np.zeros(x.shape[1] * ROWS, np.float32)
    results = np.empty(depth * ROWS, np.float32)
    total = np.empty(ROWS, np.float32)
    for row in range(0, len(out), ROWS):
        count = min(ROWS, len(out) - row)
        for i in range(count):
            for k in range(x.shape[1]):
                columns[k * ROWS + i] = x[row + i, k]
        total[:] = start
        for tree in range(len(first) - 1):
            _tree(columns, first[tree], first[tree + 1], kind, feature, threshold, left, right, results)
            for lane in range(0, ROWS, WIDTH):
                store(total, lane, load(total, lane) + load(results, lane))
        for i in range(count):
            out[row + i] = 1.0 / (1.0 + np.exp(-np.float64(total[i])))


@jit()
def _tree(
    columns: np.ndarray,
    first: int,
    last: int,
    kind: np.ndarray,
    feature: np.ndarray,
    threshold: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    results: np.ndarray,
) -> None:
    """Write the leaves that the rows come to; each node's result takes the place of those below it."""
    at = -ROWS
    for node in range(first, last):
        low, high, most = splat(left[node]), splat(right[node]), splat(threshold[node])
        column = feature[node] * ROWS
        if kind[node] == _BOTH_LEAVES:
            at += ROWS
            for lane in range(0, ROWS, WIDTH):
                store(results, at + lane, where_less(load(columns, column + lane), most, low, high))
        elif kind[node] == _LEFT_LEAF:
            for lane in range(0, ROWS, WIDTH):
                high = load(results, at + lane)
                store(results, at + lane, where_less(load(columns, column + lane), most, low, high))
        elif kind[node] == _RIGHT_LEAF:
            for lane in range(0, ROWS, WIDTH):
                low = load(results, at + lane)
                store(results, at + lane, where_less(load(columns, column + lane), most, low, high))
        else:
            at -= ROWS
            for lane in range(0, ROWS, WIDTH):
                low, high = load(results, at + lane), load(results, at + ROWS + lane)
                store(results, at + lane, where_less(load(columns, column + lane), most, low, high))
