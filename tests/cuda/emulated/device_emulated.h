/* The device's side of src/cuda/device.h on a processor. Every thread of a CTA is a fiber; collectives and barriers are
 * where one fiber gives way to another. */
#ifndef EMULATED_DEVICE_H
#define EMULATED_DEVICE_H

#include "emulated.h"

#define SHARED_BYTES() emulated_shared()

/* As in CUDA C++, where these need no header. */
template <typename T> DEVICE T min(T a, T b)
{
    return b < a ? b : a;
}

template <typename T> DEVICE T max(T a, T b)
{
    return a < b ? b : a;
}

DEVICE void __syncthreads(void)
{
    emulated_barrier();
}

DEVICE void warp_sync(void)
{
    emulated_warp_barrier();
}

DEVICE uint32_t shfl_u32(uint32_t v, int lane)
{
    struct emulated_lane *lanes = emulated_exchange();
    lanes[emulated_lane_index()].word[0] = v;
    emulated_warp_barrier();
    return lanes[lane & 31].word[0];
}

DEVICE uint32_t shfl_xor_u32(uint32_t v, int mask)
{
    return shfl_u32(v, emulated_lane_index() ^ mask);
}

DEVICE int32_t shfl_xor_i32(int32_t v, int mask)
{
    return (int32_t)shfl_xor_u32((uint32_t)v, mask);
}

DEVICE float shfl_xor_f32(float v, int mask)
{
    return fmath_float_of_bits(shfl_xor_u32(fmath_bits_of_float(v), mask));
}

DEVICE int32_t shfl_i32(int32_t v, int lane)
{
    return (int32_t)shfl_u32((uint32_t)v, lane);
}

DEVICE float shfl_f32(float v, int lane)
{
    return fmath_float_of_bits(shfl_u32(fmath_bits_of_float(v), lane));
}

DEVICE int count_bits(uint32_t x)
{
    return __builtin_popcount(x);
}

DEVICE uint32_t warp_ballot(bool vote)
{
    struct emulated_lane *lanes = emulated_exchange();
    uint32_t all = 0;
    lanes[emulated_lane_index()].word[0] = vote;
    emulated_warp_barrier();
    for (int i = 0; i < 32; i++)
        all |= lanes[i].word[0] << i;
    return all;
}

DEVICE void mma_s8(int32_t d[4], const uint32_t a[4], const uint32_t b[2], const int32_t c[4])
{
    emulated_mma_s8(d, a, b, c);
}

DEVICE uint32_t prmt(uint32_t a, uint32_t b, uint32_t selector)
{
    uint64_t bytes = (uint64_t)b << 32 | a;
    uint32_t d = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t choice = selector >> 4 * i & 15, byte = (uint32_t)(bytes >> 8 * (choice & 7)) & 255;
        if (choice & 8)
            byte = byte & 128 ? 255 : 0;
        d |= byte << 8 * i;
    }
    return d;
}

DEVICE float fma_rn(float a, float b, float c)
{
    return fmaf(a, b, c);
}

DEVICE float mul_rn(float a, float b)
{
    return a * b;
}

DEVICE float add_rn(float a, float b)
{
    return a + b;
}

DEVICE float sub_rn(float a, float b)
{
    return a - b;
}

DEVICE float div_rn(float a, float b)
{
    return a / b;
}

DEVICE float sqrt_rn(float a)
{
    return sqrtf(a);
}

DEVICE float f16_value(uint16_t h)
{
    return fmath_f16_to_f32(h);
}

DEVICE float2 half_pair(uint32_t halves)
{
    return {fmath_f16_to_f32((uint16_t)halves), fmath_f16_to_f32((uint16_t)(halves >> 16))};
}

DEVICE uint4 load_16(const void *p)
{
    return *(const uint4 *)emulated_aligned(p, 16);
}

DEVICE uint2 load_8(const void *p)
{
    return *(const uint2 *)emulated_aligned(p, 8);
}

DEVICE float4 read_16(const void *shared)
{
    return *(const float4 *)emulated_aligned(shared, 16);
}

DEVICE void copy_async_16(void *shared, const void *global)
{
    emulated_copy_async(emulated_aligned(shared, 16), emulated_aligned(global, 16));
}

DEVICE void copy_async_commit(void)
{
    emulated_copy_commit();
}

template <int N> DEVICE void copy_async_wait(void)
{
    emulated_copy_wait(N);
}

DEVICE void wait_for_previous(void)
{
    emulated_wait_for_previous();
}

DEVICE void let_next_start(void)
{
}

DEVICE int32_t atomic_add_i32(int32_t *p, int32_t v)
{
    int32_t before = *p;
    *p = before + v;
    return before;
}

DEVICE uint32_t atomic_add_u32(uint32_t *p, uint32_t v)
{
    uint32_t before = *p;
    *p = before + v;
    return before;
}

DEVICE void fence_device(void)
{
}

#endif
