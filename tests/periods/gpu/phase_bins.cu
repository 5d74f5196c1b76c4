// The phase bins of a tile: thread = frequency, block = point.
#include "common.cuh"

extern "C" __global__ void phase_bins(const double* t, const u32* step, double f, int* bins) {
    const u32 phase = anchor(t[blockIdx.x], f, step[blockIdx.x], TILE / 2) + threadIdx.x * step[blockIdx.x];
    bins[blockIdx.x * TILE + threadIdx.x] = phase_bin(phase, PHASE_BINS);
}
