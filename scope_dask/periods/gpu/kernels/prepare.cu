// What a scan needs of a light curve, once per partition. A thread is a light curve and goes through its points in
// order, so that sums are rounded as those of the CPU kernels are (compiled without fused multiply-add).
#include "common.cuh"

// Smallest and largest value; NaN if one is not finite.
__device__ inline void range_of(const double* x, int n, double* low, double* high) {
    *low = __longlong_as_double(0x7ff0000000000000ll);
    *high = -*low;
    for (int i = 0; i < n; i++) {
        if (!(fabs(x[i]) < __longlong_as_double(0x7ff0000000000000ll))) {
            *low = *high = quiet_nan();
            return;
        }
        *low = fmin(*low, x[i]);
        *high = fmax(*high, x[i]);
    }
}

// extents (n, 4): range of the times, range of the magnitudes. errors_good (n,): are all positive and finite?
extern "C" __global__ void summarise(const double* hjd, const double* mag, const double* magerr, const i64* offsets,
                                     int n_curves, double* extents, int* errors_good) {
    const int curve = blockIdx.x * blockDim.x + threadIdx.x;
    if (curve >= n_curves) return;
    const i64 a = offsets[curve];
    const int n = (int)(offsets[curve + 1] - a);
    double* extent = extents + 4 * curve;
    range_of(hjd + a, n, extent, extent + 1);
    range_of(mag + a, n, extent + 2, extent + 3);
    double low, high;
    range_of(magerr + a, n, &low, &high);
    errors_good[curve] = low > 0.0;
}

// First grid index with a frequency >= (`above`: >) `edge`.
__device__ inline i64 first_index(double fmin, double df, i64 size, double edge, bool above) {
    i64 low = 0, high = size;
    while (low < high) {
        const i64 middle = (low + high) / 2;
        const double f = grid_frequency(fmin, df, middle);
        if (f > edge || (f == edge && !above)) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

// Half-open intervals of grid indices that the closed frequency windows (sorted by their lower edge) cover.
extern "C" __global__ void mask_windows(const double* fmin, const double* df, const i64* size, int n_curves,
                                        const double* windows, int n_windows, i64* masked) {
    const int curve = blockIdx.x * blockDim.x + threadIdx.x;
    if (curve >= n_curves) return;
    for (int w = 0; w < n_windows; w++) {
        i64* interval = masked + 2 * ((i64)curve * n_windows + w);
        interval[0] = first_index(fmin[curve], df[curve], size[curve], windows[2 * w], false);
        interval[1] = first_index(fmin[curve], df[curve], size[curve], windows[2 * w + 1], true);
    }
}

// Phase step from one frequency to the next.
__device__ inline u32 phase_step(double t, double df) {
    double x = df * t;
    x -= floor(x);
    return (u32)(i64)(x * 4294967296.0 + 0.5);
}

__device__ inline int magnitude_bin(double mag, double low, double span, int rescaled) {
    double y = (mag - low) / span;
    if (rescaled) y = y * 0.999 + 5e-4;
    return min((int)(y * MAGNITUDE_BINS), MAGNITUDE_BINS - 1);
}

// Coefficients of n ln n as a polynomial in the bits of n, scaled to integers that cannot overflow in a sum.
__device__ inline double entropy_coefficients(int n, const double* n_log_n, u32* coefficients) {
    int exponent;
    frexp(n_log_n[n], &exponent);
    const double scale = ldexp(1.0, 31 - exponent);
    for (int count = 0; count < SMALL_COUNTS; count++) coefficients[count] = (u32)llrint(n_log_n[count] * scale);
    for (int bit = 1; bit < SMALL_COUNTS; bit *= 2) {
        for (int set = 0; set < SMALL_COUNTS; set++) {
            if (set & bit) coefficients[set] -= coefficients[set ^ bit];
        }
    }
    return scale;
}

// Sorts the points by magnitude bin; bounds (n, 10, 2): first point and number of points of every bin.
extern "C" __global__ void prepare_entropy(const double* hjd, const double* mag, const i64* offsets, int n_curves,
                                           const double* extents, const int* usable, const double* df, int rescaled,
                                           const double* n_log_n, const i64* sorted_offsets, double* t, u32* step,
                                           int* bounds, u32* coefficients, double* scales) {
    const int curve = blockIdx.x * blockDim.x + threadIdx.x;
    if (curve >= n_curves || !usable[curve]) return;
    const i64 a = offsets[curve];
    const int n = (int)(offsets[curve + 1] - a);
    const double start = extents[4 * curve], low = extents[4 * curve + 2], span = extents[4 * curve + 3] - low;
    int* bound = bounds + 2 * MAGNITUDE_BINS * curve;
    for (int m = 0; m < 2 * MAGNITUDE_BINS; m++) bound[m] = 0;
    for (int i = 0; i < n; i++) bound[2 * magnitude_bin(mag[a + i], low, span, rescaled) + 1]++;
    for (int m = 1; m < MAGNITUDE_BINS; m++) {
        bound[2 * m] = (bound[2 * m - 2] + bound[2 * m - 1] + ALIGN - 1) / ALIGN * ALIGN;
        bound[2 * m - 1] = 0;
    }
    bound[2 * MAGNITUDE_BINS - 1] = 0;
    for (int i = 0; i < n; i++) {
        const int m = magnitude_bin(mag[a + i], low, span, rescaled);
        const i64 place = sorted_offsets[curve] + bound[2 * m] + bound[2 * m + 1]++;
        t[place] = hjd[a + i] - start;
        step[place] = phase_step(t[place], df[curve]);
    }
    scales[curve] = entropy_coefficients(n, n_log_n, coefficients + SMALL_COUNTS * curve);
}

// Magnitudes as 12-bit integers; sums (n, 2): (sum of y)^2 / n, which rounding left of the mean, and sum of (y - mean)^2.
extern "C" __global__ void prepare_aov(const double* hjd, const double* mag, const i64* offsets, int n_curves,
                                       const double* extents, const int* usable, const double* df, double* t,
                                       u32* step, u32* value, double* sums) {
    const int curve = blockIdx.x * blockDim.x + threadIdx.x;
    if (curve >= n_curves || !usable[curve]) return;
    const i64 a = offsets[curve];
    const int n = (int)(offsets[curve + 1] - a);
    double center = 0.0;
    for (int i = 0; i < n; i++) center += mag[a + i];
    center /= n;
    const double largest = (double)min((i64)LARGEST, ((i64)1 << 31) / (n + 1));
    const double scale = largest / fmax(extents[4 * curve + 3] - center, center - extents[4 * curve + 2]);
    double s = 0.0, q = 0.0;
    for (int i = 0; i < n; i++) {
        const double y = rint((mag[a + i] - center) * scale);
        t[a + i] = hjd[a + i] - extents[4 * curve];
        step[a + i] = phase_step(t[a + i], df[curve]);
        value[a + i] = ONE_POINT + (u32)((int)y + LARGEST);
        s += y;
        q += y * y;
    }
    sums[2 * curve] = s * s / n;
    sums[2 * curve + 1] = q - s * s / n;
}

// Weights w = 1/magerr^2 of sum 1 and strengths w (mag - mean), integers in units of 2^-30 and of 2^-30 of the sum of
// their sizes. factors (n,): a sum of strength^2 / weight, times the factor, is its share of the variance.
extern "C" __global__ void prepare_boxes(const double* hjd, const double* mag, const double* magerr,
                                         const i64* offsets, int n_curves, const double* extents, const int* usable,
                                         const double* df, double* t, u32* step, int* weight, int* strength,
                                         double* factors) {
    const int curve = blockIdx.x * blockDim.x + threadIdx.x;
    if (curve >= n_curves || !usable[curve]) return;
    const i64 a = offsets[curve], b = offsets[curve + 1];
    const double low = extents[4 * curve + 2];
    double total = 0.0, mean = 0.0, size = 0.0, variance = 0.0;
    for (i64 i = a; i < b; i++) {
        const double inverse = 1.0 / magerr[i];
        total += inverse * inverse;
        mean += inverse * inverse * (mag[i] - low);
    }
    mean = low + mean / total;
    for (i64 i = a; i < b; i++) {
        const double inverse = 1.0 / magerr[i], w = inverse * inverse / total, y = mag[i] - mean;
        size += w * fabs(y);
        variance += w * (y * y);
    }
    for (i64 i = a; i < b; i++) {
        const double inverse = 1.0 / magerr[i], w = inverse * inverse / total;
        t[i] = hjd[i] - extents[4 * curve];
        step[i] = phase_step(t[i], df[curve]);
        weight[i] = (int)rint(w * FIXED_ONE);
        strength[i] = (int)rint(w * (mag[i] - mean) / size * FIXED_ONE);
    }
    factors[curve] = size * size / FIXED_ONE / variance;
}

// As exact_lombscargle.prepare, and what the scan needs: gain * (strength, weight), cos and sin of the phase step from
// one sample to the next, half that step. facts (n, 2): factor of the power (NaN: none), standard deviation of times.
extern "C" __global__ void prepare_lombscargle(const double* hjd, const double* mag, const double* magerr,
                                               const i64* offsets, int n_curves, const double* extents,
                                               const int* usable, const double* df, int floating_mean,
                                               const double* gain, int n_gain, double reach, int* steps, double* t,
                                               double* weight, double* strength, float* point, u32* half_step,
                                               double* facts) {
    const int curve = blockIdx.x * blockDim.x + threadIdx.x;
    if (curve >= n_curves) return;
    facts[2 * curve] = facts[2 * curve + 1] = quiet_nan();
    if (!usable[curve]) return;
    const i64 a = offsets[curve];
    const int n = (int)(offsets[curve + 1] - a);
    const double* extent = extents + 4 * curve;
    const double low = extent[2], middle = 0.5 * (extent[0] + extent[1]);
    double total = 0.0, mean = 0.0, square = 0.0, mean_time = 0.0, time_square = 0.0;
    for (int i = 0; i < n; i++) {
        const double inverse = floating_mean ? 1.0 / magerr[a + i] : 1.0;
        t[a + i] = hjd[a + i] - middle;
        weight[a + i] = inverse * inverse;
        total += weight[a + i];
        mean += weight[a + i] * (mag[a + i] - low);
    }
    mean /= total;
    for (int i = 0; i < n; i++) {
        weight[a + i] /= total;
        const double y = mag[a + i] - low - mean;
        square += weight[a + i] * y * y;
        strength[a + i] = weight[a + i] * y;
        mean_time += weight[a + i] * t[a + i];
    }
    const double spacing = steps[curve] * df[curve], norm = sqrt(square);
    for (int i = 0; i < n; i++) {
        const i64 p = a + i;
        const double x = t[p] * spacing / reach;
        double g = 0.0, turn = t[p] * spacing, c, s;
        for (int j = 0; j < n_gain; j++) g = g * (x * x) + gain[j];
        if (steps[curve] == 1) g = 1.0;
        turn -= floor(turn);
        sincospi(2.0 * turn, &s, &c);
        strength[p] /= norm;
        time_square += weight[p] * (t[p] - mean_time) * (t[p] - mean_time);
        point[4 * p] = (float)(strength[p] * g);
        point[4 * p + 1] = (float)(weight[p] * g);
        point[4 * p + 2] = (float)c;
        point[4 * p + 3] = (float)s;
        half_step[p] = phase_step(t[p], 0.5 * spacing);
    }
    const double span = extent[3] - low;
    const double factor = floating_mean ? 1.0 : 0.5 * n * square / (span * span);
    facts[2 * curve] = square > 0.0 && square < __longlong_as_double(0x7ff0000000000000ll) ? factor : quiet_nan();
    facts[2 * curve + 1] = sqrt(time_square);
}
