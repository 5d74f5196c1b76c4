// Phase-binned analysis of variance (AOV, EAOV): thread = two frequencies, each with its own column of 20 counters in
// shared memory, [bin][frequency], so that no two threads of a warp ever meet in a bank. A counter packs the number of
// points (10 bits) and the sum of their magnitudes + 2047 (22 bits), exact for 1023 points; longer light curves move
// them to registers before they are full.
#include "common.cuh"

constexpr int THREADS = TILE / 2;
constexpr int STAGE = 256;
constexpr int STAGES_UNTIL_FULL = 1023 / STAGE;

struct Sums {
    int count;
    int sum;
};

__device__ inline Sums unpack(u32 word) {
    const int count = (int)(word / ONE_POINT);
    return Sums{count, (int)(word % ONE_POINT) - LARGEST * count};
}

// theta from s1 = sum of (sum of y)^2 / count - (sum of all y)^2 / n; s2 is kept above its rounding error, so that theta is finite.
__device__ inline float theta(float s1, int n, const double* sums) {
    const float scale = (float)((n - PHASE_BINS) / (PHASE_BINS - 1.0));
    return scale * s1 / fmaxf((float)sums[1] - s1, (float)(1e-6 * sums[1]));
}

template <bool LONG>
__device__ inline void scan(const int* work_curve, const int* work_tile, const i64* offsets, const double* t,
                            const u32* step, const u32* value, const double* all_sums, const double* fmin,
                            const double* df, const i64* size, const i64* masked, int n_masked, const Output& out) {
    __shared__ __align__(16) u32 memory[PHASE_BINS * TILE + 4 * STAGE];
    const int curve = work_curve[blockIdx.x];
    const i64 first = (i64)work_tile[blockIdx.x] * TILE;
    const double center = grid_frequency(fmin[curve], df[curve], first + TILE / 2);
    const i64 a = offsets[curve];
    const int n = (int)(offsets[curve + 1] - a);
    const u32 lane = threadIdx.x;
    u32* column = memory + lane;
    uint4* stage = reinterpret_cast<uint4*>(memory + PHASE_BINS * TILE);
    Sums bins[2][PHASE_BINS] = {};
    for (int b = 0; b < PHASE_BINS; b++) column[b * TILE] = column[b * TILE + THREADS] = 0;
    int stages = 0;
    for (int start = 0; start < n; start += STAGE) {
        __syncthreads();
        const i64 i = a + start + lane;
        if (start + (int)lane < n) {
            stage[lane] = make_uint4(anchor(t[i], center, step[i], TILE / 2), step[i], value[i], 0);
        }
        __syncthreads();
        const int points = min(STAGE, n - start);
#pragma unroll 4
        for (int j = 0; j < points; j++) {
            const uint4 point = stage[j];
            const u32 phase = point.x + lane * point.y;
            column[phase_bin(phase, PHASE_BINS) * TILE] += point.z;
            column[phase_bin(phase + THREADS * point.y, PHASE_BINS) * TILE + THREADS] += point.z;
        }
        if (LONG && (++stages == STAGES_UNTIL_FULL || start + STAGE >= n)) {
            stages = 0;
#pragma unroll
            for (int k = 0; k < 2 * PHASE_BINS; k++) {
                const Sums more = unpack(column[k / 2 * TILE + k % 2 * THREADS]);
                bins[k % 2][k / 2].count += more.count;
                bins[k % 2][k / 2].sum += more.sum;
                column[k / 2 * TILE + k % 2 * THREADS] = 0;
            }
        }
    }
    float found[2];
    const double* sums = all_sums + 2 * curve;
#pragma unroll
    for (int k = 0; k < 2; k++) {
        float s1 = (float)-sums[0];
#pragma unroll
        for (int b = 0; b < PHASE_BINS; b++) {
            const Sums bin = LONG ? bins[k][b] : unpack(column[b * TILE + k * THREADS]);
            const float s = (float)bin.sum;
            s1 += __fdividef(s * s, (float)max(bin.count, 1));
        }
        found[k] = theta(s1, n, sums);
    }
    __syncthreads();  // the counters are done with: their memory is used again
    float* x = reinterpret_cast<float*>(memory);
    x[lane] = found[0];
    x[lane + THREADS] = found[1];
    reduce_tile<THREADS>(x, (int)min(size[curve] - first, (i64)TILE), first, masked + 2 * n_masked * curve, n_masked,
                         out, reinterpret_cast<double2*>(memory + TILE));
}

#define AOV_SCAN(NAME, LONG, BLOCKS)                                                                                   \
    extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) NAME(                                                \
        const int* work_curve, const int* work_tile, const i64* offsets, const double* t, const u32* step,             \
        const u32* value, const double* sums, const double* fmin, const double* df, const i64* size,                   \
        const i64* masked, int n_masked, u64* keys, int* counts, float* edges, double* moments, int room, int reach) { \
        scan<LONG>(work_curve, work_tile, offsets, t, step, value, sums, fmin, df, size, masked, n_masked,             \
                   Output{keys, counts, edges, moments, room, reach});                                                 \
    }

// Up to 1023 points, and any number of them.
AOV_SCAN(aov_scan_short, false, 5)
AOV_SCAN(aov_scan_long, true, 2)
