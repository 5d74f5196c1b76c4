// Time order of the points of every light curve.
#include "curves.cuh"

// unordered (1,): does any time lie before the one before it?
extern "C" __global__ void __launch_bounds__(THREADS) find_unordered(const double* hjd, const i64* offsets,
                                                                     int* unordered) {
    const i64 start = offsets[blockIdx.x], stop = offsets[blockIdx.x + 1];
    for (i64 i = start + 1 + threadIdx.x; i < stop; i += THREADS) {
        if (hjd[i] < hjd[i - 1]) *unordered = 1;
    }
}

// order (points,): where the points of every light curve are found in time order, equal times in the order they have.
// times (points,) is scratch; NaN goes to the end.
extern "C" __global__ void __launch_bounds__(THREADS) time_order(const double* hjd, const i64* offsets, double* times,
                                                                 i64* order) {
    const i64 start = offsets[blockIdx.x];
    const int n = (int)(offsets[blockIdx.x + 1] - start);
    double* t = times + start;
    i64* place = order + start;
    for (int i = threadIdx.x; i < n; i += THREADS) {
        t[i] = hjd[start + i] == hjd[start + i] ? hjd[start + i] : infinity();
        place[i] = start + i;
    }
    sort_network(n, [=](u32 i, u32 j) {
        if (t[j] < t[i] || (t[j] == t[i] && place[j] < place[i])) {
            const double time = t[i];
            const i64 from = place[i];
            t[i] = t[j];
            place[i] = place[j];
            t[j] = time;
            place[j] = from;
        }
    });
}
