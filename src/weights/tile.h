/* How gossamer's packed file lays out a matrix, and how to lay one out. Shared by the packer and by every kernel.
 *
 * A matrix has `rows` outputs and `cols` inputs (y = W x), cols a multiple of 32. Rows go in groups of 16, inputs in
 * blocks of 32: groups = ceil(rows/16), blocks = cols/32. Rows past the end of the last group are zero.
 *
 *   TILE_MXFP4  quants uint8 [groups][blocks][4][64]; line j, byte 4r+i: low nibble  = row r, input 8j+i
 *                                                                      high nibble = row r, input 8j+4+i
 *               scales uint8 [groups][blocks][16]: e8m0 exponent, value = e2m1 * 2^(scale-127); 0..253 only
 *   TILE_Q8     quants int8  [groups][blocks][8][64]; line j, byte 4r+i = row r, input 4j+i
 *               scales f16   [groups][blocks][16]
 *   TILE_BF16   quants bf16  [groups][cols][16]; scales none
 *   TILE_F32    quants f32   [groups][cols][16]; scales none
 *
 * So 64 bytes hold 16 rows x 4 consecutive inputs: one vpdpbusd, dp4a, sdot or AMX row. The quants plane comes first,
 * the scales plane directly after it (both multiples of 16 bytes). A stack of E experts is E such matrices, each
 * `tile_bytes` long, one after the other.
 *
 * gate_up: the rows of an expert's first matrix are ordered in groups, gate rows 0..15, up rows 0..15, gate 16..31, ..
 * so that a kernel holds a gate and its up in the same lane. Needs the intermediate size to be a multiple of 16 (it is
 * one of 32). Its bias is ordered alike.
 *
 * DTYPE_Q8_0 (the embedding table) stays row-major: 34 bytes per block of 32, f16 scale first. */
#ifndef WEIGHTS_TILE_H
#define WEIGHTS_TILE_H

#include <stddef.h>
#include <stdint.h>

#include "weights/dtype.h"

enum { TILE_ROWS = 16, TILE_COLS = 32, TILE_MXFP4_BLOCK = 256, TILE_Q8_BLOCK = 512 };

/* Bytes of the quants plane and of the scales plane of one rows x cols matrix; 0 if type is no tile type or the
 * product overflows. */
uint64_t tile_quant_bytes(enum dtype type, uint64_t rows, uint64_t cols);
uint64_t tile_scale_bytes(enum dtype type, uint64_t rows, uint64_t cols);
uint64_t tile_bytes(enum dtype type, uint64_t rows, uint64_t cols);

/* Rounds one block of 32 finite floats to int8 by the rule of ggml's Q8_0: d = max|x|/127 in f32, q = x * (1/d)
 * rounded half away from zero, d stored as f16 (little-endian bytes, then the 32 quants). d beyond 65504 saturates. */
enum { Q8_0_BYTES = 34 };
void q8_0_block(const float x[TILE_COLS], uint8_t block[Q8_0_BYTES]);

/* How the 16 bytes of an MXFP4 block hold its 32 codes: byte b has elements 2b and 2b+1 (safetensors, Ollama), or
 * b and b+16 (ggml); the lower one in the low nibble. */
enum nibbles { NIBBLES_PAIRS, NIBBLES_HALVES };

/* Where the rows of an MXFP4 matrix lie: block k of a row is at row + k * block_stride, its scale at
 * scale + k * scale_stride. */
struct mxfp4_layout {
    enum nibbles nibbles;
    uint32_t block_stride, scale_stride; /* bytes: 16 and 1 in safetensors, 17 and 17 in GGUF */
};

/* Each writes one row group of a tile matrix. row[r] points to the source row of lane r, or is NULL for a zero row.
 * quants points at the group's first byte in the quants plane, scales at its first byte in the scales plane. Source
 * rows need no alignment. */
void tile_group_mxfp4(uint8_t *quants, uint8_t *scales, uint64_t blocks, const struct mxfp4_layout *layout,
                      const uint8_t *const row[TILE_ROWS], const uint8_t *const scale[TILE_ROWS]);
void tile_group_q8(uint8_t *quants, uint8_t *scales, uint64_t blocks, const uint8_t *const row[TILE_ROWS]); /* Q8_0 */
void tile_group_bf16(uint8_t *quants, uint64_t cols, const uint8_t *const row[TILE_ROWS]);
void tile_group_f32(uint8_t *quants, uint64_t cols, const uint8_t *const row[TILE_ROWS]);

#endif
