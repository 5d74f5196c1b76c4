// Conditional entropy (CE, ECE): thread = frequency, histograms bit-sliced in registers.
//
// The points come sorted by magnitude bin, so that one phase histogram is needed at a time: bit b of plane k is bit k
// of the count of phase bin b. A point is the word 1 << bin; eight of them are added to three planes by carry-save
// adders (two three-input logic operations each), their carry of weight 8 goes on to the planes above. Counts are
// exact for any number of points; nothing is kept in shared memory but the phases.
//
// A sum of n ln n over the bins needs no look at single bins: as a function of the bits of n it is a polynomial,
// f(n) = sum over sets S of bits of a_S * product of the bits in S, hence sum_b f(n_b) = sum_S a_S popcount(AND of the
// planes in S). n ln n is an integer here (scaled by a power of two, see prepare.cu), so the sums are exact too.
#include "common.cuh"

constexpr int STAGE = 1024;  // points in shared memory

__device__ inline u32 carry_of(u32 a, u32 b, u32 c) { return (a & b) | (c & (a ^ b)); }

// Adds two words of the weight of `plane` to it and returns their carry.
__device__ inline u32 add_two(u32& plane, u32 a, u32 b) {
    const u32 carry = carry_of(plane, a, b);
    plane ^= a ^ b;
    return carry;
}

// Adds the POINTS <= 8 points at `phase` (anchor, step), aligned to a pair, to planes 0-2; returns the carry.
template <int POINTS>
__device__ inline u32 add_points(u32* planes, const uint2* phase, u32 lane) {
    u32 word[8];
#pragma unroll
    for (int j = 0; j < 8; j += 2) {
        if (j < POINTS) {
            const uint4 pair = *reinterpret_cast<const uint4*>(phase + j);
            word[j] = 1u << phase_bin(pair.x + lane * pair.y, PHASE_BINS);
            word[j + 1] = j + 1 < POINTS ? 1u << phase_bin(pair.z + lane * pair.w, PHASE_BINS) : 0u;
        } else {
            word[j] = word[j + 1] = 0u;
        }
    }
    const u32 two0 = add_two(planes[0], word[0], word[1]);
    const u32 two1 = add_two(planes[0], word[2], word[3]);
    const u32 four0 = add_two(planes[1], two0, two1);
    const u32 two2 = add_two(planes[0], word[4], word[5]);
    const u32 two3 = add_two(planes[0], word[6], word[7]);
    const u32 four1 = add_two(planes[1], two2, two3);
    return add_two(planes[2], four0, four1);
}

// As add_points, for 1 to 7 points.
__device__ inline u32 add_few(u32* planes, const uint2* phase, u32 lane, int points) {
    switch (points) {
        case 1: return add_points<1>(planes, phase, lane);
        case 2: return add_points<2>(planes, phase, lane);
        case 3: return add_points<3>(planes, phase, lane);
        case 4: return add_points<4>(planes, phase, lane);
        case 5: return add_points<5>(planes, phase, lane);
        case 6: return add_points<6>(planes, phase, lane);
        default: return add_points<7>(planes, phase, lane);
    }
}

// Adds points i .. end - 1 of the stage (i even) to the histogram of `used` planes.
template <int PLANES>
__device__ inline void add_segment(u32* planes, int used, const uint2* phase, u32 lane, int i, int end) {
    for (; i < end; i += 32) {
        const int rest = end - i;
        const uint2* from = phase + i;
        u32 eight[4] = {};
        if (rest >= 32) {
#pragma unroll
            for (int j = 0; j < 4; j++) eight[j] = add_points<8>(planes, from + 8 * j, lane);
        } else {
#pragma unroll
            for (int j = 0; j < 3; j++) {
                if (rest >= 8 * j + 8) eight[j] = add_points<8>(planes, from + 8 * j, lane);
            }
            if (rest % 8 > 0) eight[3] = add_few(planes, from + rest / 8 * 8, lane, rest % 8);
        }
        const u32 sixteen0 = add_two(planes[3], eight[0], eight[1]);
        const u32 sixteen1 = add_two(planes[3], eight[2], eight[3]);
        u32 carry = add_two(planes[4], sixteen0, sixteen1);
#pragma unroll
        for (int k = 5; k < PLANES; k++) {
            if (k >= used) break;
            const u32 next = planes[k] & carry;
            planes[k] ^= carry;
            carry = next;
        }
    }
}

// Sum of f(count) over the bins, of counts with BITS bits.
template <int BITS>
__device__ inline u32 sum_by_sets(const u32* planes, const u32* coefficients) {
    u32 word[1 << BITS];
    u32 sum = 0;
    word[0] = 0xffffffffu;
#pragma unroll
    for (int set = 0; set < 1 << BITS; set += 4) {
        const uint4 four = *reinterpret_cast<const uint4*>(coefficients + set);
        const u32 a[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const int s = set + j;
            if (s > 0) {
                int lowest = 0;
#pragma unroll
                for (int k = BITS - 1; k >= 0; k--) lowest = s >> k & 1 ? k : lowest;
                word[s] = word[s & (s - 1)] & planes[lowest];
                if (s > 1) sum += a[j] * __popc(word[s]);  // 1 ln 1 is 0
            }
        }
    }
    return sum;
}

// The same for any counts, bin by bin; n_log_n is the table of n ln n in float64.
template <int PLANES>
__device__ inline u32 sum_by_bins(const u32* planes, int used, const double* n_log_n, double scale) {
    u32 sum = 0;
    for (int b = 0; b < PHASE_BINS; b++) {
        u32 n = 0;
#pragma unroll
        for (int k = 0; k < PLANES; k++) {
            if (k >= used) break;
            n |= (planes[k] >> b & 1u) << k;
        }
        sum += (u32)llrint(n_log_n[n] * scale);
    }
    return sum;
}

// Sum of f(count) over the bins. The whole warp takes the same way.
template <int PLANES>
__device__ inline u32 sum_of(const u32* planes, int used, const u32* coefficients, const double* n_log_n, double scale) {
    u32 high = 0;
#pragma unroll
    for (int k = 6; k < PLANES; k++) {
        if (k >= used) break;
        high |= planes[k];
    }
    if (used > 6 && __any_sync(0xffffffffu, high)) return sum_by_bins<PLANES>(planes, used, n_log_n, scale);
    if (used > 5 && __any_sync(0xffffffffu, planes[5])) return sum_by_sets<6>(planes, coefficients);
    if (used > 4 && __any_sync(0xffffffffu, planes[4])) return sum_by_sets<5>(planes, coefficients);
    if (used > 3 && __any_sync(0xffffffffu, planes[3])) return sum_by_sets<4>(planes, coefficients);
    return sum_by_sets<3>(planes, coefficients);
}

// Adds the histogram `planes` to `total` and clears it.
template <int PLANES>
__device__ inline void move(u32* planes, int used, u32* total) {
    u32 carry = 0;
#pragma unroll
    for (int k = 0; k < PLANES; k++) {
        if (k >= used && k >= 6 && !__any_sync(0xffffffffu, carry)) break;
        const u32 next = carry_of(total[k], planes[k], carry);
        total[k] ^= planes[k] ^ carry;
        carry = next;
        planes[k] = 0;
    }
}

__device__ inline int planes_for(int n) { return 32 - __clz(n); }

template <int PLANES>
__device__ inline void scan(const int* work_curve, const int* work_tile, const i64* sorted_offsets, const double* t,
                            const u32* step, const int* bounds, const u32* all_coefficients, const double* scales,
                            const double* n_log_n, const double* fmin, const double* df, const i64* size,
                            const i64* masked, int n_masked, const Output& out) {
    __shared__ __align__(16) uint2 phase[STAGE];
    __shared__ __align__(16) u32 coefficients[SMALL_COUNTS];
    __shared__ float x[TILE];
    __shared__ double2 scratch[TILE];
    const int curve = work_curve[blockIdx.x];
    const i64 first = (i64)work_tile[blockIdx.x] * TILE;
    const u32 lane = threadIdx.x;
    const double center = grid_frequency(fmin[curve], df[curve], first + TILE / 2);
    const int* bound = bounds + curve * 2 * MAGNITUDE_BINS;  // start and number of points of every magnitude bin
    const double scale = scales[curve];
    const int length = bound[2 * MAGNITUDE_BINS - 2] + bound[2 * MAGNITUDE_BINS - 1];
    t += sorted_offsets[curve];
    step += sorted_offsets[curve];
    if (lane < SMALL_COUNTS) coefficients[lane] = all_coefficients[curve * SMALL_COUNTS + lane];

    u32 planes[PLANES] = {}, total[PLANES] = {};
    u32 cells = 0;
    int number = 0, m = 0;
    for (int start = 0; start < length; start += STAGE) {
        const int end = min(start + STAGE, length);
        __syncthreads();
        for (int i = start + lane; i < end; i += TILE) {
            phase[i - start] = make_uint2(anchor(t[i], center, step[i], TILE / 2), step[i]);
        }
        __syncthreads();
        for (; m < MAGNITUDE_BINS; m++) {
            const int segment_end = bound[2 * m] + bound[2 * m + 1];
            const int used = planes_for(bound[2 * m + 1]);
            add_segment<PLANES>(planes, used, phase, lane, max(bound[2 * m], start) - start, min(segment_end, end) - start);
            if (segment_end > end) break;
            if (used > 0) {
                number += bound[2 * m + 1];
                cells += sum_of<PLANES>(planes, used, coefficients, n_log_n, scale);
                move<PLANES>(planes, used, total);
            }
        }
    }
    const u32 columns = sum_of<PLANES>(total, planes_for(number), coefficients, n_log_n, scale);
    x[lane] = (float)(int)(cells - columns) * (float)(1.0 / (scale * number));
    reduce_tile<TILE>(x, (int)min(size[curve] - first, (i64)TILE), first, masked + 2 * n_masked * curve, n_masked, out,
                      scratch);
}

#define ENTROPY_SCAN(PLANES)                                                                                           \
    extern "C" __global__ void __launch_bounds__(TILE, 2) entropy_scan_##PLANES(                                       \
        const int* work_curve, const int* work_tile, const i64* sorted_offsets, const double* t, const u32* step,      \
        const int* bounds, const u32* coefficients, const double* scales, const double* n_log_n, const double* fmin,   \
        const double* df, const i64* size, const i64* masked, int n_masked, u64* keys, int* counts, float* edges,      \
        double* moments, int room, int reach) {                                                                        \
        scan<PLANES>(work_curve, work_tile, sorted_offsets, t, step, bounds, coefficients, scales, n_log_n, fmin, df,  \
                     size, masked, n_masked, Output{keys, counts, edges, moments, room, reach});                       \
    }

// By the number of points: below 2^9, 2^13, 2^24.
ENTROPY_SCAN(9)
ENTROPY_SCAN(13)
ENTROPY_SCAN(24)
