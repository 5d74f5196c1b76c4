// The dmdt histogram: all pairs of points by time and magnitude difference (scope_dask/extraction/dmdt.py).
#include "curves.cuh"

constexpr int SIDE = 26;        // bins of dm, and of dt
constexpr int BINS = SIDE + 2;  // bins of dm with one on either side for what is out of range
constexpr int CELLS = 514;
constexpr int PART = 1024;      // earlier points of the pairs of a block
constexpr double CELLS_PER_MAG = 32.0;
constexpr double SHIFT = 8.0 * CELLS_PER_MAG + 0.5;

// Counts the pairs whose earlier point is in part work_part of light curve work_curve; thread = earlier point, for
// which dt grows with the later one. limits (SIDE,): upper edges of the bins of dt. below, inside (CELLS,): number of
// edges of dm below a cell of 1/32 mag, and the one inside it. counts (n, SIDE, SIDE): rows dm, columns dt, of zeros.
extern "C" __global__ void __launch_bounds__(THREADS) count_pairs(const double* hjd, const double* mag,
                                                                  const i64* offsets, const int* work_curve,
                                                                  const int* work_part, const double* limits,
                                                                  const int* below, const double* inside,
                                                                  u64* counts) {
    __shared__ double limit_of[SIDE + 1], inside_of[CELLS];
    __shared__ int below_of[CELLS], counters[SIDE * BINS];
    for (int i = threadIdx.x; i < CELLS; i += THREADS) {
        below_of[i] = below[i];
        inside_of[i] = inside[i];
    }
    for (int i = threadIdx.x; i <= SIDE; i += THREADS) limit_of[i] = i < SIDE ? limits[i] : infinity();
    for (int i = threadIdx.x; i < SIDE * BINS; i += THREADS) counters[i] = 0;
    __syncthreads();
    const int curve = work_curve[blockIdx.x];
    const double *t = hjd + offsets[curve], *m = mag + offsets[curve];
    const int n = (int)(offsets[curve + 1] - offsets[curve]), first = work_part[blockIdx.x] * PART;
    for (int i = first + threadIdx.x; i < min(first + PART, n); i += THREADS) {
        int x = 0;
        for (int j = i + 1; j < n; j++) {
            const double dt = t[j] - t[i], dm = m[j] - m[i];
            while (x < SIDE && dt >= limit_of[x]) x++;
            if (x == SIDE) break;
            const int cell = (int)fmin(fmax(dm * CELLS_PER_MAG + SHIFT, 0.0), CELLS - 1.0);
            atomicAdd(&counters[x * BINS + below_of[cell] + (dm >= inside_of[cell])], 1);
        }
    }
    __syncthreads();
    for (int b = threadIdx.x; b < SIDE * SIDE; b += THREADS) {
        const int count = counters[b % SIDE * BINS + b / SIDE + 1];
        if (count > 0) atomicAdd(&counts[(i64)curve * SIDE * SIDE + b], (u64)count);
    }
}

// out (n, SIDE, SIDE): the counts over the root of the sum of their squares; NaN for an unusable light curve.
extern "C" __global__ void __launch_bounds__(THREADS) normalise(const double* hjd, const double* mag,
                                                                const i64* offsets, const u64* counts, double* out) {
    __shared__ double2 scratch[THREADS];
    const i64 start = offsets[blockIdx.x];
    const int n = (int)(offsets[blockIdx.x + 1] - start);
    bool bad = n < MIN_POINTS;
    for (int i = threadIdx.x; i < n; i += THREADS) bad |= !finite_number(hjd[start + i]) || !finite_number(mag[start + i]);
    bad = any_thread(bad);
    const u64* count = counts + (i64)blockIdx.x * SIDE * SIDE;
    double squares = 0.0;
    for (int b = threadIdx.x; b < SIDE * SIDE; b += THREADS) squares += (double)count[b] * (double)count[b];
    squares = block_sum<THREADS>(squares, 0.0, scratch).x;
    const double norm = squares > 0.0 ? sqrt(squares) : 1.0;
    for (int b = threadIdx.x; b < SIDE * SIDE; b += THREADS) {
        out[(i64)blockIdx.x * SIDE * SIDE + b] = bad ? quiet_nan() : (double)count[b] / norm;
    }
}
