// Weighted fits of a mean and H harmonics (MHAOV; H = 1 to 5), as scope_dask/periods/multiharmonic.py.
//
// A thread makes the sums of the data at f ... H f and of the weights at f ... 2 H f for two frequencies, mirrored about
// the middle of the tile: what a point adds at both needs only its phase at the middle (float64, the block's) and its
// phase from there to the thread's frequency, of which the multiples follow by turning. The sums give the normal
// equations; where a pivot is small, the block evaluates the frequency in float64.
#include "common.cuh"

constexpr int PAIRS = 128;  // threads; a tile has twice as many frequencies
constexpr int STAGE = PAIRS;
constexpr int MOST_HARMONICS = 5;
constexpr int MOST_TERMS = 2 * MOST_HARMONICS + 2;  // mean, cosines and sines, data
constexpr int PARTS = PAIRS / MOST_TERMS;
constexpr int ROW = PAIRS + 1;  // the columns of a point lie in different banks
constexpr float SMALLEST_PIVOT = 0.03f;
constexpr double NO_VARIANCE = 1e-12;

// Points with weights of sum 1, weighted magnitudes of norm 1, times from the middle of the light curve.
struct Points {
    const double* t;
    const double* weight;
    const double* strength;
    int n;
};

// A float64 fit: its columns at PAIRS points, partial sums of products, what of a column is taken from a later one.
struct Fit {
    double columns[MOST_TERMS][ROW];
    double partial[PARTS][MOST_TERMS];
    double factors[MOST_TERMS][MOST_TERMS];
};

// Writes the weighted columns 1, cos x, sin x, cos 2x, ... and the data of point i; zeros where there is none.
__device__ inline void fill_columns(Fit& fit, const Points& points, int i, double f, int n_terms) {
    double* column = &fit.columns[0][threadIdx.x];
    double turn = 0.0, root = 0.0, data = 0.0, c, s;
    if (i < points.n) {
        turn = __dmul_rn(points.t[i], f);
        root = sqrt(points.weight[i]);
        data = points.strength[i] / root;
    }
    sincospi(2.0 * (turn - rint(turn)), &s, &c);
    column[0] = root;
    double x = root, y = 0.0;
    for (int k = 1; k + 1 < n_terms; k += 2) {
        const double next = x * c - y * s;
        y = x * s + y * c;
        x = next;
        column[k * ROW] = x;
        column[(k + 1) * ROW] = y;
    }
    column[(n_terms - 1) * ROW] = data;
}

// Takes the first `done` columns out of those after them, at the thread's point.
__device__ inline void orthogonalise(Fit& fit, int done, int n_terms) {
    double* column = &fit.columns[0][threadIdx.x];
    for (int j = 0; j < done; j++) {
        const double x = column[j * ROW];
        for (int k = j + 1; k < n_terms; k++) column[k * ROW] -= fit.factors[j][k] * x;
    }
}

// Sums the products of column j with itself and with those after it, for every thread from `partial[0]`.
__device__ inline void multiply(Fit& fit, const Points& points, int j, double f, int n_terms) {
    const int k = threadIdx.x % MOST_TERMS, part = threadIdx.x / MOST_TERMS;
    double sum = 0.0;
    for (int start = 0; start < points.n; start += PAIRS) {
        __syncthreads();
        fill_columns(fit, points, start + threadIdx.x, f, n_terms);
        orthogonalise(fit, j, n_terms);
        __syncthreads();
        if (k < n_terms && part < PARTS) {
            const int staged = min(PAIRS, points.n - start);
            for (int i = part; i < staged; i += PARTS) sum += fit.columns[j][i] * fit.columns[k][i];
        }
    }
    if (part < PARTS) fit.partial[part][k] = sum;
    __syncthreads();
    if (part == 0) {
        for (int i = 1; i < PARTS; i++) sum += fit.partial[i][k];
        fit.partial[0][k] = sum;
    }
    __syncthreads();
}

// Reduction of chi^2 in float64, by the whole block: exact_multiharmonic.power. The columns are not kept but made anew
// for every one that is taken out of those after it.
__device__ inline double exact_power(Fit& fit, const Points& points, double f, int n_harmonics) {
    const int last = 2 * n_harmonics + 1;
    double power = 0.0;
    for (int j = 0; j < last; j++) {
        multiply(fit, points, j, f, last + 1);
        const double square = fit.partial[0][j], projection = fit.partial[0][last];
        const bool counts = !(square < NO_VARIANCE);
        if (threadIdx.x <= last) fit.factors[j][threadIdx.x] = counts ? fit.partial[0][threadIdx.x] / square : 0.0;
        if (j > 0 && counts) power += projection * projection / square;
    }
    return power;
}

// The sums of a thread's two frequencies.
template <int H>
struct Sums {
    Mirrored data[H];
    Mirrored window[2 * H];
};

template <int H>
struct Stage {
    float4 lower[H][STAGE];  // at k f: data times cos, sin; weight times cos, sin
    float2 upper[H][STAGE];  // at (H + k) f: weight times cos, sin
    u32 half_step[STAGE];
};

template <int H>
__device__ inline void stage_point(Stage<H>& stage, int j, double t, float4 point, u32 half_step, double f) {
    double turn = __dmul_rn(t, f), c1, s1;
    turn -= rint(turn);
    sincospi(2.0 * turn, &s1, &c1);
    double c = c1, s = s1;
    for (int k = 0; k < 2 * H; k++) {
        const float x = (float)c, y = (float)s;
        if (k < H) {
            stage.lower[k][j] = make_float4(point.x * x, point.x * y, point.y * x, point.y * y);
        } else {
            stage.upper[k - H][j] = make_float2(point.y * x, point.y * y);
        }
        const double next = c * c1 - s * s1;
        s = s * c1 + c * s1;
        c = next;
    }
    stage.half_step[j] = half_step;
}

template <int H>
__device__ inline void make_sums(Sums<H>& sums, Stage<H>& stage, const double* t, const float* point,
                                 const u32* half_step, int n, double f) {
    const int thread = threadIdx.x;
    for (int start = 0; start < n; start += STAGE) {
        const int points = min(STAGE, n - start);
        __syncthreads();
        if (thread < points) {
            const int i = start + thread;
            stage_point<H>(stage, thread, t[i], reinterpret_cast<const float4*>(point)[i], half_step[i], f);
        }
        __syncthreads();
        for (int j = 0; j < points; j++) {
            float c1, s1;
            minus_cos_sin((2 * thread + 1) * stage.half_step[j], &c1, &s1);
            float c = c1, s = s1;
#pragma unroll
            for (int k = 0; k < 2 * H; k++) {
                if (k < H) {
                    const float4 a = stage.lower[k][j];
                    sums.data[k].add(a.x, a.y, c, s);
                    sums.window[k].add(a.z, a.w, c, s);
                } else {
                    const float2 a = stage.upper[k - H][j];
                    sums.window[k].add(a.x, a.y, c, s);
                }
                const float next = c * c1 - s * s1;
                s = s * c1 + c * s1;
                c = next;
            }
        }
    }
}

// Covariances of cos x, sin x, cos 2x, ... (lower triangle) and, as the last row, those with the data; w[k] are the sums
// of the weights at k f, of which w[0] is 1.
template <int H>
__device__ inline void normal_equations(const float2* y, const float2* w, float (&a)[2 * H + 1][2 * H]) {
#pragma unroll
    for (int j = 1; j <= H; j++) {
#pragma unroll
        for (int k = 1; k <= j; k++) {
            const float2 sum = w[j + k], difference = w[j - k];
            a[2 * j - 2][2 * k - 2] = 0.5f * (difference.x + sum.x) - w[j].x * w[k].x;
            a[2 * j - 2][2 * k - 1] = 0.5f * (sum.y - difference.y) - w[j].x * w[k].y;
            a[2 * j - 1][2 * k - 2] = 0.5f * (sum.y + difference.y) - w[j].y * w[k].x;
            a[2 * j - 1][2 * k - 1] = 0.5f * (difference.x - sum.x) - w[j].y * w[k].y;
        }
        a[2 * H][2 * j - 2] = y[j - 1].x;
        a[2 * H][2 * j - 1] = y[j - 1].y;
    }
}

// Power by elimination; NaN where a pivot is small.
template <int H>
__device__ inline float solve(float (&a)[2 * H + 1][2 * H]) {
    float power = 0.0f, lowest = 1.0f;
#pragma unroll
    for (int k = 0; k < 2 * H; k++) {
        const float inverse = 1.0f / a[k][k];
        lowest = fminf(lowest, a[k][k]);
        power += a[2 * H][k] * a[2 * H][k] * inverse;
#pragma unroll
        for (int i = k + 1; i <= 2 * H; i++) {
            const float factor = a[i][k] * inverse;
#pragma unroll
            for (int j = k + 1; j < 2 * H; j++) {
                if (j <= i) a[i][j] -= factor * a[j][k];
            }
        }
    }
    return lowest >= SMALLEST_PIVOT ? power : not_a_number();
}

// Power at the thread's frequency above, or below, the middle of the tile.
template <int H>
__device__ inline float power_of(const Sums<H>& sums, bool above) {
    float2 y[H], w[2 * H + 1];
    float a[2 * H + 1][2 * H];
    w[0] = make_float2(1.0f, 0.0f);
#pragma unroll
    for (int k = 0; k < 2 * H; k++) {
        const float sign = k % 2 ? 1.0f : -1.0f;  // minus_cos_sin turns by k + 1 half turns more
        if (k < H) y[k] = above ? sums.data[k].above(sign) : sums.data[k].below(sign);
        w[k + 1] = above ? sums.window[k].above(sign) : sums.window[k].below(sign);
    }
    normal_equations<H>(y, w, a);
    return solve<H>(a);
}

template <int H>
__device__ inline void scan(const int* work_curve, const int* work_tile, const i64* offsets, const double* t,
                            const double* weight, const double* strength, const float* point, const u32* half_step,
                            const double* fmin, const double* df, const i64* size, const i64* masked, int n_masked,
                            const Output& out) {
    __shared__ union {
        Stage<H> stage;
        Fit fit;
        double2 scratch[PAIRS];
    } memory;
    __shared__ float x[2 * PAIRS];
    __shared__ int where[2 * PAIRS];
    __shared__ int unknown;
    const int curve = work_curve[blockIdx.x], thread = threadIdx.x;
    const i64 first = (i64)work_tile[blockIdx.x] * 2 * PAIRS, a = offsets[curve];
    const int n = (int)(offsets[curve + 1] - a), count = (int)min(size[curve] - first, (i64)2 * PAIRS);
    const double center = __dadd_rn(fmin[curve], __dmul_rn(df[curve], first + (PAIRS - 0.5)));
    if (thread == 0) unknown = 0;
    Sums<H> sums;
    make_sums<H>(sums, memory.stage, t + a, point + 4 * a, half_step + a, n, center);
    x[PAIRS + thread] = power_of<H>(sums, true);
    x[PAIRS - 1 - thread] = power_of<H>(sums, false);
    __syncthreads();
    for (int p = thread; p < count; p += PAIRS) {
        if (x[p] != x[p]) where[atomicAdd(&unknown, 1)] = p;
    }
    __syncthreads();
    const Points points{t + a, weight + a, strength + a, n};
    for (int j = 0; j < unknown; j++) {
        const double f = grid_frequency(fmin[curve], df[curve], first + where[j]);
        const float power = (float)exact_power(memory.fit, points, f, H);
        if (thread == 0) x[where[j]] = power;
    }
    reduce_tile<PAIRS>(x, count, first, masked + 2 * n_masked * curve, n_masked, out, memory.scratch);
}

#define MULTIHARMONIC_SCAN(H, BLOCKS)                                                                                  \
    extern "C" __global__ void __launch_bounds__(PAIRS, BLOCKS) multiharmonic_scan_##H(                                \
        const int* work_curve, const int* work_tile, const i64* offsets, const double* t, const double* weight,        \
        const double* strength, const float* point, const u32* half_step, const double* fmin, const double* df,        \
        const i64* size, const i64* masked, int n_masked, u64* keys, int* counts, float* edges, double* moments,       \
        int room, int reach) {                                                                                         \
        scan<H>(work_curve, work_tile, offsets, t, weight, strength, point, half_step, fmin, df, size, masked,         \
                n_masked, Output{keys, counts, edges, moments, room, reach});                                          \
    }

MULTIHARMONIC_SCAN(1, 8)
MULTIHARMONIC_SCAN(2, 5)
MULTIHARMONIC_SCAN(3, 4)
MULTIHARMONIC_SCAN(4, 3)
MULTIHARMONIC_SCAN(5, 3)

// A block is one frequency of one light curve; `facts` as prepare_lombscargle leaves it.
extern "C" __global__ void __launch_bounds__(PAIRS) exact_multiharmonic(const double* t, const double* weight,
                                                                        const double* strength, const i64* offsets,
                                                                        const double* facts, int n_harmonics,
                                                                        const int* curves, const double* freqs,
                                                                        i64 n_freqs, double* out) {
    __shared__ Fit fit;
    const i64 item = blockIdx.x;
    const int curve = curves[item];
    double power = quiet_nan();
    if (item < n_freqs && facts[2 * curve] > 0.0) {
        const i64 a = offsets[curve];
        const Points points{t + a, weight + a, strength + a, (int)(offsets[curve + 1] - a)};
        power = exact_power(fit, points, freqs[item], n_harmonics);
    }
    if (threadIdx.x == 0) out[item] = power;
}
