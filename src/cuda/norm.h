/* The norm of a row and its rounding to int8, for the kernels that need them at their beginning. docs/arithmetic.md. */
#ifndef CUDA_NORM_H
#define CUDA_NORM_H

#include "cuda/state.h"

/* 1 / sqrt(mean square + eps) of x [n], by all lanes of a warp. The definition's 16 lanes are the warp's first 16; the
 * others do the same once more. */
DEVICE float rms_factor(const float *x, int n, float eps)
{
    float sum = 0.0f;
#pragma unroll 8
    for (int i = (int)threadIdx.x % LANES; i < n; i += LANES)
        sum = fma_rn(x[i], x[i], sum);
    for (int half = LANES / 2; half > 0; half /= 2)
        sum = add_rn(sum, shfl_xor_f32(sum, half));
    return div_rn(1.0f, sqrt_rn(add_rn(div_rn(sum, (float)n), eps)));
}

/* Rounds a block: eight neighbouring lanes hold four neighbouring inputs each. Returns the block's scale, and in *word
 * the lane's four quants. */
DEVICE float quantise_word(const float4 x, uint32_t *word)
{
    const float value[4] = {x.x, x.y, x.z, x.w};
    uint32_t bits = 0;
    for (int i = 0; i < 4; i++)
        bits = max(bits, float_bits(value[i]) & 0x7FFFFFFFu);
    for (int mask = 1; mask < 8; mask *= 2)
        bits = max(bits, shfl_xor_u32(bits, mask));
    float amax = bits_float(bits), scale = 0.0f, inverse = 0.0f;
    if (bits > 0x7F7FFFFFu) { /* infinite or no number */
        scale = bits_float(0x7FC00000u);
    } else if (amax >= 0x1p-120f) {
        scale = div_rn(amax, 127.0f);
        inverse = div_rn(127.0f, amax);
    }
    *word = 0;
    for (int i = 0; i < 4; i++) { /* the sum with 1.5 * 2^23 rounds to a whole number, which is in its lowest bits */
        uint32_t rounded = float_bits(add_rn(mul_rn(value[i], inverse), 12582912.0f)) & 255u;
        *word |= (inverse > 0.0f ? rounded : 0u) << 8 * i;
    }
    return scale;
}

/* Where the tensor cores want the words of a block (device.h, upload.cu): of lane j of eight, which holds inputs 4j ..,
 * the word to store and its place. A lane of a product reads two neighbouring words. Q8: words 0 4 1 5 2 6 3 7. MXFP4:
 * within every two words the inputs 0 4 1 5 2 6 3 7. */
DEVICE uint32_t panel_word(uint32_t word, int j, bool mxfp4, int *place)
{
    uint32_t other = shfl_xor_u32(word, 1);
    *place = mxfp4 ? j : (j & 3) * 2 + (j >> 2);
    if (!mxfp4)
        return word;
    return j & 1 ? prmt(word, other, 0x3726) : prmt(word, other, 0x5140);
}

/* Where a panel's column lies: its quants block by block, its scales. */
struct panel_column {
    int8_t *q;
    float *scale;
    int block_bytes, scale_step; /* from one block to the next */
    int32_t *unfolded;           /* NULL, or set to 1 if a scale is out of the range of FOLD_.. */
};

/* Rounds x [cols], or (x * factor) * gain if there is a gain, into a column, by all threads of a CTA. normed: NULL, or
 * where the normed values go, too. */
DEVICE void quantise_row(const float *x, const float *gain, float factor, int cols, bool mxfp4,
                         const struct panel_column &column, float *normed)
{
    int words = cols / 4;
    for (int base = 0; base < words; base += (int)blockDim.x) {
        int i = base + (int)threadIdx.x, place;
        float4 v = {0.0f, 0.0f, 0.0f, 0.0f};
        uint32_t word;
        if (i < words)
            v = reinterpret_cast<const float4 *>(x)[i];
        if (i < words && gain) {
            float4 weight = reinterpret_cast<const float4 *>(gain)[i];
            v.x = mul_rn(mul_rn(v.x, factor), weight.x);
            v.y = mul_rn(mul_rn(v.y, factor), weight.y);
            v.z = mul_rn(mul_rn(v.z, factor), weight.z);
            v.w = mul_rn(mul_rn(v.w, factor), weight.w);
        }
        if (i < words && normed)
            reinterpret_cast<float4 *>(normed)[i] = v;
        if (!column.q)
            continue;
        float scale = quantise_word(v, &word);
        word = panel_word(word, i % 8, mxfp4, &place);
        if (i < words) {
            reinterpret_cast<uint32_t *>(column.q + (size_t)(i / 8) * column.block_bytes)[place] = word;
            if (i % 8 == 0)
                column.scale[(size_t)(i / 8) * column.scale_step] = scale;
            if (column.unfolded && scale != 0.0f && !(scale >= FOLD_LEAST_SCALE && scale <= FOLD_MOST_SCALE))
                *column.unfolded = 1;
        }
    }
}

#endif
