// The words of CUDA C++ that the kernels use, for a host compiler.
//
// A kernel's source is included after this file and nothing in it is changed. What is not here does not
// compile, so that a kernel cannot come to depend on something that is merely assumed to behave alike.
#pragma once

#include <math.h>

#include "blocks.h"

#define DLBENCH_HOST 1

// Which barrier or check is switched off, in a text that was made so (mutants.py).
extern "C" {
__attribute__((visibility("default"))) volatile int host_mutant = -1;
}

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __shared__ static __attribute__((section("dlshared")))
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))

#define __syncthreads() host::barrier(__LINE__)

// ---------------------------------------------------------------- vector types, aligned as on the device

#define HOST_VECTORS(scalar, name, unit)                                                          \
    struct __align__(2 * unit) name##2 { scalar x, y; };                                          \
    struct name##3 { scalar x, y, z; };                                                           \
    struct __align__(4 * unit) name##4 { scalar x, y, z, w; };                                    \
    static inline name##2 make_##name##2(scalar x, scalar y) { return {x, y}; }                   \
    static inline name##3 make_##name##3(scalar x, scalar y, scalar z) { return {x, y, z}; }      \
    static inline name##4 make_##name##4(scalar x, scalar y, scalar z, scalar w) { return {x, y, z, w}; }
HOST_VECTORS(float, float, 4)
HOST_VECTORS(int, int, 4)
#undef HOST_VECTORS

struct __align__(8) uint2 {
    unsigned x, y;
};
struct __align__(16) uint4 {
    unsigned x, y, z, w;
};
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

// ---------------------------------------------------------------- arithmetic

template <class T>
static inline T __ldg(const T* address) {
    return *address;
}

static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }
static inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
static inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
static inline long long min(long long a, long long b) { return a < b ? a : b; }
static inline long long max(long long a, long long b) { return a > b ? a : b; }
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }

template <class To, class From>
static inline To host_bits(From value) {
    static_assert(sizeof(To) == sizeof(From), "a reinterpretation keeps the size");
    To result;
    memcpy(&result, &value, sizeof result);
    return result;
}
static inline unsigned __float_as_uint(float value) { return host_bits<unsigned>(value); }
static inline int __float_as_int(float value) { return host_bits<int>(value); }
static inline float __uint_as_float(unsigned value) { return host_bits<float>(value); }
static inline float __int_as_float(int value) { return host_bits<float>(value); }

static inline unsigned __umulhi(unsigned a, unsigned b) {
    return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32);
}
static inline int __popc(unsigned value) { return __builtin_popcount(value); }
static inline int __clz(int value) { return value ? __builtin_clz(value) : 32; }
static inline int __ffs(int value) { return __builtin_ffs(value); }

static inline float rsqrtf(float value) { return static_cast<float>(1 / sqrt(static_cast<double>(value))); }
#define __expf expf  // the C library has functions of these names
#define __logf logf
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __fsqrt_rn(float value) { return sqrtf(value); }
static inline float __frcp_rn(float value) { return 1 / value; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
// Results that a compiler must not fold into a fused multiply-add: the barrier keeps them apart.
static inline float host_rounded(float value) {
    asm("" : "+x"(value));
    return value;
}
static inline float __fmul_rn(float a, float b) { return host_rounded(a * b); }
static inline float __fadd_rn(float a, float b) { return host_rounded(a) + host_rounded(b); }
static inline float __fsub_rn(float a, float b) { return host_rounded(a) - host_rounded(b); }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }

#include "warp.h"
#include "tensor_core.h"
