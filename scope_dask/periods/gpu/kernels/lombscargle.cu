// Lomb-Scargle (LS, ELS): the sums S(f) = sum a exp(2 pi i f t) are band-limited, so they are made only every `steps`
// grid points and interpolated (scope_dask/periods/lombscargle.py has the scheme, the filter and the float64 fallback).
//
// A tile has 2 * PAIRS samples, symmetric about its centre frequency; thread k makes the two that lie (k + 1/2) sample
// steps to either side. With theta = 2 pi f_centre t of a point and phi = (k + 1/2) times its phase step, the sums at
// both need only a cos(theta), a sin(theta) (the block's, float64 phases) and cos(phi), sin(phi) (the thread's). The sums
// of the weights at doubled frequencies, which are twice as many, take the same angles doubled, and turned by one step.
#include "common.cuh"

constexpr int PAIRS = 128;                   // threads
constexpr int TAPS = 8;
constexpr int BEFORE = TAPS / 2 - 1;
constexpr int INTERVALS = 2 * PAIRS - TAPS + 1;  // between samples; a tile is INTERVALS * steps grid points
constexpr int MOST_STEPS = 16;
constexpr int STAGE = 256;
constexpr int MEMORY = INTERVALS * MOST_STEPS;  // floats: the stage, then the powers
constexpr int DOUBLED = 4 * PAIRS - 1;
constexpr float NEARLY_SINGULAR = 0.1f;
constexpr double NO_VARIANCE = 1e-12;

struct Samples {
    float2 data[2 * PAIRS];
    float2 window[2 * PAIRS];
    float2 doubled[DOUBLED];
};

struct Stage {
    float4* single;   // a cos, a sin of data and of weights
    float4* doubled;  // weight cos 2 theta, weight sin 2 theta; cos and sin of the phase step
    u32* half_step;
};

// Stages points for the tile with the centre frequency f.
__device__ inline void stage_point(const Stage& stage, int j, double t, float4 point, u32 half_step, double f) {
    double turn = __dmul_rn(t, f);
    turn -= rint(turn);
    float c, s;
    sincospif(2.0f * (float)turn, &s, &c);
    stage.single[j] = make_float4(point.x * c, point.x * s, point.y * c, point.y * s);
    stage.doubled[j] = make_float4(point.y * (c * c - s * s), point.y * (2.0f * c * s), point.z, point.w);
    stage.half_step[j] = half_step;
}

// Sets the samples of the tile.
template <bool FLOATING_MEAN>
__device__ inline void make_samples(Samples& samples, float* memory, const double* t, const float* point,
                                    const u32* half_step, int n, double f) {
    const int k = threadIdx.x;
    float4* rows = reinterpret_cast<float4*>(memory);
    const Stage stage{rows, rows + STAGE, reinterpret_cast<u32*>(rows + 2 * STAGE)};
    Mirrored data, window, odd, even;
    for (int start = 0; start < n; start += STAGE) {
        const int points = min(STAGE, n - start);
        __syncthreads();
        for (int j = k; j < points; j += PAIRS) {
            const int i = start + j;
            stage_point(stage, j, t[i], reinterpret_cast<const float4*>(point)[i], half_step[i], f);
        }
        __syncthreads();
#pragma unroll 4
        for (int j = 0; j < points; j++) {
            const float4 a = stage.single[j], b = stage.doubled[j];
            float c, s;
            minus_cos_sin((2 * k + 1) * stage.half_step[j], &c, &s);
            data.add(a.x, a.y, c, s);
            if (FLOATING_MEAN) window.add(a.z, a.w, c, s);
            const float twice = c + c, c2 = twice * c - 1.0f, s2 = twice * s;
            odd.add(b.x, b.y, c2, s2);
            even.add(b.x, b.y, c2 * b.z + s2 * b.w, s2 * b.z - c2 * b.w);
        }
    }
    samples.data[PAIRS + k] = data.above(-1.0f);
    samples.data[PAIRS - 1 - k] = data.below(-1.0f);
    samples.window[PAIRS + k] = window.above(-1.0f);
    samples.window[PAIRS - 1 - k] = window.below(-1.0f);
    const int middle = DOUBLED / 2;
    samples.doubled[middle + 2 * k + 1] = odd.above(1.0f);
    samples.doubled[middle - 2 * k - 1] = odd.below(1.0f);
    samples.doubled[middle + 2 * k] = even.above(1.0f);
    if (k > 0) samples.doubled[middle - 2 * k] = even.below(1.0f);
}

__device__ inline float2 filter(const float2* x, const float* taps) {
    float2 sum = make_float2(0.0f, 0.0f);
#pragma unroll
    for (int j = 0; j < TAPS; j++) {
        sum.x += taps[j] * x[j].x;
        sum.y += taps[j] * x[j].y;
    }
    return sum;
}

// Power from the sums; NaN where single precision is not enough.
template <bool FLOATING_MEAN>
__device__ inline float power_of(float2 y, float2 w, float2 w2) {
    const float c2 = 0.5f * w2.x;
    float cs = 0.5f * w2.y, cc = 0.5f + c2, ss = 0.5f - c2;
    if (FLOATING_MEAN) {
        cc -= w.x * w.x;
        ss -= w.y * w.y;
        cs -= w.x * w.y;
    }
    const float determinant = cc * ss - cs * cs;
    if (determinant < NEARLY_SINGULAR * (cc + ss)) return not_a_number();
    return (ss * y.x * y.x + cc * y.y * y.y - 2.0f * cs * y.x * y.y) / determinant;
}

// Powers at the grid points from one sample to the next. `taps` (2, MOST_STEPS, TAPS): at r / steps and 2 r / steps.
template <bool FLOATING_MEAN>
__device__ inline void interpolate(const Samples& samples, int interval, int steps, const float* taps, float* x) {
    float2 y[TAPS], w[TAPS], w2[TAPS + 1];
#pragma unroll
    for (int j = 0; j < TAPS; j++) {
        y[j] = samples.data[interval + j];
        w[j] = samples.window[interval + j];
    }
    constexpr int shift = DOUBLED / 2 - INTERVALS - BEFORE;
#pragma unroll
    for (int j = 0; j <= TAPS; j++) w2[j] = samples.doubled[2 * interval + shift + j];
    const int half = (steps + 1) / 2;  // from here on, the doubled frequency lies one sample further
    for (int r = 0; r < half; r++) {
        const float* at = taps + r * TAPS;
        x[r] = power_of<FLOATING_MEAN>(filter(y, at), FLOATING_MEAN ? filter(w, at) : y[0],
                                       filter(w2, at + MOST_STEPS * TAPS));
    }
    for (int r = half; r < steps; r++) {
        const float* at = taps + r * TAPS;
        x[r] = power_of<FLOATING_MEAN>(filter(y, at), FLOATING_MEAN ? filter(w, at) : y[0],
                                       filter(w2 + 1, at + MOST_STEPS * TAPS));
    }
}

// Power in float64, by the whole block; see exact_lombscargle.power.
template <bool FLOATING_MEAN>
__device__ inline float exact_power(const double* t, const double* weight, const double* strength, int n, double f,
                                    double2* scratch) {
    double yc = 0.0, ys = 0.0, wc = 0.0, ws = 0.0, cc = 0.0, cs = 0.0;
    for (int i = threadIdx.x; i < n; i += PAIRS) {
        double turn = __dmul_rn(t[i], f), c, s;
        turn -= rint(turn);
        sincospi(2.0 * turn, &s, &c);
        yc += strength[i] * c;
        ys += strength[i] * s;
        wc += weight[i] * c;
        ws += weight[i] * s;
        cc += weight[i] * c * c;
        cs += weight[i] * c * s;
    }
    const double2 y = block_sum<PAIRS>(yc, ys, scratch), w = block_sum<PAIRS>(wc, ws, scratch);
    const double2 q = block_sum<PAIRS>(cc, cs, scratch);
    double a = q.x, b = 1.0 - q.x, ab = q.y;
    if (FLOATING_MEAN) {
        a -= w.x * w.x;
        b -= w.y * w.y;
        ab -= w.x * w.y;
    }
    const double tau = 0.5 * atan2(2.0 * ab, a - b), u = cos(tau), v = sin(tau);
    const double first = u * u * a + 2.0 * u * v * ab + v * v * b, second = u * u * b - 2.0 * u * v * ab + v * v * a;
    double p = 0.0;
    if (first > NO_VARIANCE) p += (u * y.x + v * y.y) * (u * y.x + v * y.y) / first;
    if (second > NO_VARIANCE) p += (u * y.y - v * y.x) * (u * y.y - v * y.x) / second;
    return (float)p;
}

template <bool FLOATING_MEAN>
__device__ inline void scan(const int* work_curve, const int* work_tile, const i64* offsets, const double* t,
                            const double* weight, const double* strength, const float* point, const u32* half_step,
                            const int* all_steps, const float* all_taps, const double* fmin, const double* df,
                            const i64* size, const i64* masked, int n_masked, const Output& out) {
    __shared__ __align__(16) float memory[MEMORY];
    __shared__ Samples samples;
    __shared__ float taps[2 * MOST_STEPS * TAPS];
    __shared__ double2 scratch[PAIRS];
    __shared__ int unknown;
    const int curve = work_curve[blockIdx.x], steps = all_steps[curve], thread = threadIdx.x;
    const i64 first = (i64)work_tile[blockIdx.x] * INTERVALS * steps, a = offsets[curve];
    const int n = (int)(offsets[curve + 1] - a), count = (int)min(size[curve] - first, (i64)INTERVALS * steps);
    const double center = __dadd_rn(fmin[curve], __dmul_rn(df[curve], first + 0.5 * INTERVALS * steps));
    for (int j = thread; j < 2 * MOST_STEPS * TAPS; j += PAIRS) taps[j] = all_taps[steps * 2 * MOST_STEPS * TAPS + j];
    if (thread == 0) unknown = 0;
    make_samples<FLOATING_MEAN>(samples, memory, t + a, point + 4 * a, half_step + a, n, center);
    __syncthreads();
    for (int q = thread; q < INTERVALS; q += PAIRS) {
        interpolate<FLOATING_MEAN>(samples, q, steps, taps, memory + q * steps);
    }
    __syncthreads();
    unsigned short* where = reinterpret_cast<unsigned short*>(&samples);  // the samples are done with
    for (int p = thread; p < count; p += PAIRS) {
        if (memory[p] != memory[p]) where[atomicAdd(&unknown, 1)] = (unsigned short)p;
    }
    __syncthreads();
    for (int j = 0; j < unknown; j++) {
        const double f = grid_frequency(fmin[curve], df[curve], first + where[j]);
        const float p = exact_power<FLOATING_MEAN>(t + a, weight + a, strength + a, n, f, scratch);
        if (thread == 0) memory[where[j]] = p;
    }
    reduce_tile<PAIRS>(memory, count, first, masked + 2 * n_masked * curve, n_masked, out, scratch);
}

#define LOMB_SCARGLE_SCAN(NAME, FLOATING_MEAN)                                                                         \
    extern "C" __global__ void __launch_bounds__(PAIRS, 5) NAME(                                                       \
        const int* work_curve, const int* work_tile, const i64* offsets, const double* t, const double* weight,        \
        const double* strength, const float* point, const u32* half_step, const int* steps, const float* taps,         \
        const double* fmin, const double* df, const i64* size, const i64* masked, int n_masked, u64* keys,             \
        int* counts, float* edges, double* moments, int room, int reach) {                                             \
        scan<FLOATING_MEAN>(work_curve, work_tile, offsets, t, weight, strength, point, half_step, steps, taps, fmin,  \
                            df, size, masked, n_masked, Output{keys, counts, edges, moments, room, reach});            \
    }

LOMB_SCARGLE_SCAN(lomb_scargle_scan_floating, true)
LOMB_SCARGLE_SCAN(lomb_scargle_scan_plain, false)
