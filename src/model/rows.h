/* Source rows made ready for a tile: found, checked and converted. Private to the packer. */
#ifndef MODEL_ROWS_H
#define MODEL_ROWS_H

#include "model/bind.h"
#include "weights/tile.h"

/* The row of an operand that a section's row comes from. */
struct source_row {
    const struct operand *operand;
    const struct tensor *tensor; /* the one that holds the row */
    uint64_t expert, row, cols;
    bool sinks;
};
struct source_row source_row(const struct recipe *recipe, uint64_t expert, uint64_t row);

/* Bytes of one matrix of an operand. */
uint64_t operand_bytes(const struct recipe *recipe, const struct operand *operand);
/* Where matrix `expert` of an operand begins. */
const uint8_t *operand_data(const struct operand *operand, uint64_t expert, uint64_t bytes);

/* Each refuses what may not be packed, naming tensor, expert and row. x holds cols elements; *out points into the
 * mapped file where it holds the row just so, else to x. */
goss_status row_f32(const struct source_row *row, float *x, goss_error *error);
goss_status row_bf16(const struct source_row *row, float *x, uint16_t *y, const uint8_t **out, goss_error *error);
goss_status row_q8(const struct source_row *row, float *x, uint8_t *y, const uint8_t **out, goss_error *error);
/* MXFP4 is never converted: *block and *scale point to the row's first ones, *layout tells the steps. */
goss_status row_mxfp4(const struct source_row *row, const uint8_t **block, const uint8_t **scale,
                      struct mxfp4_layout *layout, goss_error *error);

#endif
