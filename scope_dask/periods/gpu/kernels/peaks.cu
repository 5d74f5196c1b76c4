// Merges the tiles of every light curve: peaks near the edge of a tile are judged with the neighbours' values, the k
// best are selected (all keys differ, so the selection is exact), moments are combined. A block is a light curve.
#include "common.cuh"

constexpr int THREADS = 256;
constexpr int MOST_PEAKS = 1024;

struct Tiles {
    u64* keys;
    const int* counts;
    const float* edges;
    const double* moments;
    int room;
    int reach;
    i64 first;    // tile
    int number;   // of tiles
    int length;   // grid points of a tile (the last one has fewer)
    i64 size;     // grid points
};

// Is a peak of tile j (of its own points) one of the whole grid?
__device__ inline bool stands(const Tiles& tiles, int j, u64 key) {
    const int reach = tiles.reach;
    const i64 place = key_index(key) - (i64)j * tiles.length;
    const i64 after = min(tiles.size - (i64)j * tiles.length, (i64)tiles.length) - place;  // points from it to the edge
    const float x = key_value(key);
    const float* before = tiles.edges + (2 * (tiles.first + j) - 1) * reach;  // last values of the tile before
    const float* next = tiles.edges + 2 * (tiles.first + j + 1) * reach;      // first values of the tile after
    if (j > 0) {
        for (i64 d = place + 1; d <= reach; d++) {
            if (before[reach - (d - place)] >= x) return false;
        }
    }
    if (j + 1 < tiles.number) {
        for (i64 d = after; d <= reach; d++) {
            if (next[d - after] > x) return false;
        }
    }
    return true;
}

// Clears what is no peak and puts the best of every tile first (0 if it has none).
__device__ inline void judge(const Tiles& tiles) {
    for (int j = threadIdx.x; j < tiles.number; j += THREADS) {
        u64* keys = tiles.keys + (tiles.first + j) * tiles.room;
        const int count = tiles.counts[tiles.first + j];
        u64 best = 0;
        int at = 0;
        for (int i = 0; i < count; i++) {
            if (!stands(tiles, j, keys[i])) keys[i] = 0;
            if (keys[i] > best) {
                best = keys[i];
                at = i;
            }
        }
        if (count > 0) keys[at] = keys[0];
        keys[0] = best;
    }
}

// The k-th largest of the keys >= least in the first `depth` places of the tiles (at most as many as there are
// peaks); 1 if there are fewer. Radix selection, eight bits a round.
__device__ inline u64 select(const Tiles& tiles, int depth, int k, u64 least) {
    __shared__ int histogram[256];
    __shared__ u64 prefix;
    __shared__ int wanted;
    __shared__ int exact;
    if (threadIdx.x == 0) {
        prefix = 0;
        wanted = k;
        exact = 0;
    }
    for (int shift = 56; shift >= 0; shift -= 8) {
        for (int b = threadIdx.x; b < 256; b += THREADS) histogram[b] = 0;
        __syncthreads();
        for (i64 i = threadIdx.x; i < (i64)tiles.number * depth; i += THREADS) {
            const i64 tile = tiles.first + i / depth;
            const int place = (int)(i % depth);
            if (place < max(tiles.counts[tile], 1)) {
                const u64 key = tiles.keys[tile * tiles.room + place];
                if (key >= least && (shift == 56 || key >> (shift + 8) == prefix >> (shift + 8))) {
                    atomicAdd(&histogram[key >> shift & 255], 1);
                }
            }
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            int b = 255;
            while (b >= 0 && histogram[b] < wanted) wanted -= histogram[b--];
            exact = b < 0 || histogram[b] == wanted;
            prefix = b < 0 ? 1 : prefix | (u64)b << shift;
        }
        __syncthreads();
        if (exact) break;
    }
    const u64 found = prefix;
    __syncthreads();
    return found > 0 ? found : 1;
}

// Writes the keys >= threshold (k at most), best first.
__device__ inline void write_best(const Tiles& tiles, u64 threshold, int k, double* value, i64* index) {
    __shared__ u64 best[MOST_PEAKS];
    __shared__ int count;
    if (threadIdx.x == 0) count = 0;
    __syncthreads();
    for (i64 i = threadIdx.x; i < (i64)tiles.number * tiles.room; i += THREADS) {
        const i64 tile = tiles.first + i / tiles.room;
        if (i % tiles.room < max(tiles.counts[tile], 1)) {
            const u64 key = tiles.keys[tile * tiles.room + i % tiles.room];
            if (key >= threshold) best[atomicAdd(&count, 1)] = key;
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < count; i += THREADS) {
        int rank = 0;
        for (int j = 0; j < count; j++) rank += best[j] > best[i];
        value[rank] = key_value(best[i]);
        index[rank] = key_index(best[i]);
    }
    for (int i = count + threadIdx.x; i < k; i += THREADS) {
        value[i] = not_a_number();
        index[i] = -1;
    }
}

__device__ inline void write_moments(const Tiles& tiles, double* mean, double* std) {
    __shared__ double2 scratch[THREADS];
    const double* moments = tiles.moments + 3 * tiles.first;
    double number = 0.0, sum = 0.0, squares = 0.0;
    for (int j = threadIdx.x; j < tiles.number; j += THREADS) {
        number += moments[3 * j];
        sum += moments[3 * j] * moments[3 * j + 1];
    }
    const double2 total = block_sum<THREADS>(number, sum, scratch);
    const double center = total.y / total.x;
    for (int j = threadIdx.x; j < tiles.number; j += THREADS) {
        const double d = moments[3 * j + 1] - center;
        if (moments[3 * j] > 0.0) squares += moments[3 * j + 2] + moments[3 * j] * d * d;
    }
    squares = block_sum<THREADS>(squares, 0.0, scratch).x;
    if (threadIdx.x == 0) {
        *mean = total.x > 0.0 ? center : not_a_number();
        *std = total.x > 0.0 ? sqrt(squares / total.x) : not_a_number();
    }
}

// Row r of the launch is light curve curve[r], with the tiles first_tile[r] .. first_tile[r + 1] - 1.
extern "C" __global__ void __launch_bounds__(THREADS) merge_peaks(
    const int* curve, const i64* first_tile, const int* tile_length, const i64* size, u64* keys, const int* counts,
    const float* edges, const double* moments, int room, int reach, int k, double* value, i64* index, double* mean,
    double* std) {
    const i64 row = curve[blockIdx.x], first = first_tile[blockIdx.x];
    const int number = (int)(first_tile[blockIdx.x + 1] - first);
    const Tiles tiles{keys, counts, edges, moments, room, reach, first, number, tile_length[row], size[row]};
    judge(tiles);
    __syncthreads();
    const u64 least = select(tiles, 1, k, 1);  // of k tiles the best: no peak below is among the k best
    const u64 threshold = select(tiles, room, k, least);
    write_best(tiles, max(threshold, least), k, value + row * k, index + row * k);
    write_moments(tiles, mean + row, std + row);
}
