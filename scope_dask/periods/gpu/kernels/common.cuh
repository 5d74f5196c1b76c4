// What the scans share: fixed-point phases, and the reduction of a tile of a periodogram to its peaks and moments.
//
// A block is one tile of consecutive grid frequencies of one light curve. Phases are in units of 2^-32 cycle, as in
// scope_dask/periods/bitsliced.py and with the same rounding: float64 at the centre of a tile of TILE frequencies,
// from there on in steps that wrap by themselves.
#pragma once
#ifdef __CUDACC__
#pragma nv_diag_suppress 177  // constants that a file does not use
#endif

typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;

constexpr int TILE = 512;             // frequencies from one float64 anchor to the next
constexpr int PHASE_BINS = 20;
constexpr int MAGNITUDE_BINS = 10;
constexpr int ALIGN = 2;              // points sorted by magnitude: the points of a bin start at a multiple of this
constexpr int SEGMENT_ROOM = 12;      // and need this much more room per light curve
constexpr int SMALL_COUNTS = 64;      // counts whose n ln n has tabulated coefficients
constexpr int LARGEST = 2047;         // of the magnitudes as integers (analysis of variance)
constexpr u32 ONE_POINT = 1u << 22;   // a point and its magnitude + LARGEST in one word: sums of up to 1023 points
constexpr double FIXED_ONE = 1073741824.0;  // 2^30: weights as integers

// Shared memory whose size the launch gives.
#ifdef EMULATED
#define DYNAMIC_SHARED(name) char* name = emulate::dynamic_shared()
#else
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) char name[]
#endif

__device__ inline float minus_infinity() { return __int_as_float(0xff800000); }
__device__ inline float not_a_number() { return __int_as_float(0x7fffffff); }
__device__ inline double quiet_nan() { return __longlong_as_double(0x7ff8000000000000ll); }
__device__ inline bool is_finite(float x) { return fabsf(x) < -minus_infinity(); }

// Grid frequency j. The two roundings are spelled out: a fused operation would give another float64.
__device__ inline double grid_frequency(double fmin, double df, i64 j) {
    return __dadd_rn(fmin, __dmul_rn(df, (double)j));
}

// Phase of time t at the frequency `lanes` grid steps before f.
__device__ inline u32 anchor(double t, double f, u32 step, int lanes) {
    double x = __dmul_rn(f, t);
    x -= floor(x);
    return (u32)((i64)(x * 4294967296.0) - (i64)step * lanes);
}

// Bin of a phase, n_bins <= 32 (27 bits of the phase, an exact product).
__device__ inline u32 phase_bin(u32 phase, u32 n_bins) { return ((phase >> 5) * n_bins) >> 27; }

// Bin of a phase for any number of bins: all its bits.
__device__ inline u32 fine_bin(u32 phase, u32 n_bins) { return __umulhi(phase, n_bins); }

// cos and sin of pi + 2 pi phase, to 1e-6.
__device__ inline void minus_cos_sin(u32 phase, float* c, float* s) {
    const float turn = __uint_as_float(__funnelshift_r(phase, 0x7f, 9));  // 1 + phase
    __sincosf(turn * 6.283185307f - 9.424777961f, s, c);
}

// The sums of one complex exponential at mirrored frequencies: a cos theta, a sin theta times cos phi, sin phi.
struct Mirrored {
    float cc = 0.0f, ss = 0.0f, cs = 0.0f, sc = 0.0f;
    __device__ inline void add(float ac, float as, float c, float s) {
        cc += ac * c;
        ss += as * s;
        cs += ac * s;
        sc += as * c;
    }
    __device__ inline float2 above(float sign) const { return make_float2(sign * (cc - ss), sign * (sc + cs)); }
    __device__ inline float2 below(float sign) const { return make_float2(sign * (cc + ss), sign * (sc - cs)); }
};

// Combines a pair of values over the block, for every thread. `scratch` holds one pair per thread; the order is fixed.
template <int THREADS, class Combine>
__device__ inline double2 block_reduce(double2 x, double2* scratch, Combine combine) {
    const int thread = threadIdx.x;
    scratch[thread] = x;
    __syncthreads();
    if (thread < 32) {
        for (int i = thread + 32; i < THREADS; i += 32) x = combine(x, scratch[i]);
        scratch[thread] = x;
    }
    __syncthreads();
    if (thread == 0) {
        for (int i = 1; i < (THREADS < 32 ? THREADS : 32); i++) x = combine(x, scratch[i]);
        scratch[0] = x;
    }
    __syncthreads();
    x = scratch[0];
    __syncthreads();
    return x;
}

// Sums of two values over the block.
template <int THREADS>
__device__ inline double2 block_sum(double a, double b, double2* scratch) {
    return block_reduce<THREADS>(make_double2(a, b), scratch,
                                 [](double2 x, double2 y) { return make_double2(x.x + y.x, x.y + y.y); });
}

// Where the tiles of a launch put what is kept of them.
struct Output {
    u64* keys;         // (tiles, room): the tile's peaks, in no order
    int* counts;       // (tiles,): how many
    float* edges;      // (tiles, 2, reach): its first and its last values, for the neighbours' peaks
    double* moments;   // (tiles, 3): number, mean, sum of squared deviations
    int room;
    int reach;         // neighbours on either side that a peak dominates
};

// Orders as the value does, of equal values the lower index first; never 0.
__device__ inline u64 peak_key(float value, i64 index) {
    const u32 bits = __float_as_uint(value + 0.0f);
    const u32 ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return ((u64)ordered << 32) | (0xffffffffu - (u32)index);
}

__device__ inline float key_value(u64 key) {
    const u32 ordered = (u32)(key >> 32);
    return __uint_as_float(ordered & 0x80000000u ? ordered & 0x7fffffffu : ~ordered);
}

__device__ inline i64 key_index(u64 key) { return 0xffffffffu - (u32)key; }

// Is x[p] a peak among x[0 .. n-1]?
__device__ inline bool dominates(const float* x, int n, int p, int reach) {
    for (int d = 1; d <= reach; d++) {
        if (p >= d && x[p - d] >= x[p]) return false;
        if (p + d < n && x[p + d] > x[p]) return false;
    }
    return true;
}

// Reduces x[0 .. n-1] (shared; grid points first ...) to its peaks and moments. Masked points and values that are
// not finite become minus infinity. `scratch` holds a pair of doubles per thread, apart from x. Starts with a barrier.
template <int THREADS>
__device__ inline void reduce_tile(float* x, int n, i64 first, const i64* masked, int n_masked, const Output& out,
                            double2* scratch) {
    const int thread = threadIdx.x;
    const i64 tile = blockIdx.x;
    __shared__ int count;
    __syncthreads();
    if (thread == 0) count = 0;
    for (int w = 0; w < n_masked; w++) {
        const i64 end = min(masked[2 * w + 1] - first, (i64)n);
        for (i64 l = max(masked[2 * w] - first, (i64)0) + thread; l < end; l += THREADS) x[l] = minus_infinity();
    }
    __syncthreads();
    double sum = 0.0, number = 0.0;
    for (int l = thread; l < n; l += THREADS) {
        if (is_finite(x[l])) {
            sum += x[l];
            number += 1.0;
        } else {
            x[l] = minus_infinity();
        }
    }
    const double2 total = block_sum<THREADS>(sum, number, scratch);
    const double mean = total.y > 0.0 ? total.x / total.y : 0.0;
    double squares = 0.0;
    for (int l = thread; l < n; l += THREADS) {
        if (x[l] > minus_infinity()) {
            squares += (x[l] - mean) * (x[l] - mean);
            if (dominates(x, n, l, out.reach)) {
                out.keys[tile * out.room + atomicAdd(&count, 1)] = peak_key(x[l], first + l);
            }
        }
    }
    squares = block_sum<THREADS>(squares, 0.0, scratch).x;
    for (int j = thread; j < out.reach; j += THREADS) {
        float* edges = out.edges + 2 * tile * out.reach;
        edges[j] = j < n ? x[j] : minus_infinity();
        edges[out.reach + j] = n - out.reach + j >= 0 ? x[n - out.reach + j] : minus_infinity();
    }
    if (thread == 0) {
        out.counts[tile] = count;
        out.moments[3 * tile] = total.y;
        out.moments[3 * tile + 1] = mean;
        out.moments[3 * tile + 2] = squares;
    }
}
