#include "model/rows.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/fmath.h"

enum { MXFP4_MOST_SCALE = 253 };

/* A row of a gate_up section as its number among all gate rows, then all up rows. */
static uint64_t halves_row(uint64_t row, uint64_t rows)
{
    uint64_t group = row / TILE_ROWS, up = group % 2;
    return up * (rows / 2) + group / 2 * TILE_ROWS + row % TILE_ROWS;
}

struct source_row source_row(const struct recipe *recipe, uint64_t expert, uint64_t row)
{
    const struct packed_section *s = recipe->section;
    if (recipe->order != ROWS_PLAIN) {
        row = halves_row(row, s->rows);
        if (recipe->order == ROWS_INTERLEAVED)
            row = row < s->rows / 2 ? 2 * row : 2 * (row - s->rows / 2) + 1;
    }
    const struct operand *o = recipe->operand;
    while (row >= o->rows)
        row -= o++->rows;
    return (struct source_row){o, o->each ? o->each[expert] : o->tensor, expert, row, s->cols, recipe->sinks};
}

uint64_t operand_bytes(const struct recipe *recipe, const struct operand *operand)
{
    return operand->each ? operand->each[0]->bytes : operand->tensor->bytes / recipe->section->count;
}

const uint8_t *operand_data(const struct operand *operand, uint64_t expert, uint64_t bytes)
{
    return operand->each ? operand->each[expert]->data : operand->tensor->data + expert * bytes;
}

/* Where the row's first element is, and the bytes from one to the next. */
static const uint8_t *first_element(const struct source_row *r, uint64_t *step)
{
    const struct operand *o = r->operand;
    uint64_t size = dtype_bytes(r->tensor->type, 1), matrix = o->each ? 0 : r->expert * o->rows * r->cols;
    *step = o->transposed ? o->rows * size : size;
    return r->tensor->data + (matrix + (o->transposed ? r->row : r->row * r->cols)) * size;
}

static goss_status refuse(const struct source_row *r, const char *what, uint64_t col, goss_error *error)
{
    return error_set(error, GOSS_E_FORMAT, "%s: tensor '%s': expert %llu, row %llu, column %llu: %s", r->tensor->file,
                     r->tensor->name, (unsigned long long)r->expert, (unsigned long long)r->row,
                     (unsigned long long)col, what);
}

/* The largest magnitude by bits: infinity and NaN are the largest. */
static bool all_finite(const float *x, uint64_t n)
{
    uint32_t most = 0;
    for (uint64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    return most < 0x7f800000;
}

static goss_status check_finite(const struct source_row *r, float *x, goss_error *error)
{
    if (all_finite(x, r->cols))
        return GOSS_OK;
    for (uint64_t i = 0; i < r->cols; i++) {
        if (r->sinks && isinf(x[i]) && x[i] < 0)
            x[i] = -FLT_MAX;
        else if (!isfinite(x[i]))
            return refuse(r, isnan(x[i]) ? "NaN" : "infinity", i, error);
    }
    return GOSS_OK;
}

goss_status row_f32(const struct source_row *r, float *x, goss_error *error)
{
    uint64_t step;
    const uint8_t *from = first_element(r, &step);
    if (r->tensor->type == DTYPE_F32) {
        for (uint64_t i = 0; i < r->cols; i++)
            memcpy(&x[i], from + i * step, sizeof *x);
    } else if (r->tensor->type == DTYPE_BF16 && step == sizeof(uint16_t)) { /* the common case, as vector code */
        for (uint64_t i = 0; i < r->cols; i++) {
            uint16_t half;
            memcpy(&half, from + i * sizeof half, sizeof half);
            uint32_t bits = (uint32_t)half << 16;
            memcpy(&x[i], &bits, sizeof bits);
        }
    } else {
        for (uint64_t i = 0; i < r->cols; i++) {
            uint16_t half;
            memcpy(&half, from + i * step, sizeof half);
            x[i] = r->tensor->type == DTYPE_BF16 ? bf16_to_f32(half) : f16_to_f32(half);
        }
    }
    return check_finite(r, x, error);
}

goss_status row_bf16(const struct source_row *r, float *x, uint16_t *y, const uint8_t **out, goss_error *error)
{
    uint64_t step;
    goss_status status = row_f32(r, x, error);
    if (status)
        return status;
    *out = first_element(r, &step);
    if (r->tensor->type == DTYPE_BF16 && step == sizeof *y)
        return GOSS_OK;
    for (uint64_t i = 0; i < r->cols; i++) {
        y[i] = f32_to_bf16(x[i]);
        if ((y[i] & 0x7f80) == 0x7f80)
            return refuse(r, "too large for bf16", i, error);
    }
    *out = (const uint8_t *)y;
    return GOSS_OK;
}

/* The scales must be finite numbers; every byte is a quant. */
static goss_status check_q8(const struct source_row *r, const uint8_t *blocks, goss_error *error)
{
    for (uint64_t i = 0; i < r->cols; i += TILE_COLS) {
        uint16_t d;
        memcpy(&d, blocks + i / TILE_COLS * Q8_0_BYTES, sizeof d);
        if ((d & 0x7c00) == 0x7c00)
            return refuse(r, "a Q8_0 scale that is no finite number", i, error);
    }
    return GOSS_OK;
}

goss_status row_q8(const struct source_row *r, float *x, uint8_t *y, const uint8_t **out, goss_error *error)
{
    if (r->tensor->type == DTYPE_Q8_0) {
        uint64_t row_bytes = r->cols / TILE_COLS * Q8_0_BYTES;
        *out = r->tensor->data + ((r->operand->each ? 0 : r->expert * r->operand->rows) + r->row) * row_bytes;
        return check_q8(r, *out, error);
    }
    goss_status status = row_f32(r, x, error);
    if (status)
        return status;
    for (uint64_t i = 0; i < r->cols; i += TILE_COLS) {
        uint8_t *block = y + i / TILE_COLS * Q8_0_BYTES;
        uint16_t d;
        q8_0_block(x + i, block);
        memcpy(&d, block, sizeof d);
        if (d == 0x7bff) /* where q8_0_block saturates: real weights are nowhere near */
            return refuse(r, "too large for Q8_0", i, error);
    }
    *out = y;
    return GOSS_OK;
}

goss_status row_mxfp4(const struct source_row *r, const uint8_t **block, const uint8_t **scale,
                      struct mxfp4_layout *layout, goss_error *error)
{
    const struct operand *o = r->operand;
    uint64_t blocks = r->cols / TILE_COLS, first = (r->expert * o->rows + r->row) * blocks;
    if (o->scales) {
        *layout = (struct mxfp4_layout){NIBBLES_PAIRS, 16, 1};
        *block = o->tensor->data + first * 16;
        *scale = o->scales->data + first;
    } else {
        *layout = (struct mxfp4_layout){o->tensor->type == DTYPE_MXFP4_GGML ? NIBBLES_HALVES : NIBBLES_PAIRS, 17, 17};
        *scale = o->tensor->data + first * 17;
        *block = *scale + 1;
    }
    uint8_t most = 0;
    for (uint64_t k = 0; k < blocks; k++) {
        uint8_t s = (*scale)[k * layout->scale_stride];
        most = s > most ? s : most;
    }
    if (most <= MXFP4_MOST_SCALE)
        return GOSS_OK;
    struct source_row at = *r;
    at.tensor = o->scales ? o->scales : o->tensor;
    for (uint64_t k = 0; k < blocks; k++)
        if ((*scale)[k * layout->scale_stride] == most)
            return refuse(&at, most == 255 ? "MXFP4 scale 255 (NaN)" : "MXFP4 scale 254 (past the range of bf16)",
                          k * TILE_COLS, error);
    return GOSS_OK;
}
