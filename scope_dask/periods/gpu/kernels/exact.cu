// The statistics in float64 at chosen frequencies: the last word on every candidate. A thread is one frequency of one
// light curve and takes the points in order, as the CPU's evaluators do (compiled without fused multiply-add).
#include "common.cuh"

constexpr int THREADS = 32;
constexpr int CELLS = PHASE_BINS * MAGNITUDE_BINS;
constexpr double NO_VARIANCE = 1e-12;

__device__ inline int exact_bin(double x, int n_bins) { return min((int)((x - floor(x)) * n_bins), n_bins - 1); }

extern "C" __global__ void __launch_bounds__(THREADS) exact_entropy(
    const double* hjd, const double* mag, const i64* offsets, const double* extents, const int* usable, int rescaled,
    const double* n_log_n, const int* curves, const double* freqs, i64 n_freqs, double* out) {
    __shared__ u32 memory[CELLS * THREADS];
    const i64 item = (i64)blockIdx.x * THREADS + threadIdx.x;
    if (item >= n_freqs) return;
    out[item] = quiet_nan();
    const int curve = curves[item];
    if (!usable[curve]) return;
    u32* cells = memory + threadIdx.x;
    for (int c = 0; c < CELLS; c++) cells[c * THREADS] = 0;
    const double* extent = extents + 4 * curve;
    for (i64 i = offsets[curve]; i < offsets[curve + 1]; i++) {
        double y = (mag[i] - extent[2]) / (extent[3] - extent[2]);
        if (rescaled) y = y * 0.999 + 5e-4;
        const int m = min((int)(y * MAGNITUDE_BINS), MAGNITUDE_BINS - 1);
        cells[(exact_bin((hjd[i] - extent[0]) * freqs[item], PHASE_BINS) * MAGNITUDE_BINS + m) * THREADS]++;
    }
    double h = 0.0;
    for (int p = 0; p < PHASE_BINS; p++) {
        u32 column = 0;
        for (int m = 0; m < MAGNITUDE_BINS; m++) {
            const u32 n = cells[(p * MAGNITUDE_BINS + m) * THREADS];
            h -= n_log_n[n];
            column += n;
        }
        h += n_log_n[column];
    }
    out[item] = h / (offsets[curve + 1] - offsets[curve]);
}

extern "C" __global__ void __launch_bounds__(THREADS) exact_aov(const double* hjd, const double* mag,
                                                                const i64* offsets, const double* extents,
                                                                const int* usable, const int* curves,
                                                                const double* freqs, i64 n_freqs, double* out) {
    __shared__ double mean_memory[PHASE_BINS * THREADS];
    __shared__ int count_memory[PHASE_BINS * THREADS];
    const i64 item = (i64)blockIdx.x * THREADS + threadIdx.x;
    if (item >= n_freqs) return;
    out[item] = quiet_nan();
    const int curve = curves[item];
    if (!usable[curve]) return;
    const i64 a = offsets[curve], b = offsets[curve + 1];
    const double start = extents[4 * curve], f = freqs[item];
    double* means = mean_memory + threadIdx.x;
    int* counts = count_memory + threadIdx.x;
    double center = 0.0;
    for (i64 i = a; i < b; i++) center += mag[i];
    center /= b - a;
    for (int p = 0; p < PHASE_BINS; p++) {
        means[p * THREADS] = 0.0;
        counts[p * THREADS] = 0;
    }
    for (i64 i = a; i < b; i++) {
        const int p = exact_bin((hjd[i] - start) * f, PHASE_BINS) * THREADS;
        counts[p]++;
        means[p] += mag[i] - center;
    }
    double s1 = 0.0, s2 = 0.0;
    for (int p = 0; p < PHASE_BINS * THREADS; p += THREADS) {
        means[p] /= max(counts[p], 1);
        s1 += counts[p] * (means[p] * means[p]);
    }
    for (i64 i = a; i < b; i++) {
        const double d = (mag[i] - center) - means[exact_bin((hjd[i] - start) * f, PHASE_BINS) * THREADS];
        s2 += d * d;
    }
    out[item] = (double)(b - a - PHASE_BINS) / (PHASE_BINS - 1) * s1 / s2;
}

// `facts` as prepare_lombscargle leaves it.
extern "C" __global__ void __launch_bounds__(THREADS) exact_lombscargle(
    const double* t, const double* weight, const double* strength, const i64* offsets, const double* facts,
    int floating_mean, const int* curves, const double* freqs, i64 n_freqs, double* out) {
    const i64 item = (i64)blockIdx.x * THREADS + threadIdx.x;
    if (item >= n_freqs) return;
    out[item] = quiet_nan();
    const int curve = curves[item];
    if (!(facts[2 * curve] > 0.0)) return;
    double yc = 0.0, ys = 0.0, wc = 0.0, ws = 0.0, cc = 0.0, ss = 0.0, cs = 0.0;
    for (i64 i = offsets[curve]; i < offsets[curve + 1]; i++) {
        double turn = t[i] * freqs[item], c, s;
        turn -= rint(turn);
        sincospi(2.0 * turn, &s, &c);
        yc += strength[i] * c;
        ys += strength[i] * s;
        wc += weight[i] * c;
        ws += weight[i] * s;
        cc += weight[i] * c * c;
        ss += weight[i] * s * s;
        cs += weight[i] * c * s;
    }
    if (floating_mean) {
        cc -= wc * wc;
        ss -= ws * ws;
        cs -= wc * ws;
    }
    const double tau = 0.5 * atan2(2.0 * cs, cc - ss), u = cos(tau), v = sin(tau);
    const double first = u * u * cc + 2.0 * u * v * cs + v * v * ss, second = u * u * ss - 2.0 * u * v * cs + v * v * cc;
    double p = 0.0;
    if (first > NO_VARIANCE) p += (u * yc + v * ys) * (u * yc + v * ys) / first;
    if (second > NO_VARIANCE) p += (u * ys - v * yc) * (u * ys - v * yc) / second;
    out[item] = facts[2 * curve] * p;
}

// Weighted mean and variance of a light curve, sum of its weights.
struct Weighted {
    double total, mean, variance;
};

__device__ inline Weighted weigh(const double* mag, const double* magerr, i64 n, double low) {
    Weighted curve{0.0, 0.0, 0.0};
    for (i64 i = 0; i < n; i++) {
        const double inverse = 1.0 / magerr[i];
        curve.total += inverse * inverse;
        curve.mean += inverse * inverse * (mag[i] - low);
    }
    curve.mean = low + curve.mean / curve.total;
    for (i64 i = 0; i < n; i++) {
        const double inverse = 1.0 / magerr[i], y = mag[i] - curve.mean;
        curve.variance += inverse * inverse / curve.total * (y * y);
    }
    return curve;
}

// Weighted phase folding (no widths) or box least squares; `sums` is room for n_bins pairs per frequency,
// [bin][frequency of the launch].
extern "C" __global__ void __launch_bounds__(THREADS) exact_boxes(
    const double* hjd, const double* mag, const double* magerr, const i64* offsets, const double* extents,
    const int* usable, double min_points, const int* widths, int n_widths, int n_bins, double* sums, const int* curves,
    const double* freqs, i64 n_freqs, double* out) {
    const i64 item = (i64)blockIdx.x * THREADS + threadIdx.x;
    if (item >= n_freqs) return;
    out[item] = quiet_nan();
    const int curve = curves[item];
    if (!usable[curve]) return;
    double2* bins = reinterpret_cast<double2*>(sums) + item;
    const i64 a = offsets[curve], n = offsets[curve + 1] - a;
    const Weighted whole = weigh(mag + a, magerr + a, n, extents[4 * curve + 2]);
    for (int p = 0; p < n_bins; p++) bins[p * n_freqs] = make_double2(0.0, 0.0);
    for (i64 i = a; i < a + n; i++) {
        const double inverse = 1.0 / magerr[i], w = inverse * inverse / whole.total;
        double2* bin = bins + exact_bin((hjd[i] - extents[4 * curve]) * freqs[item], n_bins) * n_freqs;
        bin->x += w;
        bin->y += w * (mag[i] - whole.mean);
    }
    double best = 0.0;
    if (n_widths == 0) {
        for (int p = 0; p < n_bins; p++) {
            const double2 bin = bins[p * n_freqs];
            if (bin.x > 0.0) best += bin.y * bin.y / bin.x;
        }
    }
    const double least = min_points / n;
    for (int k = 0; k < n_widths; k++) {
        double r = 0.0, s = 0.0;
        for (int p = 0; p < widths[k]; p++) {
            r += bins[p * n_freqs].x;
            s += bins[p * n_freqs].y;
        }
        for (int p = 0; p < n_bins; p++) {
            if (s > 0.0 && least <= r && r <= 1.0 - least) best = fmax(best, s * s / (r * (1.0 - r)));
            const double2 in = bins[(p + widths[k]) % n_bins * n_freqs], gone = bins[p * n_freqs];
            r += in.x - gone.x;
            s += in.y - gone.y;
        }
    }
    out[item] = best / whole.variance;
}
