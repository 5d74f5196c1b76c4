"""The period search on the full grid: CPU time of every method, beside other codes and the original.

    OMP_NUM_THREADS=1 python bench/periods.py [--curves 8] [--points 300] [--baseline 1826.25] [--methods LS CE …]

The grid is that of a survey of five years: 876,580 frequencies up to 48 cycles a day (a baseline of 208.3 d: 1e5). Ours
are whole searches of a partition (scan, the 50 best distinct peaks refined in float64, mean and standard deviation);
the peers' times are those of their periodogram alone, one light curve at a time. Medians of CPU time, taken in turn
within a method. Where a code is slow only a part of the grid is timed and the time scaled ("part"). pf: one point at
one frequency.

Accuracy: of ours, for how many light curves the best period is that of the whole periodogram in float64; of the peers
that compute the same statistic, the largest difference from that periodogram.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from peers import Peer, installed
from workload import BASELINE_DAYS, cpu_seconds, light_curves, machine

from scope_dask.periods.grid import frequency_grid
from scope_dask.periods.options import BoxOptions, PeriodOptions
from scope_dask.periods.search import periodogram, search
from scope_dask.ragged import LightCurves

SEARCHES = ("LS + CE + AOV", "LS_CE_AOV", "ELS_ECE_EAOV")
ORIGINAL_TRIO = 0.007  # light curves/s/core of LS + CE + AOV
METHODS = ("LS", "CE", "AOV", "MHAOV", "BLS", "FPW")


def peer_run(peer: Peer, curves: LightCurves, size: int, options: PeriodOptions) -> Callable[[], list]:
    """Return the run of a peer over some light curves on (its part of) the grid."""
    grid = frequency_grid(curves.hjd, curves.offsets, options)
    part = int(size * peer.fraction)
    return lambda: [peer.run(*curves[i], grid.fmin[i], grid.df[i], part) for i in range(len(curves))]


def same_best(method: str, curves: LightCurves, count: int, options: PeriodOptions) -> str:
    """Tell for how many of `count` light curves the search finds the best of the whole periodogram in float64."""
    found = search(curves, options)[method].frequency
    same = 0
    for i in range(count):
        frequency, value = periodogram(*curves[i], method, options)
        best = value.argmin() if method in ("CE", "ECE") else value.argmax()
        same += bool(np.isclose(frequency[best], found[i], rtol=1e-12))
    return f"best {same}/{count}"


def largest_difference(
    peer: Peer, method: str, curve: tuple[np.ndarray, ...], values: np.ndarray | None, options: PeriodOptions
) -> str:
    """Return the largest difference from the periodogram in float64 (of AOV relative)."""
    if values is None or not peer.same_statistic:
        return "other statistic"
    _, exact = periodogram(*curve, method, options)
    exact = exact[: len(values)]
    return f"{np.max(np.abs(values - exact) / (exact if method == 'AOV' else 1.0)):.1e}"


def compare(method: str, ours: LightCurves, args: argparse.Namespace) -> float:
    """Print the rows of a method; return our seconds per light curve."""
    options = replace(args.options, algorithms=(method,))
    few = LightCurves.from_lists([ours[i] for i in range(args.peer_curves)])
    size = int(frequency_grid(ours.hjd, ours.offsets, options).size[0])
    peers = installed(method)
    runs = {"scope_dask": lambda: search(ours, options)}
    runs |= {peer.name: peer_run(peer, few, size, options) for peer in peers}
    seconds = cpu_seconds(runs, args.rounds)
    own = seconds["scope_dask"] / len(ours)
    row(method, "scope_dask", own, own, 1.0, size * args.points, same_best(method, ours, args.exact, options))
    for peer in peers:
        each = seconds[peer.name] / len(few) / peer.fraction
        accuracy = largest_difference(peer, method, few[0], runs[peer.name]()[0], options)
        row(method, peer.name, each, own, peer.fraction, size * args.points, accuracy)
    return own


def row(method: str, name: str, each: float, own: float, part: float, pf: int, accuracy: str) -> None:
    print(
        f"{method:<13}{name:<18}{each * 1e3:>10.1f}{pf / each:>11.2e}{each / own:>9.1f}{part:>8g}  {accuracy}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("curves", 8), ("points", 300), ("rounds", 5), ("peer-curves", 2), ("exact", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--baseline", type=float, default=BASELINE_DAYS, help="days")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    args = parser.parse_args()
    args.options = PeriodOptions(baseline_days=args.baseline, boxes=BoxOptions(max_freq=48.0))
    curves = light_curves(args.curves, args.points, baseline_days=args.baseline)
    size = frequency_grid(curves.hjd, curves.offsets, args.options).size[0]
    print(f"{machine()}\n{args.points} points, {size:,} frequencies")
    print(f"{'method':<13}{'code':<18}{'ms/curve':>10}{'pf/s':>11}{'times':>9}{'part':>8}  accuracy")
    for method in args.methods:
        compare(method, curves, args)
    searches = {name: replace(args.options, algorithms=tuple(name.split(" + "))) for name in SEARCHES}
    seconds = cpu_seconds({name: lambda o=o: search(curves, o) for name, o in searches.items()}, args.rounds)
    for name, spent in seconds.items():
        each = spent / len(curves)
        original = f": {1 / each / ORIGINAL_TRIO:.0f}× the original's {ORIGINAL_TRIO}" if "+" in name else ""
        print(f"{name:<14} {each * 1e3:.1f} ms, {1 / each:.2f} light curves/s/core{original}")


if __name__ == "__main__":
    main()
