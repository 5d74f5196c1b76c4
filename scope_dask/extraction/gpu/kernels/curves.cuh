// What the kernels of the features share. A block is a light curve; its points are in time order.
#pragma once
#include "common.cuh"

constexpr int THREADS = 128;
constexpr int MIN_POINTS = 4;

__device__ inline double infinity() { return __longlong_as_double(0x7ff0000000000000ll); }
__device__ inline bool finite_number(double x) { return fabs(x) < infinity(); }

// Is it so for any thread of the block?
__device__ inline bool any_thread(bool so) {
    __shared__ int any;
    __syncthreads();
    if (threadIdx.x == 0) any = 0;
    __syncthreads();
    if (so) any = 1;
    __syncthreads();
    return any != 0;
}

// Can nothing be computed: too few points, a value that is not finite, an error that is not positive?
__device__ inline bool unusable(const double* t, const double* m, const double* e, int n) {
    bool bad = n < MIN_POINTS;
    for (int i = threadIdx.x; i < n; i += THREADS) {
        bad |= !finite_number(t[i]) || !finite_number(m[i]) || !finite_number(e[i]) || !(e[i] > 0.0);
    }
    return any_thread(bad);
}

// Sorts n things by a bitonic network whose comparators all put the smaller thing first, so that it holds for any n:
// whatever would lie beyond the end would stay there. `exchange(i, j)` puts the things at i < j in order.
template <class Exchange>
__device__ inline void sort_network(int n, Exchange exchange) {
    for (u32 width = 2; width < 2u * n; width *= 2) {
        for (u32 stride = width / 2; stride > 0; stride /= 2) {
            __syncthreads();
            for (u32 p = threadIdx.x; 2 * p - (p & (stride - 1)) < (u32)n; p += THREADS) {
                const u32 i = 2 * p - (p & (stride - 1));
                const u32 j = 2 * stride == width ? i ^ (width - 1) : i + stride;
                if (j < (u32)n) exchange(i, j);
            }
        }
    }
    __syncthreads();
}
