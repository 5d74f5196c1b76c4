// Box least squares (BLS) and weighted phase folding (FPW): sums of weights and of weighted magnitudes in phase bins.
// Both are integers (prepare.cu), so that the sums are exact and do not depend on the order of the points.
#include "common.cuh"

constexpr int STAGE = 256;
constexpr int MODEL_THREADS = 256;  // FPW: a thread is a frequency, with a column of sums in shared memory
constexpr int BOX_THREADS = 256;    // BLS: a warp takes two of the BOX_TILE frequencies of a block
constexpr int BOX_TILE = 16;
constexpr int WARP = 32;
constexpr int WARPS = BOX_THREADS / WARP;
constexpr int PARTS = BOX_THREADS / BOX_TILE;  // threads that make one frequency's running sums

struct Points {
    const double* t;
    const u32* step;
    const int* weight;
    const int* strength;
    int n;
};

// Stages points start ... with their phases at the frequency `lane` steps after the first of their TILE.
template <int THREADS>
__device__ inline void stage_points(uint4* stage, const Points& points, int start, double center, int lane) {
    const int end = min(start + STAGE, points.n);
    for (int i = start + threadIdx.x; i < end; i += THREADS) {
        const u32 phase = anchor(points.t[i], center, points.step[i], TILE / 2) + lane * points.step[i];
        stage[i - start] = make_uint4(phase, points.step[i], points.weight[i], points.strength[i]);
    }
}

// Sum over the bins of strength^2 / weight: the part of the variance that the means of the bins explain.
__device__ inline float explained(const int2* column) {
    float x = 0.0f;
#pragma unroll
    for (int b = 0; b < PHASE_BINS; b++) {
        const int2 bin = column[b * MODEL_THREADS];
        const float s = (float)bin.y;
        if (bin.x > 0) x += __fdividef(s * s, (float)bin.x);
    }
    return x;
}

extern "C" __global__ void __launch_bounds__(MODEL_THREADS) model_scan(
    const int* work_curve, const int* work_tile, const i64* offsets, const double* t, const u32* step,
    const int* weight, const int* strength, const double* factors, const double* fmin, const double* df,
    const i64* size, const i64* masked, int n_masked, u64* keys, int* counts, float* edges, double* moments, int room,
    int reach) {
    __shared__ __align__(16) int2 memory[PHASE_BINS * MODEL_THREADS + 2 * STAGE];
    const int curve = work_curve[blockIdx.x];
    const i64 first = (i64)work_tile[blockIdx.x] * MODEL_THREADS, anchored = first / TILE * TILE, a = offsets[curve];
    const double center = grid_frequency(fmin[curve], df[curve], anchored + TILE / 2);
    const Points points{t + a, step + a, weight + a, strength + a, (int)(offsets[curve + 1] - a)};
    const u32 lane = threadIdx.x;
    int2* column = memory + lane;
    uint4* stage = reinterpret_cast<uint4*>(memory + PHASE_BINS * MODEL_THREADS);
    for (int b = 0; b < PHASE_BINS; b++) column[b * MODEL_THREADS] = make_int2(0, 0);
    for (int start = 0; start < points.n; start += STAGE) {
        __syncthreads();
        stage_points<MODEL_THREADS>(stage, points, start, center, (int)(first - anchored));
        __syncthreads();
        const int staged = min(STAGE, points.n - start);
#pragma unroll 4
        for (int j = 0; j < staged; j++) {
            const uint4 point = stage[j];
            int2& bin = column[fine_bin(point.x + lane * point.y, PHASE_BINS) * MODEL_THREADS];
            const int2 sum = bin;
            bin = make_int2(sum.x + (int)point.z, sum.y + (int)point.w);
        }
    }
    const float found = explained(column) * (float)factors[curve];
    __syncthreads();  // the columns are done with: their memory is used again
    float* x = reinterpret_cast<float*>(memory);
    x[lane] = found;
    reduce_tile<MODEL_THREADS>(x, (int)min(size[curve] - first, (i64)MODEL_THREADS), first,
                               masked + 2 * n_masked * curve, n_masked,
                               Output{keys, counts, edges, moments, room, reach},
                               reinterpret_cast<double2*>(memory + MODEL_THREADS));
}

// Adds the staged points to the sums of the warp's frequencies; lanes are points.
__device__ inline void add_points(int* weights, int* strengths, int pitch, const uint4* stage, int staged, int n_bins) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    for (int j = lane; j < staged; j += WARP) {
        const uint4 point = stage[j];
        for (int l = warp; l < BOX_TILE; l += WARPS) {
            const int at = l * pitch + (int)fine_bin(point.x + l * point.y, n_bins);
            atomicAdd(&weights[at], (int)point.z);
            atomicAdd(&strengths[at], (int)point.w);
        }
    }
}

// Replaces the sums of the bins by running sums: entry b holds those of the bins before b, entry n_bins the total.
__device__ inline void accumulate(int* sums, int pitch, int n_bins, int* partial) {
    const int part = threadIdx.x % PARTS, length = (n_bins + PARTS - 1) / PARTS;
    int* row = sums + threadIdx.x / PARTS * pitch;
    const int begin = min(part * length, n_bins), end = min(begin + length, n_bins);
    int sum = 0;
    for (int b = begin; b < end; b++) sum += row[b];
    partial[threadIdx.x] = sum;
    __syncthreads();
    int before = 0;
    for (int i = 0; i < part; i++) before += partial[threadIdx.x - part + i];
    for (int b = begin; b < end; b++) {
        const int bin = row[b];
        row[b] = before;
        before += bin;
    }
    if (part == PARTS - 1) row[n_bins] = before;
    __syncthreads();
}

// Largest s^2 / (r (1 - r)) of the thread's boxes, in units of the integers; r is the weight inside, s the strength.
__device__ inline float best_box(const int* weights, const int* strengths, int n_bins, const int* widths, int n_widths,
                                 float least) {
    const float unit = (float)FIXED_ONE;
    float best = 0.0f;
    for (int k = 0; k < n_widths; k++) {
        for (int b = threadIdx.x % PARTS; b < n_bins; b += PARTS) {
            const int end = b + widths[k], wraps = end > n_bins, last = wraps ? end - n_bins : end;
            const float r = (float)(weights[last] - weights[b] + (wraps ? weights[n_bins] : 0));
            const float s = (float)(strengths[last] - strengths[b] + (wraps ? strengths[n_bins] : 0));
            if (s > 0.0f && r >= least && r <= unit - least) {
                best = fmaxf(best, __fdividef(s, r) * __fdividef(s, unit - r) * unit);
            }
        }
    }
    return best;
}

// least (n,): smallest weight inside and outside of a box, in units of the integers.
extern "C" __global__ void __launch_bounds__(BOX_THREADS) box_scan(
    const int* work_curve, const int* work_tile, const i64* offsets, const double* t, const u32* step,
    const int* weight, const int* strength, const double* factors, const double* least, const int* widths,
    int n_widths, int n_bins, const double* fmin, const double* df, const i64* size, const i64* masked, int n_masked,
    u64* keys, int* counts, float* edges, double* moments, int room, int reach) {
    DYNAMIC_SHARED(memory);  // (2, BOX_TILE, n_bins + 1) integers
    __shared__ __align__(16) uint4 stage[STAGE];
    __shared__ float boxes[BOX_THREADS];
    __shared__ float x[BOX_TILE];
    const int curve = work_curve[blockIdx.x], pitch = n_bins + 1, thread = threadIdx.x;
    const i64 first = (i64)work_tile[blockIdx.x] * BOX_TILE, anchored = first / TILE * TILE, a = offsets[curve];
    const double center = grid_frequency(fmin[curve], df[curve], anchored + TILE / 2);
    const Points points{t + a, step + a, weight + a, strength + a, (int)(offsets[curve + 1] - a)};
    int *weights = reinterpret_cast<int*>(memory), *strengths = weights + BOX_TILE * pitch;
    for (int i = thread; i < 2 * BOX_TILE * pitch; i += BOX_THREADS) weights[i] = 0;
    for (int start = 0; start < points.n; start += STAGE) {
        __syncthreads();
        stage_points<BOX_THREADS>(stage, points, start, center, (int)(first - anchored));
        __syncthreads();
        add_points(weights, strengths, pitch, stage, min(STAGE, points.n - start), n_bins);
    }
    __syncthreads();
    accumulate(weights, pitch, n_bins, reinterpret_cast<int*>(boxes));
    accumulate(strengths, pitch, n_bins, reinterpret_cast<int*>(boxes));
    const int row = thread / PARTS * pitch;
    boxes[thread] = best_box(weights + row, strengths + row, n_bins, widths, n_widths, (float)least[curve]);
    __syncthreads();
    if (thread < BOX_TILE) {
        float best = 0.0f;
        for (int i = 0; i < PARTS; i++) best = fmaxf(best, boxes[thread * PARTS + i]);
        x[thread] = best * (float)factors[curve];
    }
    reduce_tile<BOX_THREADS>(x, (int)min(size[curve] - first, (i64)BOX_TILE), first, masked + 2 * n_masked * curve,
                             n_masked, Output{keys, counts, edges, moments, room, reach},
                             reinterpret_cast<double2*>(stage));
}
