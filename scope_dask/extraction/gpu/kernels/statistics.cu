// The 22 statistics of a light curve (scope_dask/extraction/{statistics,normality}.py), compiled without fused
// multiply-add: what is not a sum over the points is rounded as on the CPU.
#include "curves.cuh"

enum At {
    N, MEDIAN, WMEAN, CHI2RED, ROMS, WSTD, NORM_PEAK_TO_PEAK_AMP, NORM_EXCESS_VAR, MEDIAN_ABS_DEV, IQR, I60R, I70R, I80R,
    I90R, SKEW, SMALLKURT, INV_VONNEUMANNRATIO, WELCH_I, STETSON_J, STETSON_K, AD, SW, COLUMNS
};

// Wichura (1988), AS 241, PPND16: numerators and denominators, highest power first.
__device__ const double CENTRE[2][8] = {
    {2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457,
     13731.693765509461125, 1971.5909503065514427, 133.14166789178437745, 3.387132872796366608},
    {5226.495278852545925, 28729.085735721942674, 39307.89580009271061, 21213.794301586595867,
     5394.1960214247511077, 687.1870074920579083, 42.313330701600911252, 1.0}};
__device__ const double TAIL[2][8] = {
    {7.7454501427834140764e-4, 0.0227238449892691845833, 0.24178072517745061177, 1.27045825245236838258,
     3.64784832476320460504, 5.7694972214606914055, 4.6303378461565452959, 1.42343711074968357734},
    {1.05075007164441684324e-9, 5.475938084995344946e-4, 0.0151986665636164571966, 0.14810397642748007459,
     0.68976733498510000455, 1.6763848301838038494, 2.05319162663775882187, 1.0}};
// Royston (1995), AS R94: what is added to the outermost and the next coefficient, in powers of 1/sqrt(N).
__device__ const double OUTERMOST[6] = {-2.706056, 4.434685, -2.071190, -0.147981, 0.221157, 0.0};
__device__ const double NEXT[6] = {-3.582633, 5.682633, -1.752461, -0.293762, 0.042981, 0.0};
constexpr double ERFC_FAR = 20.0;  // beyond, three terms of the asymptotic series give ln erfc to 1e-12

struct Curve {
    const double* t;
    const double* m;
    const double* e;
    int n;
    double* sorted;
    double2* scratch;
};

__device__ inline double2 sums(const Curve& curve, double a, double b) { return block_sum<THREADS>(a, b, curve.scratch); }

__device__ inline void sort_values(const Curve& curve) {
    double* x = curve.sorted;
    sort_network(curve.n, [=](u32 i, u32 j) {
        const double first = x[i];
        if (x[j] < first) {
            x[i] = x[j];
            x[j] = first;
        }
    });
}

__device__ inline double percentile(const double* sorted, int n, double fraction) {
    const double position = fraction * (n - 1);
    const int below = min((int)position, n - 2);
    return sorted[below] + (sorted[below + 1] - sorted[below]) * (position - below);
}

// The k-th smallest (from 0) distance from the median: those of either half are sorted, and of the k + 1 smallest ones
// the number from the lower half is found by bisection.
__device__ inline double ranked_deviation(const double* sorted, int n, double median, int k) {
    const int left = (n - 1) / 2 + 1, right = n - left;
    const double *lower = sorted + left - 1, *upper = sorted + left;
    int low = max(0, k - right), high = min(k, left);
    while (low < high) {
        const int middle = (low + high) / 2;
        if (median - lower[-middle] < upper[k - 1 - middle] - median) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    const double a = low < left ? median - lower[-low] : infinity();
    return k - low < right ? fmin(a, upper[k - low] - median) : a;
}

// What depends on the sorted magnitudes only.
__device__ inline void ordered_statistics(const double* x, int n, double* out) {
    const double median = 0.5 * (x[(n - 1) / 2] + x[n / 2]), middle = ranked_deviation(x, n, median, n / 2);
    out[MEDIAN] = median;
    out[MEDIAN_ABS_DEV] = n % 2 ? middle : 0.5 * (ranked_deviation(x, n, median, n / 2 - 1) + middle);
    out[IQR] = percentile(x, n, 0.75) - percentile(x, n, 0.25);
    out[I60R] = percentile(x, n, 0.80) - percentile(x, n, 0.20);
    out[I70R] = percentile(x, n, 0.85) - percentile(x, n, 0.15);
    out[I80R] = percentile(x, n, 0.90) - percentile(x, n, 0.10);
    out[I90R] = percentile(x, n, 0.95) - percentile(x, n, 0.05);
}

// What does not depend on the order of the points; the weighted mean is taken about the median.
__device__ inline void moments(const Curve& curve, double* out) {
    const double *m = curve.m, *e = curve.e, median = out[MEDIAN], n = curve.n;
    double2 a = make_double2(0.0, 0.0), b = a, c = a, d = a, range = make_double2(-infinity(), infinity());
    for (int i = threadIdx.x; i < curve.n; i += THREADS) {
        const double w = 1.0 / (e[i] * e[i]);
        a.x += w;
        a.y += w * (m[i] - median);
    }
    a = sums(curve, a.x, a.y);
    const double mean = median + a.y / a.x;
    double2 odd = make_double2(0.0, 0.0);
    for (int i = threadIdx.x; i < curve.n; i += THREADS) {
        const double deviation = m[i] - mean, z = deviation / e[i];
        b.x += fabs(z);
        b.y += z * z;
        c.x += z * z * z;
        c.y += (z * z) * (z * z);
        odd.x += fabs(m[i] - median) / e[i];
        odd.y += deviation * deviation - e[i] * e[i];
        range = make_double2(fmax(range.x, m[i] - e[i]), fmin(range.y, m[i] + e[i]));
    }
    b = sums(curve, b.x, b.y);
    c = sums(curve, c.x, c.y);
    d = sums(curve, odd.x, odd.y);
    range = block_reduce<THREADS>(range, curve.scratch, [](double2 x, double2 y) {
        return make_double2(fmax(x.x, y.x), fmin(x.y, y.y));
    });
    out[WMEAN] = mean;
    out[WSTD] = sqrt(b.y / a.x);
    out[CHI2RED] = b.y / (n - 1);
    out[ROMS] = d.x / (n - 1);
    out[NORM_PEAK_TO_PEAK_AMP] = (range.x - range.y) / (range.x + range.y);
    out[NORM_EXCESS_VAR] = d.y / (n * mean * mean);
    out[SKEW] = n / ((n - 1.0) * (n - 2.0)) * c.x;
    out[SMALLKURT] = n * (n + 1.0) / ((n - 1.0) * (n - 2.0) * (n - 3.0)) * c.y -
                     3.0 * ((n - 1.0) * (n - 1.0)) / ((n - 2.0) * (n - 3.0));
    out[STETSON_K] = (b.x / n) / sqrt(b.y / n);
}

// What depends on consecutive points.
__device__ inline void consecutive(const Curve& curve, double* out) {
    const double *t = curve.t, *m = curve.m, *e = curve.e, mean = out[WMEAN], variance = out[WSTD] * out[WSTD];
    double welch = 0.0, stetson = 0.0, steps = 0.0, changes = 0.0;
    for (int i = threadIdx.x + 1; i < curve.n; i += THREADS) {
        const double product = (m[i - 1] - mean) / e[i - 1] * ((m[i] - mean) / e[i]);
        const double dt = t[i] - t[i - 1], dm = m[i] - m[i - 1], weight = 1.0 / (dt * dt);
        welch += product;
        stetson += copysign(sqrt(fabs(product)), product);
        steps += weight;
        changes += weight * (dm * dm);
    }
    const double2 pairs = sums(curve, welch, stetson), differences = sums(curve, steps, changes);
    const double factor = curve.n / (curve.n - 1.0);
    out[WELCH_I] = factor * pairs.x;
    out[STETSON_J] = sqrt(factor) * pairs.y;
    out[INV_VONNEUMANNRATIO] = 1.0 / (differences.y / (differences.x * variance));
}

template <int LENGTH>
__device__ inline double polynomial(const double (&coefficients)[LENGTH], double x) {
    double value = 0.0;
    for (int i = 0; i < LENGTH; i++) value = value * x + coefficients[i];
    return value;
}

// Quantile z < 0 of the standard normal distribution at 1e-11 < p <= 1/2.
__device__ inline double lower_quantile(double p) {
    const double q = 0.5 - p;
    if (q <= 0.425) {
        const double r = 0.180625 - q * q;
        return -q * polynomial(CENTRE[0], r) / polynomial(CENTRE[1], r);
    }
    const double r = sqrt(-log(p)) - 1.6;
    return -polynomial(TAIL[0], r) / polynomial(TAIL[1], r);
}

// (ln Q, ln(1 - Q)) of the normal tail Q = erfc(x)/2, x >= 0.
__device__ inline double2 log_tails(double x) {
    if (x < ERFC_FAR) {
        const double tail = 0.5 * erfc(x);
        return make_double2(log(tail), log1p(-tail));
    }
    const double u = 0.5 / (x * x);
    const double series = log1p(-u * (1.0 - 3.0 * u * (1.0 - 5.0 * u)));
    return make_double2(-x * x - log(2.0 * x * sqrt(3.141592653589793)) + series, 0.0);
}

// Anderson-Darling A^2 of the sorted values; NaN where all are equal.
__device__ inline double anderson_darling(const Curve& curve) {
    const double *x = curve.sorted, origin = x[curve.n / 2];
    const int n = curve.n;
    double mean = 0.0, variance = 0.0, total = 0.0;
    for (int i = threadIdx.x; i < n; i += THREADS) mean += x[i] - origin;
    mean = sums(curve, mean, 0.0).x / n;
    for (int i = threadIdx.x; i < n; i += THREADS) variance += (x[i] - origin - mean) * (x[i] - origin - mean);
    const double scale = sqrt(sums(curve, variance, 0.0).x / (n - 1));
    for (int i = threadIdx.x; i < n; i += THREADS) {
        const double z = (x[i] - origin - mean) / scale;
        const double2 tails = log_tails(fabs(z) * sqrt(0.5));  // outer, inner
        const double below = z < 0.0 ? tails.x : tails.y, above = z < 0.0 ? tails.y : tails.x;
        total += (2.0 * i + 1.0) * below + (2.0 * (n - i) - 1.0) * above;
    }
    return -n - sums(curve, total, 0.0).x / n;
}

// Shapiro-Wilk W of the sorted values by Royston's approximation; 1 where all are equal. The coefficient of pair i of
// outermost values is normal score i, the first two corrected, scaled.
__device__ inline double shapiro_wilk(const Curve& curve) {
    const double* x = curve.sorted;
    const int n = curve.n, half = n / 2, fixed = n > 5 ? 2 : 1;
    const double origin = x[half], width = x[n - 1] - x[0];
    if (!(width > 0.0)) return 1.0;
    double scores = 0.0, mean = 0.0;
    for (int i = threadIdx.x; i < n; i += THREADS) {
        const double score = i < half ? lower_quantile((i + 0.625) / (n + 0.25)) : 0.0;
        scores += 2.0 * score * score;
        mean += (x[i] - origin) / width;
    }
    const double2 whole = sums(curve, scores, mean);
    mean = whole.y / n;
    const double root = 1.0 / sqrt((double)n), length = sqrt(whole.x);
    const double outer = -lower_quantile(0.625 / (n + 0.25)), inner = -lower_quantile(1.625 / (n + 0.25));
    const double first = polynomial(OUTERMOST, root) + outer / length;
    const double second = polynomial(NEXT, root) + inner / length;
    double left = whole.x - 2.0 * outer * outer, taken = 1.0 - 2.0 * first * first;
    if (fixed == 2) {
        left -= 2.0 * inner * inner;
        taken -= 2.0 * second * second;
    }
    const double scale = sqrt(left / taken);
    double squares = 0.0, product = 0.0, norm = 0.0;
    for (int i = threadIdx.x; i < n; i += THREADS) {
        const double deviation = (x[i] - origin) / width - mean;
        squares += deviation * deviation;
        if (i < half) {
            double weight = -lower_quantile((i + 0.625) / (n + 0.25)) / scale;
            if (i < fixed) weight = i == 0 ? first : second;
            product += weight * ((x[n - 1 - i] - x[i]) / width);
            norm += 2.0 * weight * weight;
        }
    }
    const double2 pairs = sums(curve, product, norm);
    squares = sums(curve, squares, 0.0).x;
    // 1 - W as a product of differences keeps the digits that matter where W is close to 1.
    const double both = sqrt(pairs.y * squares);
    return 1.0 - (both - pairs.x) * (both + pairs.x) / (pairs.y * squares);
}

// out (n, COLUMNS); sorted (points,) is scratch. Every thread has all results, one writes them.
extern "C" __global__ void __launch_bounds__(THREADS) statistics(const double* hjd, const double* mag,
                                                                 const double* magerr, const i64* offsets,
                                                                 double* sorted, double* out) {
    __shared__ double2 scratch[THREADS];
    const i64 start = offsets[blockIdx.x];
    const int n = (int)(offsets[blockIdx.x + 1] - start);
    const Curve curve{hjd + start, mag + start, magerr + start, n, sorted + start, scratch};
    double results[COLUMNS];
    for (int j = 0; j < COLUMNS; j++) results[j] = quiet_nan();
    if (!unusable(curve.t, curve.m, curve.e, n)) {
        results[N] = n;
        for (int i = threadIdx.x; i < n; i += THREADS) curve.sorted[i] = curve.m[i];
        sort_values(curve);
        ordered_statistics(curve.sorted, n, results);
        moments(curve, results);
        consecutive(curve, results);
        for (int i = threadIdx.x; i < n; i += THREADS) curve.sorted[i] = curve.m[i] / curve.e[i];
        sort_values(curve);
        results[AD] = anderson_darling(curve);
        results[SW] = shapiro_wilk(curve);
    }
    if (threadIdx.x == 0) {
        for (int j = 0; j < COLUMNS; j++) out[(i64)blockIdx.x * COLUMNS + j] = results[j];
    }
}
