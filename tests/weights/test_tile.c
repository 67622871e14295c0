#include <math.h>
#include <string.h>

#include "base/fmath.h"
#include "base/random.h"
#include "support/test.h"
#include "weights/tile.h"

enum { ROWS = 13, COLS = 96, BLOCKS = COLS / TILE_COLS }; /* a last group that is not full */

static uint8_t noise[ROWS * COLS * 4];

static int fill_noise(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof noise; i += 16) {
        uint32_t w[4];
        random_words(1, i, 0, w);
        memcpy(noise + i, w, sizeof w);
    }
    return 0;
}

static void types_have_names_and_sizes(void **state)
{
    (void)state;
    assert_int_equal(dtype_named("BF16"), DTYPE_BF16);
    assert_int_equal(dtype_named("TILE_F32"), DTYPE_TILE_F32);
    assert_int_equal(dtype_named("F8"), DTYPE_NONE);
    assert_string_equal(dtype_name((enum dtype)99), "unknown");
    assert_int_equal(dtype_bytes(DTYPE_Q8_0, 64), 68);
    assert_int_equal(dtype_bytes(DTYPE_MXFP4_GGML, 64), 34);
    assert_int_equal(dtype_bytes(DTYPE_Q8_0, 33), 0);
    assert_int_equal(dtype_bytes(DTYPE_F32, UINT64_MAX / 2), 0);
}

static void tile_sizes_follow_the_layout(void **state)
{
    (void)state;
    assert_int_equal(tile_quant_bytes(DTYPE_TILE_MXFP4, 17, 64), 2 * 2 * 256);
    assert_int_equal(tile_scale_bytes(DTYPE_TILE_MXFP4, 17, 64), 2 * 2 * 16);
    assert_int_equal(tile_quant_bytes(DTYPE_TILE_Q8, 16, 64), 2 * 512);
    assert_int_equal(tile_scale_bytes(DTYPE_TILE_Q8, 16, 64), 2 * 32);
    assert_int_equal(tile_bytes(DTYPE_TILE_BF16, 1, 32), 32 * 16 * 2);
    assert_int_equal(tile_bytes(DTYPE_TILE_F32, 1, 32), 32 * 16 * 4);
    assert_int_equal(tile_bytes(DTYPE_TILE_Q8, 16, 33), 0);
    assert_int_equal(tile_bytes(DTYPE_TILE_F32, UINT64_MAX, UINT64_MAX - 31), 0);
    assert_int_equal(tile_bytes(DTYPE_BF16, 16, 32), 0);
}

/* The code of (row, column) read from a tile by the words of tile.h. */
static int mxfp4_code(const uint8_t *quants, int row, int col)
{
    int line = col % 32 / 8, high = col % 8 / 4, i = col % 4;
    uint8_t byte = quants[col / 32 * TILE_MXFP4_BLOCK + line * 64 + 4 * row + i];
    return high ? byte >> 4 : byte & 15;
}

static void mxfp4_tiles_hold_every_code_from_both_nibble_orders(void **state)
{
    (void)state;
    uint8_t pairs[ROWS][BLOCKS * 16], exponents[ROWS][BLOCKS], halves[ROWS][BLOCKS * 17];
    uint8_t a[BLOCKS * TILE_MXFP4_BLOCK], b[sizeof a], sa[BLOCKS * TILE_ROWS], sb[sizeof sa];
    const uint8_t *row[TILE_ROWS] = {0}, *scale[TILE_ROWS] = {0};
    memcpy(pairs, noise, sizeof pairs);
    memcpy(exponents, noise + sizeof pairs, sizeof exponents);
    for (int r = 0; r < ROWS; r++) {
        row[r] = pairs[r];
        scale[r] = exponents[r];
    }
    tile_group_mxfp4(a, sa, BLOCKS, &(struct mxfp4_layout){NIBBLES_PAIRS, 16, 1}, row, scale);
    for (int r = 0; r < TILE_ROWS; r++)
        for (int c = 0; c < COLS; c++) {
            int code = r < ROWS ? pairs[r][c / 2] >> (c % 2 ? 4 : 0) & 15 : 0;
            assert_int_equal(mxfp4_code(a, r, c), code);
            assert_int_equal(sa[c / 32 * TILE_ROWS + r], r < ROWS ? exponents[r][c / 32] : 0);
        }
    for (int r = 0; r < ROWS; r++) {
        for (int k = 0; k < BLOCKS; k++) {
            uint8_t *block = halves[r] + k * 17;
            block[0] = exponents[r][k];
            for (int j = 0; j < 16; j++)
                block[1 + j] =
                    (uint8_t)(mxfp4_code(a, r, k * 32 + j) | (unsigned)mxfp4_code(a, r, k * 32 + j + 16) << 4);
        }
        row[r] = halves[r] + 1;
        scale[r] = halves[r];
    }
    tile_group_mxfp4(b, sb, BLOCKS, &(struct mxfp4_layout){NIBBLES_HALVES, 17, 17}, row, scale);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_equal(sa, sb, sizeof sa);
}

/* hf_block_hex and gguf_block_qs_hex of model_math.json: one block in both published nibble orders. */
static void the_published_block_is_the_same_in_both_orders(void **state)
{
    (void)state;
    const uint8_t hf[16] = {0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe,
                            0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};
    const uint8_t gguf[16] = {0x10, 0x01, 0x32, 0x23, 0x54, 0x45, 0x76, 0x67,
                              0x98, 0x89, 0xba, 0xab, 0xdc, 0xcd, 0xfe, 0xef};
    const uint8_t *row[TILE_ROWS] = {hf}, *scale[TILE_ROWS] = {hf};
    uint8_t a[TILE_MXFP4_BLOCK], b[TILE_MXFP4_BLOCK], s[TILE_ROWS];
    tile_group_mxfp4(a, s, 1, &(struct mxfp4_layout){NIBBLES_PAIRS, 16, 1}, row, scale);
    row[0] = gguf;
    tile_group_mxfp4(b, s, 1, &(struct mxfp4_layout){NIBBLES_HALVES, 17, 17}, row, scale);
    assert_memory_equal(a, b, sizeof a);
    for (int c = 0; c < 16; c++)
        assert_int_equal(mxfp4_code(a, 0, c), c);
}

static void other_tiles_hold_every_element(void **state)
{
    (void)state;
    const uint8_t *row[TILE_ROWS] = {0};
    uint8_t q8[BLOCKS * TILE_Q8_BLOCK], scales[BLOCKS * TILE_ROWS * 2], half[COLS * TILE_ROWS * 2];
    uint8_t single[COLS * TILE_ROWS * 4];
    for (int r = 0; r < ROWS; r++)
        row[r] = noise + r * COLS * 4 + 1; /* odd addresses: sources need no alignment */
    row[ROWS - 1] = noise;
    tile_group_q8(q8, scales, BLOCKS, row);
    tile_group_bf16(half, COLS, row);
    tile_group_f32(single, COLS, row);
    for (int r = 0; r < TILE_ROWS; r++)
        for (int c = 0; c < COLS; c++) {
            const uint8_t *block = r < ROWS ? row[r] + c / 32 * Q8_0_BYTES : NULL;
            uint8_t zero[4] = {0};
            assert_int_equal(q8[c / 32 * TILE_Q8_BLOCK + c % 32 / 4 * 64 + 4 * r + c % 4],
                             block ? block[2 + c % 32] : 0);
            assert_memory_equal(scales + (c / 32 * TILE_ROWS + r) * 2, block ? block : zero, 2);
            assert_memory_equal(half + (c * TILE_ROWS + r) * 2, block ? row[r] + (ptrdiff_t)2 * c : zero, 2);
            assert_memory_equal(single + (c * TILE_ROWS + r) * 4, block ? row[r] + (ptrdiff_t)4 * c : zero, 4);
        }
}

static void q8_0_rounds_half_away_from_zero(void **state)
{
    (void)state;
    float x[TILE_COLS] = {127.0f, 0.5f, -0.5f, 1.5f, -2.5f, 0.49999997f, -0.49999997f, -126.5f};
    const int8_t expected[8] = {127, 1, -1, 2, -3, 0, 0, -127};
    uint8_t block[Q8_0_BYTES];
    q8_0_block(x, block);
    assert_memory_equal(block + 2, expected, sizeof expected);
    assert_int_equal(block[0] | block[1] << 8, 0x3c00); /* d = 1 */
}

static void q8_0_survives_the_extremes(void **state)
{
    (void)state;
    float x[TILE_COLS] = {0};
    uint8_t block[Q8_0_BYTES], zero[Q8_0_BYTES] = {0};
    q8_0_block(x, block);
    assert_memory_equal(block, zero, sizeof zero);
    x[3] = 1e-45f; /* d is zero */
    q8_0_block(x, block);
    assert_memory_equal(block, zero, sizeof zero);
    x[3] = 2e-38f; /* 1/d is infinite */
    q8_0_block(x, block);
    assert_memory_equal(block, zero, sizeof zero);
    x[3] = 3e38f; /* d is past f16 */
    q8_0_block(x, block);
    assert_int_equal(block[0] | block[1] << 8, 0x7bff);
    assert_int_equal(block[2 + 3], 127);
}

static void q8_0_agrees_with_the_rule_on_a_million_values(void **state)
{
    (void)state;
    for (uint64_t n = 0; n < 32768; n++) {
        float x[TILE_COLS], amax = 0;
        uint8_t block[Q8_0_BYTES];
        for (int i = 0; i < TILE_COLS; i++) {
            uint32_t w[4];
            random_words(2, n, (uint64_t)i, w);
            x[i] = bf16_to_f32((uint16_t)((w[0] & 0x807f) | (100 + w[1] % 40) << 7));
            amax = fabsf(x[i]) > amax ? fabsf(x[i]) : amax;
        }
        q8_0_block(x, block);
        float d = amax / 127.0f, inverse = 1.0f / d;
        assert_int_equal(block[0] | block[1] << 8, f32_to_f16(d));
        for (int i = 0; i < TILE_COLS; i++)
            assert_int_equal((int8_t)block[2 + i], (int)roundf(x[i] * inverse));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_have_names_and_sizes),
        cmocka_unit_test(tile_sizes_follow_the_layout),
        cmocka_unit_test(mxfp4_tiles_hold_every_code_from_both_nibble_orders),
        cmocka_unit_test(the_published_block_is_the_same_in_both_orders),
        cmocka_unit_test(other_tiles_hold_every_element),
        cmocka_unit_test(q8_0_rounds_half_away_from_zero),
        cmocka_unit_test(q8_0_survives_the_extremes),
        cmocka_unit_test(q8_0_agrees_with_the_rule_on_a_million_values),
    };
    return cmocka_run_group_tests(tests, fill_noise, NULL);
}
