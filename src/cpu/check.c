#include "cpu/check.h"

#include <stdlib.h>
#include <string.h>

#include "base/fmath.h"
#include "base/random.h"
#include "weights/tile.h"

/* Sizes with a remainder wherever a kernel may work in larger steps: 35 blocks are two segments and three blocks. */
enum {
    BLOCKS = 35,
    COLS = BLOCKS * BLOCK,
    GROUPS = 3,
    ROWS = GROUPS * TILE_ROWS,
    COLUMNS = 45, /* some tables have kernels for many columns only */
    HEAD_DIM = 96,
    HEADS = 5,
    FIRST_KEY = 21,
    LAST_KEY = 250,
    SLOTS = 4,
    FLOATS = COLUMNS * COLS,
    OUTPUTS = 1 << 16, /* floats; more than any kernel writes here */
};

struct inputs {
    float x[FLOATS], gain[FLOATS];
    _Alignas(64) uint8_t quants[ROWS * COLS * sizeof(float)];
    _Alignas(64) uint8_t scales_mxfp4[ROWS * BLOCKS];
    _Alignas(64) uint16_t scales_q8[ROWS * BLOCKS];
    _Alignas(64) uint16_t half[KEY_CHUNK * HEAD_DIM];
    _Alignas(64) uint16_t bf16[ROWS * COLS];
};

static float random_float(uint64_t seed, uint64_t index)
{
    return (float)(random_uniform(seed, index, 0) * 16 - 8);
}

static void inputs_fill(struct inputs *in, uint64_t seed)
{
    uint32_t words[4];
    for (int i = 0; i < FLOATS; i++) {
        in->x[i] = random_float(seed, (uint64_t)i);
        in->gain[i] = random_float(seed + 1, (uint64_t)i);
    }
    for (size_t i = 0; i < sizeof in->quants; i += sizeof words) {
        random_words(seed + 2, i, 0, words);
        memcpy(in->quants + i, words, sizeof words);
    }
    for (size_t i = 0; i < sizeof in->quants; i++)
        in->quants[i] = in->quants[i] == 0x80 ? 0x81 : in->quants[i]; /* Q8_0 has no -128 */
    for (int i = 0; i < ROWS * BLOCKS; i++) {
        in->scales_mxfp4[i] = (uint8_t)(112 + in->quants[i] % 24);
        in->scales_q8[i] = f32_to_f16(in->x[i] / 512);
    }
    for (int i = 0; i < KEY_CHUNK * HEAD_DIM; i++)
        in->half[i] = f32_to_f16(random_float(seed + 3, (uint64_t)i));
    for (int i = 0; i < ROWS * COLS; i++)
        in->bf16[i] = f32_to_bf16(random_float(seed + 4, (uint64_t)i));
}

/* A panel of n columns that lies in the outputs. */
static struct panel panel_make(const struct kernels *kernels, const struct inputs *in, int n, float *out)
{
    struct panel panel = {.n = n, .cols = COLS, .scale = out, .x = (float *)in->x};
    panel.offset = (int32_t *)(out + BLOCKS * COLUMNS);
    panel.q = (int8_t *)(out + 2 * BLOCKS * COLUMNS);
    for (int column = 0; column < n; column++)
        kernels->quantise(in->x + column * COLS, BLOCKS, &panel, 0, column);
    return panel;
}

static void run_quantise(const struct kernels *kernels, const struct inputs *in, float *out)
{
    (void)panel_make(kernels, in, COLUMNS, out);
}

/* One column has a path of its own in most tables. */
static void product(const struct kernels *kernels, product_fn *run, const struct inputs *in, const void *quants,
                    const void *scales, float *out)
{
    struct slab slab = {.quants = quants, .scales = scales, .groups = GROUPS, .cols = COLS};
    struct panel panel = panel_make(kernels, in, COLUMNS, out + ROWS * (COLUMNS + 1));
    run(&slab, &panel, out);
    panel = panel_make(kernels, in, 1, out + ROWS * (COLUMNS + 1));
    run(&slab, &panel, out + ROWS * COLUMNS);
}

static void run_mxfp4(const struct kernels *kernels, const struct inputs *in, float *out)
{
    product(kernels, kernels->product_mxfp4, in, in->quants, in->scales_mxfp4, out);
}

static void run_q8(const struct kernels *kernels, const struct inputs *in, float *out)
{
    product(kernels, kernels->product_q8, in, in->quants, in->scales_q8, out);
}

static void run_bf16(const struct kernels *kernels, const struct inputs *in, float *out)
{
    product(kernels, kernels->product_bf16, in, in->bf16, NULL, out);
}

static void run_f32(const struct kernels *kernels, const struct inputs *in, float *out)
{
    struct slab slab = {.quants = (const uint8_t *)in->gain, .groups = 1, .cols = FLOATS / TILE_ROWS / BLOCK * BLOCK};
    struct panel panel = {.n = 2, .cols = slab.cols, .x = (float *)in->x};
    kernels->product_f32(&slab, &panel, out);
    panel.n = 1;
    kernels->product_f32(&slab, &panel, out + OUTPUTS / 2);
}

static void run_rms_norm(const struct kernels *kernels, const struct inputs *in, float *out)
{
    kernels->rms_norm(in->x, in->gain, COLS, 1e-5f, out);
}

static void run_rotate(const struct kernels *kernels, const struct inputs *in, float *out)
{
    memcpy(out, in->x, HEAD_DIM * sizeof *out);
    kernels->rotate(out, in->gain, in->gain + HEAD_DIM, HEAD_DIM / 2);
}

static void run_to_f16(const struct kernels *kernels, const struct inputs *in, float *out)
{
    kernels->to_f16(in->x, COLS, (uint16_t *)out);
}

static void run_attention(const struct kernels *kernels, const struct inputs *in, float *out)
{
    const uint16_t *tile[KEY_TILES];
    float max[HEADS], sum[HEADS];
    for (int i = 0; i < KEY_TILES; i++)
        tile[i] = in->half + i * KEY_TILE * HEAD_DIM;
    kernels->scores(in->x, HEADS, HEAD_DIM, tile, FIRST_KEY / KEY_TILE, KEY_TILES, 0.125f, in->half, out);
    for (int i = 0; i < HEADS; i++)
        kernels->softmax(out + i * KEY_CHUNK, FIRST_KEY, LAST_KEY, &max[i], &sum[i]);
    kernels->values(out, HEADS, tile, FIRST_KEY, LAST_KEY, HEAD_DIM, in->half, out + HEADS * KEY_CHUNK);
    out += HEADS * (KEY_CHUNK + HEAD_DIM);
    memcpy(out, max, sizeof max);
    memcpy(out + HEADS, sum, sizeof sum);
}

static void run_merge(const struct kernels *kernels, const struct inputs *in, float *out)
{
    memcpy(out, in->x, HEAD_DIM * sizeof *out);
    kernels->merge(out, in->gain, 0.75f, 0.3f, HEAD_DIM);
}

static void run_divide(const struct kernels *kernels, const struct inputs *in, float *out)
{
    kernels->divide(in->x, 3.7f, HEAD_DIM, out);
}

static void run_swiglu(const struct kernels *kernels, const struct inputs *in, float *out)
{
    kernels->swiglu(in->x, in->gain, COLUMNS, 7, out);
}

static void run_combine(const struct kernels *kernels, const struct inputs *in, float *out)
{
    const float *expert[SLOTS];
    for (int i = 0; i < SLOTS; i++)
        expert[i] = in->x + i * COLS;
    memcpy(out, in->x + SLOTS * COLS, COLS * sizeof *out);
    kernels->combine(out, expert, in->gain, SLOTS, COLS);
}

static const struct {
    const char *name;
    void (*run)(const struct kernels *kernels, const struct inputs *in, float *out);
} checks[] = {
    {"quantise", run_quantise}, {"product_mxfp4", run_mxfp4}, {"product_q8", run_q8},
    {"product_bf16", run_bf16}, {"product_f32", run_f32},     {"rms_norm", run_rms_norm},
    {"rotate", run_rotate},     {"to_f16", run_to_f16},       {"scores, softmax or values", run_attention},
    {"merge", run_merge},       {"divide", run_divide},       {"swiglu", run_swiglu},
    {"combine", run_combine},
};

goss_status kernels_check(const struct kernels *kernels, uint64_t seed, const char **differs, goss_error *error)
{
    size_t in_bytes = (sizeof(struct inputs) + 63) / 64 * 64, out_bytes = OUTPUTS * sizeof(float);
    struct inputs *in = aligned_alloc(64, in_bytes);
    float *expected = aligned_alloc(64, out_bytes), *found = aligned_alloc(64, out_bytes);
    goss_status status = GOSS_OK;
    *differs = NULL;
    if (!in || !expected || !found) {
        status = error_memory(error, in_bytes + 2 * out_bytes, "checking kernels");
    } else {
        inputs_fill(in, seed);
        for (size_t i = 0; !*differs && i < sizeof checks / sizeof *checks; i++) {
            memset(expected, 0, out_bytes);
            memset(found, 0, out_bytes);
            checks[i].run(&scalar_kernels, in, expected);
            checks[i].run(kernels, in, found);
            if (memcmp(expected, found, out_bytes) != 0)
                *differs = checks[i].name;
        }
    }
    free(in);
    free(expected);
    free(found);
    return status;
}
