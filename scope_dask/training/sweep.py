"""Search of the options of a network: many trainings, each with settings drawn from what is known of the others."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from scope_dask.errors import OptionError, nearest
from scope_dask.mapping import from_mapping, to_mapping
from scope_dask.training.options import METRICS, DNNOptions, one_of

if TYPE_CHECKING:
    from scope_dask.training.fitting import TrainedModel

METHODS = ("bayes", "random", "grid")
N_RANDOM = 4  # trials before a Gaussian process is fitted to them
_CANDIDATES = 512
_KEYS = ("min", "max", "value", "values", "distribution")


@dataclass(frozen=True)
class SweepOptions:
    """What a sweep varies, with the keys of a sweep configuration of Weights & Biases.

    Attributes
    ----------
    method : {"bayes", "random", "grid"}
        bayes: after four random trials, the setting with the largest expected improvement by a Gaussian process
        (Jones et al. 1998, J. Global Optimization 13, 455).
    metric : dict
        ``name``, of training or (``val_…``) validation, and ``goal``: minimize or maximize.
    run_cap : int
        Most trials.
    parameters : dict
        By option of `DNNOptions`: ``value``, ``values`` (one of them), or ``min`` and ``max``, uniform unless
        ``distribution`` is ``log_uniform_values``.
    """

    method: str = "bayes"
    metric: Mapping[str, str] = field(default_factory=lambda: {"goal": "minimize", "name": "val_loss"})
    run_cap: int = 10
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one_of("method of the sweep", self.method, METHODS)
        one_of("goal of the sweep", self.metric.get("goal", "minimize"), ("minimize", "maximize"))
        one_of("metric of the sweep", self.name, tuple(f"{part}{name}" for name in METRICS for part in ("val_", "")))
        if self.run_cap < 1:
            raise OptionError(f"run_cap of the sweep is {self.run_cap}; expected at least 1")
        known = [f.name for f in fields(DNNOptions)]
        for name, stated in self.parameters.items():
            if name not in known:
                raise OptionError(f"there is no option {name!r} to sweep{nearest(name, known)}")
            _check(name, stated, self.method)

    @property
    def name(self) -> str:
        """Name of the metric."""
        return self.metric.get("name", "val_loss")

    @property
    def sign(self) -> int:
        """What makes the metric one of which smaller is better."""
        return -1 if self.metric.get("goal") == "maximize" else 1


def _check(name: str, stated: Mapping[str, Any], method: str) -> None:
    if unknown := [key for key in stated if key not in _KEYS]:
        raise OptionError(f"the sweep of {name} has {unknown[0]!r}{nearest(unknown[0], _KEYS)}; {', '.join(_KEYS)}")
    spans = {"min", "max"} <= set(stated)
    if not (spans or "value" in stated or stated.get("values")):
        raise OptionError(f"the sweep of {name} is {dict(stated)}; expected value, values, or min and max")
    if spans and method == "grid":
        raise OptionError(f"a sweep by grid needs values of {name}, found min and max")
    if spans and not stated["min"] < stated["max"]:
        raise OptionError(f"the sweep of {name} has min {stated['min']} and max {stated['max']}")


@dataclass(frozen=True)
class Trial:
    """A training of a sweep: the options that the sweep chose, the metric, and its best value over the epochs."""

    settings: dict[str, Any]
    metric: str
    result: float


def sweep(
    train: Callable[[DNNOptions], TrainedModel],
    options: DNNOptions,
    swept: SweepOptions,
    fixed: Collection[str] = (),
    seen: Callable[[Trial, TrainedModel], None] = lambda trial, model: None,
) -> tuple[TrainedModel, list[Trial]]:
    """Train with the settings of a sweep, and return the best model.

    Parameters
    ----------
    train : callable
        Trains with options.
    options : DNNOptions
        What the sweep does not vary; draws depend on their `random_state`.
    swept : SweepOptions
    fixed : collection of str
        Options that the sweep leaves as they are.
    seen : callable
        Called after each trial.

    Returns
    -------
    TrainedModel, list of Trial
    """
    parameters = {name: stated for name, stated in swept.parameters.items() if name not in fixed}
    constant = {name: stated["value"] for name, stated in parameters.items() if "value" in stated}
    free = {name: stated for name, stated in parameters.items() if "value" not in stated}
    rng = np.random.default_rng(options.random_state)
    trials: list[Trial] = []
    places: list[np.ndarray] = []
    best: TrainedModel | None = None
    for place in _grid(free, swept.run_cap) if swept.method == "grid" else itertools.repeat(None, swept.run_cap):
        results = [swept.sign * trial.result for trial in trials]
        u = _next(rng, len(free), places, results, swept.method) if place is None else place
        settings = {**constant, **{name: _value(stated, x) for (name, stated), x in zip(free.items(), u, strict=True)}}
        trained = train(_changed(options, settings))
        values = swept.sign * np.array(trained.manifest.metrics["history"][swept.name])
        trial = Trial(settings, swept.name, float(swept.sign * values.min()))
        if best is None or swept.sign * trial.result < min(results):
            best = trained
        trials.append(trial)
        places.append(u)
        seen(trial, trained)
        if not free:
            break
    assert best is not None  # there is at least one trial
    return best, trials


def _changed(options: DNNOptions, settings: Mapping[str, Any]) -> DNNOptions:
    # Sweeps of SCoPe 0.9.5 draw numbers for amsgrad; any of them turns it on.
    settings = {name: bool(value) if name == "amsgrad" else value for name, value in settings.items()}
    return from_mapping(DNNOptions, {**to_mapping(options), **settings}, "the sweep")


def _grid(free: Mapping[str, Mapping[str, Any]], most: int) -> list[np.ndarray]:
    axes = [(np.arange(len(stated["values"])) + 0.5) / len(stated["values"]) for stated in free.values()]
    return [np.array(place) for place in itertools.islice(itertools.product(*axes), most)]


def _value(stated: Mapping[str, Any], u: float) -> Any:
    """Return the value at a place between 0 and 1."""
    if values := stated.get("values"):
        return values[min(int(u * len(values)), len(values) - 1)]
    low, high = stated["min"], stated["max"]
    if stated.get("distribution") == "log_uniform_values":
        return float(math.exp(math.log(low) + u * (math.log(high) - math.log(low))))
    if isinstance(low, int) and isinstance(high, int):
        return min(low + int(u * (high - low + 1)), high)
    return float(low + u * (high - low))


def _next(
    rng: np.random.Generator, n: int, places: Sequence[np.ndarray], results: Sequence[float], method: str
) -> np.ndarray:
    """Return the place, between 0 and 1 in each dimension, of the next trial; small results are good ones."""
    if method != "bayes" or len(places) < N_RANDOM or not n:
        return rng.random(n)
    from scipy.stats import norm
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern

    y = np.array(results)
    y = (y - y.mean()) / (y.std() or 1.0)
    # The scale is fixed: ten trials do not determine it.
    process = GaussianProcessRegressor(Matern(0.3, nu=2.5), alpha=1e-3, optimizer=None).fit(np.array(places), y)
    candidates = rng.random((_CANDIDATES, n))
    mean, spread = process.predict(candidates, return_std=True)
    gain = y.min() - mean
    z = gain / np.maximum(spread, 1e-12)
    best: np.ndarray = candidates[np.argmax(gain * norm.cdf(z) + spread * norm.pdf(z))]
    return best
