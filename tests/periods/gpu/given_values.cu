// A periodogram of given values, reduced in tiles of 64.
#include "common.cuh"

constexpr int LENGTH = 64;

extern "C" __global__ void given_values(const float* values, i64 size, const i64* masked, int n_masked, u64* keys,
                                        int* counts, float* edges, double* moments, int room, int reach) {
    __shared__ float x[LENGTH];
    __shared__ double2 scratch[LENGTH];
    const i64 first = (i64)blockIdx.x * LENGTH;
    if (first + threadIdx.x < size) x[threadIdx.x] = values[first + threadIdx.x];
    reduce_tile<LENGTH>(x, (int)min(size - first, (i64)LENGTH), first, masked, n_masked,
                        Output{keys, counts, edges, moments, room, reach}, scratch);
}
