/* Products of float weights: every thread follows the definition for one row of each group of a pair and one column. */
#include "cuda/product.h"

enum { WIDTH = 16, THREADS = 256 /* a row each and a column each */ };

DEVICE float weight_at(const uint8_t *plane, size_t index, bool bf16)
{
    return bf16 ? fmath_bf16_to_f32(reinterpret_cast<const uint16_t *>(plane)[index])
                : reinterpret_cast<const float *>(plane)[index];
}

template <int FINISH> static __global__ void __launch_bounds__(THREADS) float_columns(const struct product p)
{
    wait_for_previous();
    let_next_start();
    struct column_tile tile = find_columns(p, (int)blockIdx.y, WIDTH);
    int r = (int)threadIdx.x % TILE_ROWS, column = (int)threadIdx.x / TILE_ROWS, pair = (int)blockIdx.x;
    if (column >= tile.n)
        return;
    const uint8_t *w = p.w.quants + (size_t)tile.expert * p.w.stride;
    const float *x = p.x + (size_t)source_row(p, tile.first + column) * p.w.cols;
    size_t low = (size_t)2 * pair * p.w.cols * TILE_ROWS + r;
    size_t high = (size_t)min(2 * pair + 1, group_count(p.w.rows) - 1) * p.w.cols * TILE_ROWS + r;
    float total[2] = {0.0f, 0.0f}, segment[2] = {0.0f, 0.0f};
    bool bf16 = p.w.type == DTYPE_TILE_BF16;
    for (int k = 0; k < p.w.cols; k++) {
        segment[0] = fma_rn(weight_at(w, low + (size_t)k * TILE_ROWS, bf16), x[k], segment[0]);
        segment[1] = fma_rn(weight_at(w, high + (size_t)k * TILE_ROWS, bf16), x[k], segment[1]);
        if ((k + 1) % SEGMENT != 0 && k + 1 != p.w.cols)
            continue;
        for (int i = 0; i < 2; i++) {
            total[i] = k < SEGMENT ? segment[i] : add_rn(total[i], segment[i]);
            segment[i] = 0.0f;
        }
    }
    struct heads none = {};
    finish<FINISH>(p, none, tile.expert, pair, r, tile.first + column, total[0], total[1]);
}

template <int FINISH> static void run(struct backend *b, const struct product &p)
{
    dim3 grid((unsigned)pair_count(p), (unsigned)most_tiles(p, WIDTH));
    run_kernel(b, grid, dim3(THREADS), 0, float_columns<FINISH>, p);
}

void product_float(struct backend *b, const struct product &p)
{
    switch (p.finish) {
    case FINISH_RESIDUAL: run<FINISH_RESIDUAL>(b, p); break;
    case FINISH_SWIGLU: run<FINISH_SWIGLU>(b, p); break;
    default: run<FINISH_STORE>(b, p); break;
    }
}
