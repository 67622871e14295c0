/* The beginning of a step: every row's embedding, and the cosines and sines of its position. docs/arithmetic.md. */
#include "cuda/state.h"

struct embedding {
    const uint8_t *table; /* row-major [n_vocab][d_model] */
    bool bf16;            /* else Q8_0 */
    int d_model;
    const int32_t *token, *position; /* [n_row] */
    struct rope rope;
    float *x, *cosine, *sine;
};

DEVICE uint16_t half_at(const uint8_t *p) /* Q8_0 blocks begin at even addresses */
{
    return *reinterpret_cast<const uint16_t *>(p);
}

DEVICE float embedding_at(const struct embedding &e, int token, int i)
{
    if (e.bf16)
        return fmath_bf16_to_f32(half_at(e.table + ((size_t)token * e.d_model + i) * 2));
    const uint8_t *block = e.table + ((size_t)token * (e.d_model / BLOCK) + i / BLOCK) * 34;
    return mul_rn(fmath_f16_to_f32(half_at(block)), (float)(int8_t)block[2 + i % BLOCK]);
}

/* rope_table of model/rope.c, for pair i. */
DEVICE void turn_at(const struct embedding &e, int position, int i, float *cosine, float *sine)
{
    double s, c;
    fmath_sincos_f64((double)mul_rn((float)position, e.rope.inv[i]), &s, &c);
    *cosine = mul_rn((float)c, e.rope.concentration);
    *sine = mul_rn((float)s, e.rope.concentration);
}

/* A CTA a row. */
static __global__ void embed_rows(const struct embedding e)
{
    size_t row = blockIdx.x;
    int token = e.token[row], half = e.rope.half;
    wait_for_previous();
    let_next_start();
    for (int i = (int)threadIdx.x; i < e.d_model; i += (int)blockDim.x)
        e.x[row * e.d_model + i] = embedding_at(e, token, i);
    for (int i = (int)threadIdx.x; i < half; i += (int)blockDim.x)
        turn_at(e, e.position[row], i, &e.cosine[row * half + i], &e.sine[row * half + i]);
}

void embed_stage(struct backend *b)
{
    struct embedding e = {.table = b->weights.embedding,
                          .bf16 = b->weights.embedding_type == DTYPE_BF16,
                          .d_model = b->model->config.d_model,
                          .token = b->batch.token,
                          .position = b->batch.position,
                          .rope = b->rope,
                          .x = b->a.x,
                          .cosine = b->a.cosine,
                          .sine = b->a.sine};
    run_kernel(b, dim3(b->batch.n_row), dim3(512), 0, embed_rows, e);
}
