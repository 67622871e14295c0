#include "weights/tile.h"

#include <string.h>

#include "base/fmath.h"

uint64_t tile_quant_bytes(enum dtype type, uint64_t rows, uint64_t cols)
{
    uint64_t bytes, groups = rows / TILE_ROWS + (rows % TILE_ROWS != 0);
    uint64_t per_group; /* bytes of one column of one group, times two */
    switch (type) {
    case DTYPE_TILE_MXFP4: per_group = TILE_ROWS; break;
    case DTYPE_TILE_Q8: per_group = 2 * TILE_ROWS; break;
    case DTYPE_TILE_BF16: per_group = 4 * TILE_ROWS; break;
    case DTYPE_TILE_F32: per_group = 8 * TILE_ROWS; break;
    default: return 0;
    }
    if (cols % TILE_COLS || __builtin_mul_overflow(groups, cols, &bytes) ||
        __builtin_mul_overflow(bytes, per_group, &bytes))
        return 0;
    return bytes / 2;
}

uint64_t tile_scale_bytes(enum dtype type, uint64_t rows, uint64_t cols)
{
    if (type != DTYPE_TILE_MXFP4 && type != DTYPE_TILE_Q8)
        return 0;
    uint64_t per_block = type == DTYPE_TILE_MXFP4 ? TILE_MXFP4_BLOCK : TILE_Q8_BLOCK;
    return tile_quant_bytes(type, rows, cols) / per_block * TILE_ROWS * (type == DTYPE_TILE_Q8 ? 2 : 1);
}

uint64_t tile_bytes(enum dtype type, uint64_t rows, uint64_t cols)
{
    uint64_t bytes;
    if (__builtin_add_overflow(tile_quant_bytes(type, rows, cols), tile_scale_bytes(type, rows, cols), &bytes))
        return 0;
    return bytes;
}

/* Written so that the compiler turns every loop into vector code. |t| <= 127.0001, so the conversion to int is exact
 * truncation and t - trunc(t) is exact: half away from zero, without roundf. */
void q8_0_block(const float x[TILE_COLS], uint8_t block[Q8_0_BYTES])
{
    uint32_t bits[TILE_COLS], most = 0;
    float amax;
    memcpy(bits, x, sizeof bits);
    for (int i = 0; i < TILE_COLS; i++) { /* of non-negative floats the larger has the larger bits */
        uint32_t magnitude = bits[i] & 0x7fffffff;
        most = magnitude > most ? magnitude : most;
    }
    memcpy(&amax, &most, sizeof amax);
    float d = amax / 127.0f;
    float inverse = d != 0.0f ? 1.0f / d : 0.0f;
    uint16_t d_f16 = f32_to_f16(d);
    memcpy(block, &d_f16, sizeof d_f16);
    if (!(inverse <= 3.4028234663852886e38f)) /* 1/d of a subnormal d: d is zero in f16 whatever q is */
        inverse = 0.0f;
    int8_t q[TILE_COLS];
    for (int i = 0; i < TILE_COLS; i++) {
        float t = x[i] * inverse;
        int32_t whole = (int32_t)t;
        float rest = t - (float)whole;
        q[i] = (int8_t)(whole + (rest >= 0.5f) - (rest <= -0.5f));
    }
    memcpy(block + sizeof d_f16, q, sizeof q);
}

static uint32_t load32(const uint8_t *bytes)
{
    uint32_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

/* Eight codes in the order 0 1 2 3 4 5 6 7 (low nibble first) to 0 4 1 5 2 6 3 7: the middle bytes change places, then
 * the middle nibbles of each half. */
static uint32_t shuffle_pairs(uint32_t w)
{
    w = (w & 0xff0000ff) | (w & 0x0000ff00) << 8 | (w & 0x00ff0000) >> 8;
    return (w & 0xf00ff00f) | (w & 0x00f000f0) << 4 | (w & 0x0f000f00) >> 4;
}

void tile_group_mxfp4(uint8_t *quants, uint8_t *scales, uint64_t blocks, const struct mxfp4_layout *layout,
                      const uint8_t *const row[TILE_ROWS], const uint8_t *const scale[TILE_ROWS])
{
    for (int r = 0; r < TILE_ROWS; r++) {
        const uint8_t *source = row[r], *exponent = scale[r];
        uint8_t *line = quants + (size_t)4 * r, *to = scales + r;
        for (uint64_t k = 0; k < blocks; k++, line += TILE_MXFP4_BLOCK, to += TILE_ROWS) {
            uint32_t w[4] = {0};
            if (source) {
                for (int j = 0; j < 4; j++)
                    w[j] = load32(source + (size_t)4 * j);
                source += layout->block_stride;
            }
            if (layout->nibbles == NIBBLES_PAIRS) {
                for (int j = 0; j < 4; j++)
                    w[j] = shuffle_pairs(w[j]);
            } else {
                uint32_t low = 0x0f0f0f0f, high = 0xf0f0f0f0, a = w[0], b = w[1], c = w[2], d = w[3];
                w[0] = (a & low) | (b & low) << 4;
                w[1] = (c & low) | (d & low) << 4;
                w[2] = (a & high) >> 4 | (b & high);
                w[3] = (c & high) >> 4 | (d & high);
            }
            for (int j = 0; j < 4; j++)
                memcpy(line + (size_t)64 * j, &w[j], sizeof w[j]);
            *to = 0;
            if (exponent) {
                *to = *exponent;
                exponent += layout->scale_stride;
            }
        }
    }
}

void tile_group_q8(uint8_t *quants, uint8_t *scales, uint64_t blocks, const uint8_t *const row[TILE_ROWS])
{
    static const uint8_t zero[Q8_0_BYTES];
    for (int r = 0; r < TILE_ROWS; r++) {
        const uint8_t *block = row[r] ? row[r] : zero;
        size_t step = row[r] ? Q8_0_BYTES : 0;
        uint8_t *line = quants + (size_t)4 * r, *to = scales + (size_t)2 * r;
        for (uint64_t k = 0; k < blocks; k++, line += TILE_Q8_BLOCK, to += 2 * TILE_ROWS, block += step) {
            memcpy(to, block, 2);
            for (int j = 0; j < 8; j++)
                memcpy(line + (size_t)64 * j, block + 2 + (size_t)4 * j, 4);
        }
    }
}

void tile_group_bf16(uint8_t *quants, uint64_t cols, const uint8_t *const row[TILE_ROWS])
{
    for (int r = 0; r < TILE_ROWS; r++)
        for (uint64_t c = 0; c < cols; c++) {
            uint16_t x = 0;
            if (row[r])
                memcpy(&x, row[r] + c * sizeof x, sizeof x);
            memcpy(quants + (c * TILE_ROWS + (uint64_t)r) * sizeof x, &x, sizeof x);
        }
}

void tile_group_f32(uint8_t *quants, uint64_t cols, const uint8_t *const row[TILE_ROWS])
{
    for (int r = 0; r < TILE_ROWS; r++)
        for (uint64_t c = 0; c < cols; c++) {
            uint32_t x = 0;
            if (row[r])
                memcpy(&x, row[r] + c * sizeof x, sizeof x);
            memcpy(quants + (c * TILE_ROWS + (uint64_t)r) * sizeof x, &x, sizeof x);
        }
}
