/* What kernels need beyond plain C++: the warp's collectives, the tensor cores, asynchronous copies, launches. With
 * nvcc these are the GPU's own instructions; without, the tests put tests/cuda/emulated in their place and run the same
 * kernels on a processor.
 *
 * Rules of a kernel: every thread calls wait_for_previous exactly once, before anything that an earlier kernel writes
 * is read and before anything global is written; what was uploaded (weights) and the batch may be read before it.
 * Collectives are called by all 32 lanes of a warp. Float operations are written as single roundings: fma_rn, mul_rn ..
 * where a compiler could contract, and the flags forbid it besides. */
#ifndef CUDA_DEVICE_H
#define CUDA_DEVICE_H

#include <cuda_runtime.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

extern "C" {
#include "base/error.h"
}

#define DEVICE static __device__ __forceinline__
#define DEVICE_MEMBER __device__ __forceinline__
#define FMATH_FN static __host__ __device__ __forceinline__
#include "base/fmath_inline.h"

#if defined(__CUDACC__)

extern __shared__ __align__(16) uint8_t dynamic_shared[];
#define SHARED_BYTES() dynamic_shared

DEVICE float shfl_xor_f32(float v, int mask)
{
    return __shfl_xor_sync(0xFFFFFFFFu, v, mask);
}

DEVICE uint32_t shfl_xor_u32(uint32_t v, int mask)
{
    return __shfl_xor_sync(0xFFFFFFFFu, v, mask);
}

DEVICE int32_t shfl_xor_i32(int32_t v, int mask)
{
    return __shfl_xor_sync(0xFFFFFFFFu, v, mask);
}

DEVICE float shfl_f32(float v, int lane)
{
    return __shfl_sync(0xFFFFFFFFu, v, lane);
}

DEVICE int32_t shfl_i32(int32_t v, int lane)
{
    return __shfl_sync(0xFFFFFFFFu, v, lane);
}

DEVICE uint32_t warp_ballot(bool vote)
{
    return __ballot_sync(0xFFFFFFFFu, vote);
}

DEVICE int count_bits(uint32_t x)
{
    return __popc(x);
}

DEVICE void warp_sync(void)
{
    __syncwarp();
}

/* d = a b + c: a is 16 rows x 32, b 32 x 8 columns. Lane (g = lane / 4, t = lane % 4) holds of a: rows g and g + 8 of
 * inputs 4t .. 4t+3, then the same rows of inputs 16+4t ..; of b: column g of the same inputs; of c and d: columns 2t
 * and 2t+1 of row g, then of row g + 8. */
DEVICE void mma_s8(int32_t d[4], const uint32_t a[4], const uint32_t b[2], const int32_t c[4])
{
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, "
        "%12, %13};"
        : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]));
}

/* Four bytes of a and b, chosen by the selector's nibbles; bit 3 of a nibble repeats the byte's sign instead. */
DEVICE uint32_t prmt(uint32_t a, uint32_t b, uint32_t selector)
{
    uint32_t d;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(selector));
    return d;
}

DEVICE float fma_rn(float a, float b, float c)
{
    return __fmaf_rn(a, b, c);
}

DEVICE float mul_rn(float a, float b)
{
    return __fmul_rn(a, b);
}

DEVICE float add_rn(float a, float b)
{
    return __fadd_rn(a, b);
}

DEVICE float sub_rn(float a, float b)
{
    return __fsub_rn(a, b);
}

DEVICE float div_rn(float a, float b)
{
    return __fdiv_rn(a, b);
}

DEVICE float sqrt_rn(float a)
{
    return __fsqrt_rn(a);
}

DEVICE float f16_value(uint16_t h)
{
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h));
    return x;
}

/* Two halves that lie beside each other. */
DEVICE float2 half_pair(uint32_t halves)
{
    return {f16_value((uint16_t)halves), f16_value((uint16_t)(halves >> 16))};
}

/* Weights: read once, past the first cache. */
DEVICE uint4 load_16(const void *p)
{
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p));
    return v;
}

DEVICE uint2 load_8(const void *p)
{
    uint2 v;
    asm volatile("ld.global.nc.L1::no_allocate.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(p));
    return v;
}

/* Shared memory, 16 bytes at once. */
DEVICE float4 read_16(const void *shared)
{
    return *reinterpret_cast<const float4 *>(shared);
}

/* Copies that a thread starts and waits for later: commit makes a group of those begun, wait(n) waits until at most n
 * of the thread's newest groups are under way. The barrier that shows them to other threads is the caller's. */
DEVICE void copy_async_16(void *shared, const void *global)
{
    uint32_t address = (uint32_t)__cvta_generic_to_shared(shared);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(global) : "memory");
}

DEVICE void copy_async_commit(void)
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

template <int N> DEVICE void copy_async_wait(void)
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

DEVICE void wait_for_previous(void)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

DEVICE void let_next_start(void)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" :::);
#endif
}

DEVICE int32_t atomic_add_i32(int32_t *p, int32_t v)
{
    return atomicAdd(p, v);
}

DEVICE uint32_t atomic_add_u32(uint32_t *p, uint32_t v)
{
    return atomicAdd(p, v);
}

DEVICE void fence_device(void)
{
    __threadfence();
}

#else
#include <device_emulated.h> /* on the tests' include path */
#endif

/* N floats of shared memory on 16 bytes, four at a time. */
template <int N> DEVICE void read_floats(float x[N], const float *shared)
{
#pragma unroll
    for (int i = 0; i + 4 <= N; i += 4) {
        float4 v = read_16(shared + i);
        x[i] = v.x;
        x[i + 1] = v.y;
        x[i + 2] = v.z;
        x[i + 3] = v.w;
    }
#pragma unroll
    for (int i = N / 4 * 4; i < N; i++)
        x[i] = shared[i];
}

DEVICE float bits_float(uint32_t bits)
{
    return fmath_float_of_bits(bits);
}

DEVICE uint32_t float_bits(float x)
{
    return fmath_bits_of_float(x);
}

/* ---- the host's side ---- */

/* Fills *error if a call of the runtime failed. */
static inline goss_status cuda_status(cudaError_t code, const char *call, goss_error *error)
{
    if (code == cudaSuccess)
        return GOSS_OK;
    return error_set(error, code == cudaErrorMemoryAllocation ? GOSS_E_MEMORY : GOSS_E_IO, "CUDA: %s: %s", call,
                     cudaGetErrorString(code));
}
#define CUDA_STATUS(call, error) cuda_status(call, #call, error)

/* How a kernel is launched: with `overlap` it may begin before the kernel in front of it has ended. */
struct launch {
    dim3 grid, block;
    size_t shared_bytes;
    cudaStream_t stream;
    bool overlap;
};

template <typename... Parameters, typename... Arguments>
static inline cudaError_t launch_kernel(const struct launch &launch, void (*kernel)(Parameters...),
                                        const Arguments &...arguments)
{
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = launch.grid;
    config.blockDim = launch.block;
    config.dynamicSmemBytes = launch.shared_bytes;
    config.stream = launch.stream;
    config.attrs = &attribute;
    config.numAttrs = launch.overlap ? 1 : 0;
    return cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
}

#endif
