#include "cpu/peak.h"

enum { CHAINS = 4 /* enough to hide the latency */, REPEATS = 64, TILE_PRODUCTS = 16 * 16 * 64, TILE_BYTES = 64 };

#define TILE_MULTIPLY(c) __asm__ volatile("tdpbssd %%tmm7, %%tmm6, %%tmm" #c ::)
#define TILE_ZERO(c) __asm__ volatile("tilezero %%tmm" #c ::)

/* Whole tiles, which hold two blocks of inputs; zeros are as slow as any. */
static int64_t amx_multiply(int64_t rounds)
{
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shape = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        shape.row_bytes[i] = TILE_BYTES;
        shape.rows[i] = 16;
    }
    __asm__ volatile("ldtilecfg %0" ::"m"(shape));
    TILE_ZERO(0);
    TILE_ZERO(1);
    TILE_ZERO(2);
    TILE_ZERO(3);
    TILE_ZERO(6);
    TILE_ZERO(7);
    for (int64_t r = 0; r < rounds * REPEATS; r++) {
        TILE_MULTIPLY(0);
        TILE_MULTIPLY(1);
        TILE_MULTIPLY(2);
        TILE_MULTIPLY(3);
    }
    __asm__ volatile("tilerelease");
    return rounds * REPEATS * CHAINS * TILE_PRODUCTS;
}

const struct peak amx_peak = {.name = "amx", .multiply = amx_multiply, .read = peak_read_avx512};
