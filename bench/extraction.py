"""Statistics, Fourier decomposition and dmdt: light curves per second and core, beside plain NumPy and SciPy.

    python bench/extraction.py [--curves 300] [--points 300] [--rounds 7]

The peer computes the same numbers for one light curve at a time: NumPy for the statistics (SciPy for Shapiro-Wilk and
the normal distribution), one QR decomposition for all Fourier orders, and sorted bins and counts for dmdt. Both run in
this process in turn; times are medians of the CPU time. The original's rate is that measured of SCoPe 0.9.5: 70 light
curves a second and core at about this length. The last column is the largest relative difference between the two.
"""

from __future__ import annotations

import argparse

import numpy as np
import scipy.special
import scipy.stats
from workload import cpu_seconds, light_curves, machine

from scope_dask.extraction.dmdt import DM_EDGES, DT_EDGES, dmdt
from scope_dask.extraction.fourier import fourier
from scope_dask.extraction.statistics import statistics
from scope_dask.ragged import LightCurves

ORIGINAL = 70.0  # light curves/s/core
PERCENTILES = [25, 75, 20, 80, 15, 85, 10, 90, 5, 95]


def plain_statistics(t: np.ndarray, m: np.ndarray, e: np.ndarray) -> list[float]:
    """Return the 22 statistics of one light curve."""
    n, w = len(m), e**-2
    total = w.sum()
    mean, median = (w @ m) / total, np.median(m)
    deviation = m - mean
    r = deviation / e
    wstd = np.sqrt(w @ deviation**2 / total)
    d = np.sqrt(n / (n - 1)) * r
    pairs = d[:-1] * d[1:]
    steps = np.diff(t) ** -2
    eta = steps @ np.diff(m) ** 2 / (steps.sum() * wstd**2)
    top, bottom = (m - e).max(), (m + e).min()
    ordered = np.sort(m / e)
    z = (ordered - ordered.mean()) / ordered.std(ddof=1)
    logs = scipy.special.log_ndtr(z) + scipy.special.log_ndtr(-z)[::-1]
    q = np.percentile(m, PERCENTILES)
    cubes, fourths = (r**3).sum(), (r**4).sum()
    return [
        n, median, mean, (r**2).sum() / (n - 1), (np.abs(m - median) / e).sum() / (n - 1), wstd,
        (top - bottom) / (top + bottom), (deviation**2 - e**2).sum() / (n * mean**2), np.median(np.abs(m - median)),
        *(q[1::2] - q[::2]), n / ((n - 1) * (n - 2)) * cubes,
        n * (n + 1) / ((n - 1) * (n - 2) * (n - 3)) * fourths - 3 * (n - 1) ** 2 / ((n - 2) * (n - 3)),
        1 / eta, pairs.sum(), (np.sign(pairs) * np.sqrt(np.abs(pairs))).sum(),
        np.abs(d).mean() / np.sqrt((d**2).mean()), -n - ((2 * np.arange(1, n + 1) - 1) / n * logs).sum(),
        scipy.stats.shapiro(ordered).statistic,
    ]  # fmt: skip


def plain_fourier(t: np.ndarray, m: np.ndarray, e: np.ndarray, period: float) -> tuple[float, float]:
    """Return (power, BIC) of the best order of one light curve."""
    phase = 2 * np.pi * (t / period % 1.0)
    columns = [np.ones_like(t), t - t[0]]
    for k in range(1, 6):
        columns += [np.cos(k * phase), np.sin(k * phase)]
    q, r = np.linalg.qr(np.stack(columns, axis=1) / e[:, None])
    np.linalg.solve(r, q.T @ (m / e))
    data = (m - m[0]) / e
    removed = np.cumsum((q.T @ data) ** 2)[1::2]
    chi2 = data @ data - removed
    bic = chi2 + np.log(len(t)) * (2 + 2 * np.arange(6))
    best = int(bic.argmin())
    return (chi2[0] - chi2[best]) / chi2[0], bic[best]


def plain_dmdt(t: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Return the histogram of one light curve."""
    i, j = np.triu_indices(len(t), 1)
    x = np.searchsorted(DT_EDGES, t[j] - t[i], side="right") - 1
    y = np.searchsorted(DM_EDGES, m[j] - m[i], side="right") - 1
    inside = (x >= 0) & (x < 26) & (y >= 0) & (y < 26)
    counts = np.bincount(26 * y[inside] + x[inside], minlength=676).astype(float)
    return counts / (np.linalg.norm(counts) or 1.0)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest relative difference."""
    return float(np.max(np.abs(a - b) / np.maximum(np.abs(b), 1e-12)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=int, default=300)
    parser.add_argument("--points", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    c = light_curves(options.curves, options.points)
    period = np.random.default_rng(2).uniform(0.1, 10, len(c))
    singles = [c[i] for i in range(len(c))]
    contenders = {
        "statistics": lambda: statistics(c.hjd, c.mag, c.magerr, c.offsets),
        "statistics, plain": lambda: np.array([plain_statistics(*s) for s in singles]),
        "Fourier": lambda: fourier(c.hjd, c.mag, c.magerr, c.offsets, period)[:, :2],
        "Fourier, plain": lambda: np.array([plain_fourier(*s, p) for s, p in zip(singles, period, strict=True)]),
        "dmdt": lambda: dmdt(c.hjd, c.mag, c.offsets),
        "dmdt, plain": lambda: np.array([plain_dmdt(s[0], s[1]) for s in singles]),
    }
    seconds = cpu_seconds(contenders, options.rounds)
    report(
        c,
        seconds,
        {name: difference(contenders[name](), contenders[f"{name}, plain"]()) for name in list(seconds)[::2]},
    )


def report(curves: LightCurves, seconds: dict[str, float], differences: dict[str, float]) -> None:
    """Print the table."""
    print(machine())
    n = len(curves)
    print(f"{'':<12} {'µs/curve':>10} {'plain':>10} {'ratio':>8} {'largest relative difference':>30}")
    for name, largest in differences.items():
        ours, plain = seconds[name], seconds[f"{name}, plain"]
        print(f"{name:<12} {ours / n * 1e6:>10.1f} {plain / n * 1e6:>10.1f} {plain / ours:>8.1f} {largest:>30.1e}")
    ours = sum(seconds[name] for name in differences) / n
    plain = sum(seconds[f"{name}, plain"] for name in differences) / n
    print(f"{'all':<12} {ours * 1e6:>10.1f} {plain * 1e6:>10.1f} {plain / ours:>8.1f}")
    print(f"light curves/s/core: {1 / ours:,.0f}, plain {1 / plain:,.0f}, original {ORIGINAL:.0f}")
    print(f"over the original: {1 / ours / ORIGINAL:.0f}×, plain {1 / plain / ORIGINAL:.1f}×")


if __name__ == "__main__":
    main()
