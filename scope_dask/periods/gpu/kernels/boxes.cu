// Box least squares (BLS) and the weighted phase-binned model (FPW): thread = frequency, a column of (weight, strength)
// per phase bin in shared memory. Weights and strengths are integers (prepare.cu), so the sums do not depend on the
// order of the points.
#include "common.cuh"

constexpr int STAGE = 256;
constexpr int BOX_BINS = 64;       // phase bins of BLS: a power of two, the bin is the phase's leading bits
constexpr int BOX_THREADS = 64;
constexpr int MODEL_THREADS = 256;

template <int BINS>
__device__ inline u32 bin_of(u32 phase) {
    return BINS == BOX_BINS ? phase >> 26 : phase_bin(phase, BINS);
}

// Fills the thread's column of `memory`, [bin][thread].
template <int BINS, int THREADS>
__device__ inline void fill(int2* column, uint4* stage, const double* t, const u32* step, const int* weight,
                            const int* strength, int n, double center) {
    const u32 lane = threadIdx.x;
    for (int b = 0; b < BINS; b++) column[b * THREADS] = make_int2(0, 0);
    for (int start = 0; start < n; start += STAGE) {
        const int points = min(STAGE, n - start);
        __syncthreads();
        for (int j = lane; j < points; j += THREADS) {
            const int i = start + j;
            stage[j] = make_uint4(anchor(t[i], center, step[i], THREADS / 2), step[i], weight[i], strength[i]);
        }
        __syncthreads();
#pragma unroll 4
        for (int j = 0; j < points; j++) {
            const uint4 point = stage[j];
            int2& bin = column[bin_of<BINS>(point.x + lane * point.y) * THREADS];
            const int2 sum = bin;
            bin = make_int2(sum.x + (int)point.z, sum.y + (int)point.w);
        }
    }
}

// sum over the bins of strength^2 / weight: the part of the variance that the means of the bins explain.
template <int THREADS>
__device__ inline float explained(const int2* column) {
    float x = 0.0f;
#pragma unroll
    for (int b = 0; b < PHASE_BINS; b++) {
        const int2 bin = column[b * THREADS];
        const float s = (float)bin.y;
        if (bin.x > 0) x += __fdividef(s * s, (float)bin.x);
    }
    return x;
}

// max over the boxes of s^2 / (w (1 - w)^2), of boxes fainter than the rest (s > 0).
template <int THREADS>
__device__ inline float best_box(const int2* column, const int* widths, int n_widths) {
    float best = 0.0f;
    for (int b = 0; b < BOX_BINS; b++) {
        int w = 0, s = 0, width = 0;
        for (int k = 0; k < n_widths; k++) {
            for (; width < widths[k]; width++) {
                const int2 bin = column[((b + width) % BOX_BINS) * THREADS];
                w += bin.x;
                s += bin.y;
            }
            const float in = (float)w * (float)(1.0 / FIXED_ONE), rest = 1.0f - in, sum = (float)s;
            if (s > 0 && w > 0 && rest > 1e-6f) best = fmaxf(best, __fdividef(sum * sum, in * rest * rest));
        }
    }
    return best;
}

template <int BINS, int THREADS>
__device__ inline void scan(const int* work_curve, const int* work_tile, const i64* offsets, const double* t,
                            const u32* step, const int* weight, const int* strength, const double* units,
                            const int* widths, int n_widths, const double* fmin, const double* df, const i64* size,
                            const i64* masked, int n_masked, const Output& out) {
    __shared__ __align__(16) int2 memory[BINS * THREADS + 2 * STAGE];
    const int curve = work_curve[blockIdx.x];
    const i64 first = (i64)work_tile[blockIdx.x] * THREADS;
    const i64 a = offsets[curve];
    const double* unit = units + 3 * curve;
    int2* column = memory + threadIdx.x;
    uint4* stage = reinterpret_cast<uint4*>(memory + BINS * THREADS);
    fill<BINS, THREADS>(column, stage, t + a, step + a, weight + a, strength + a, (int)(offsets[curve + 1] - a),
                        grid_frequency(fmin[curve], df[curve], first + THREADS / 2));
    float found;
    if (BINS == BOX_BINS) {
        found = best_box<THREADS>(column, widths, n_widths) * (float)(0.5 * unit[2] * unit[0] * unit[0]);
    } else {
        found = explained<THREADS>(column) * (float)(unit[0] * unit[0] * FIXED_ONE / unit[1]);
    }
    __syncthreads();  // the columns are done with: their memory is used again
    float* x = reinterpret_cast<float*>(memory);
    x[threadIdx.x] = found;
    reduce_tile<THREADS>(x, (int)min(size[curve] - first, (i64)THREADS), first, masked + 2 * n_masked * curve, n_masked,
                         out, reinterpret_cast<double2*>(memory + THREADS));
}

#define BOX_SCAN(NAME, BINS, THREADS)                                                                                  \
    extern "C" __global__ void __launch_bounds__(THREADS) NAME(                                                        \
        const int* work_curve, const int* work_tile, const i64* offsets, const double* t, const u32* step,             \
        const int* weight, const int* strength, const double* units, const int* widths, int n_widths,                  \
        const double* fmin, const double* df, const i64* size, const i64* masked, int n_masked, u64* keys,             \
        int* counts, float* edges, double* moments, int room, int reach) {                                             \
        scan<BINS, THREADS>(work_curve, work_tile, offsets, t, step, weight, strength, units, widths, n_widths, fmin,  \
                            df, size, masked, n_masked, Output{keys, counts, edges, moments, room, reach});            \
    }

BOX_SCAN(model_scan, PHASE_BINS, MODEL_THREADS)
BOX_SCAN(box_scan, BOX_BINS, BOX_THREADS)
