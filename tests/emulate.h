// Runs a CUDA kernel on the CPU, thread by thread: what the tests of the kernels' arithmetic need of CUDA, no more.
//
// Every CUDA thread is a fiber that runs until it reaches a barrier (or a vote of its warp); then the next one runs.
// Blocks run one after the other, shared memory is static. Threads run in ascending or descending order, so that a
// missing barrier shows as a difference between the two. A barrier that some threads of a block have not reached when
// the others have, ends the program with a message.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#define EMULATED
#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)

struct int2 { int x, y; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) double2 { double x, y; };
inline int2 make_int2(int x, int y) { return {x, y}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }

template <class To, class From>
inline To bits_as(From x) {
    static_assert(sizeof(To) == sizeof(From));
    To y;
    std::memcpy(&y, &x, sizeof y);
    return y;
}
inline float __int_as_float(int x) { return bits_as<float>(x); }
inline float __uint_as_float(unsigned x) { return bits_as<float>(x); }
inline unsigned __float_as_uint(float x) { return bits_as<unsigned>(x); }
inline double __longlong_as_double(long long x) { return bits_as<double>(x); }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline float __fdividef(float a, float b) { return a / b; }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((unsigned long long)a * b) >> 32); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned n) {
    return (unsigned)((((unsigned long long)high << 32) | low) >> (n & 31));
}
inline void sincospi(double x, double* s, double* c) {
    *s = std::sin(M_PI * x);
    *c = std::cos(M_PI * x);
}
inline void sincospif(float x, float* s, float* c) {
    *s = (float)std::sin(M_PI * x);
    *c = (float)std::cos(M_PI * x);
}
// The special function unit errs by up to 2^-21.4 within a half turn; rounding to multiples of 2^-20.4 errs by as much.
inline float coarse(double x) { return (float)(std::rint(x * 1381000.0) / 1381000.0); }
inline void __sincosf(float x, float* s, float* c) {
    *s = coarse(std::sin((double)x));
    *c = coarse(std::cos((double)x));
}
using std::max;
using std::min;

struct Dim { unsigned x; };
static Dim blockIdx, threadIdx, blockDim, gridDim;

namespace emulate {

constexpr int STACK = 64 * 1024, WARP = 32;
enum State { RUNS, AT_BARRIER, AT_VOTE, DONE };

struct Fiber {
    jmp_buf resume;
    ucontext_t context;
    std::vector<char> stack;
    State state = DONE;
    bool started = false;
    int vote = 0;
};

static std::vector<Fiber> fibers;
static jmp_buf scheduler;
static ucontext_t entry;
static unsigned running;
static void (*body)(void*);
static void* arguments;

[[noreturn]] inline void fail(const char* why) {
    std::fprintf(stderr, "emulated kernel: %s (block %u)\n", why, blockIdx.x);
    std::abort();
}

// Filled with garbage before every block.
inline char* dynamic_shared() {
    alignas(16) static char memory[48 * 1024];
    return memory;
}

inline void pause(State state) {
    Fiber& fiber = fibers[running];
    fiber.state = state;
    if (!_setjmp(fiber.resume)) _longjmp(scheduler, 1);
}

static void start() {
    body(arguments);
    fibers[running].state = DONE;
    _longjmp(scheduler, 1);
}

inline void run_fiber(unsigned i) {
    Fiber& fiber = fibers[i];
    running = i;
    threadIdx.x = i;
    if (_setjmp(scheduler)) return;
    if (fiber.started) _longjmp(fiber.resume, 1);
    fiber.started = true;
    fiber.stack.resize(STACK);
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, start, 0);
    swapcontext(&entry, &fiber.context);
}

// Runs the threads of a warp until each has ended or is at a barrier.
inline void run_warp(unsigned begin, unsigned end, bool descending) {
    while (true) {
        for (unsigned j = begin; j < end; j++) {
            const unsigned i = descending ? begin + end - 1 - j : j;
            if (fibers[i].state == RUNS) run_fiber(i);
        }
        int voters = 0, others = 0, any = 0;
        for (unsigned i = begin; i < end; i++) {
            voters += fibers[i].state == AT_VOTE;
            others += fibers[i].state != AT_VOTE;
            if (fibers[i].state == AT_VOTE) any |= fibers[i].vote;
        }
        if (voters == 0) return;
        if (others > 0) fail("a vote that not all threads of the warp take part in");
        for (unsigned i = begin; i < end; i++) {
            fibers[i].vote = any;
            fibers[i].state = RUNS;
        }
    }
}

inline void run_block(unsigned threads, bool descending) {
    std::memset(dynamic_shared(), 0xa5, 48 * 1024);
    for (auto& fiber : fibers) {
        fiber.state = RUNS;
        fiber.started = false;
    }
    while (true) {
        const unsigned warps = (threads + WARP - 1) / WARP;
        for (unsigned j = 0; j < warps; j++) {
            const unsigned w = descending ? warps - 1 - j : j;
            run_warp(w * WARP, std::min((w + 1) * WARP, threads), descending);
        }
        unsigned waiting = 0;
        for (auto& fiber : fibers) waiting += fiber.state == AT_BARRIER;
        if (waiting == 0) return;
        if (waiting < threads) fail("a barrier that not all threads of the block reach");
        for (auto& fiber : fibers) fiber.state = RUNS;
    }
}

template <class T> struct Name;
template <> struct Name<int> { static constexpr const char* text = "int32"; };
template <> struct Name<unsigned> { static constexpr const char* text = "uint32"; };
template <> struct Name<long long> { static constexpr const char* text = "int64"; };
template <> struct Name<unsigned long long> { static constexpr const char* text = "uint64"; };
template <> struct Name<float> { static constexpr const char* text = "float32"; };
template <> struct Name<double> { static constexpr const char* text = "float64"; };
template <class T> struct Name<const T> : Name<T> {};

template <class T> struct Described {
    static std::string text() { return Name<T>::text; }
};
template <class T> struct Described<T*> {
    static std::string text() { return std::string(Name<T>::text) + "*"; }
};

// The types of the arguments, as "float64* int32 …".
template <class... A>
std::string signature(void (*)(A...)) {
    std::string text;
    ((text += (text.empty() ? "" : " ") + Described<A>::text()), ...);
    return text;
}

template <class... A, std::size_t... I>
void run(void (*kernel)(A...), unsigned blocks, unsigned threads, bool descending, void** values,
         std::index_sequence<I...>) {
    auto call = [&] { kernel(*static_cast<A*>(values[I])...); };
    body = [](void* f) { (*static_cast<decltype(call)*>(f))(); };
    arguments = &call;
    gridDim.x = blocks;
    blockDim.x = threads;
    fibers.resize(threads);
    for (unsigned j = 0; j < blocks; j++) {
        blockIdx.x = descending ? blocks - 1 - j : j;
        run_block(threads, descending);
    }
}

template <class... A>
void run(void (*kernel)(A...), unsigned blocks, unsigned threads, bool descending, void** values) {
    run(kernel, blocks, threads, descending, values, std::index_sequence_for<A...>{});
}

}  // namespace emulate

#define EMULATE(KERNEL)                                                                                       \
    extern "C" const char* signature_##KERNEL() {                                                              \
        static const std::string text = emulate::signature(KERNEL);                                            \
        return text.c_str();                                                                                   \
    }                                                                                                          \
    extern "C" void run_##KERNEL(unsigned blocks, unsigned threads, int descending, void** values) {           \
        emulate::run(KERNEL, blocks, threads, descending != 0, values);                                        \
    }

inline void __syncthreads() { emulate::pause(emulate::AT_BARRIER); }
inline int __any_sync(unsigned, int predicate) {
    emulate::fibers[emulate::running].vote = predicate != 0;
    const unsigned self = emulate::running;
    emulate::pause(emulate::AT_VOTE);
    return emulate::fibers[self].vote;
}
template <class T>
inline T atomicAdd(T* p, T x) {
    const T before = *p;
    *p += x;
    return before;
}
