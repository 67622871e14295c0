/* The stages that are products. Few rows take one kernel a stage wherever that is possible; many rows are normed and
 * rounded by a kernel of their own first. */
#include "cuda/product.h"

static struct heads no_heads(void)
{
    struct heads none = {};
    return none;
}

/* The kernel for the columns that there are. */
static void multiply(struct backend *b, const struct product &p)
{
    if (!is_integer(&p.w))
        product_float(b, p);
    else if (product_few_fits(b, p))
        product_few(b, p, no_heads());
    else
        product_many(b, p);
}

/* A product whose columns are rows of x, rounded by the product itself if they are few. */
static void multiply_rows(struct backend *b, struct product p, struct panel panel)
{
    if (is_integer(&p.w) && !product_few_fits(b, p)) {
        quantise_rows(b, p.x, p.n, &p.w, panel);
        p.panel = panel;
    }
    multiply(b, p);
}

void qkv_stage(struct backend *b, int layer)
{
    const struct model_config *c = &b->model->config;
    const struct layer &l = device_layer(b, layer);
    struct product p = {.w = l.qkv,
                        .bias = l.qkv_bias,
                        .n = b->batch.n_row,
                        .x = b->a.x,
                        .gain = l.attn_norm,
                        .eps = c->rms_eps,
                        .finish = FINISH_HEADS,
                        .out = b->a.q_rows};
    if (is_integer(&p.w) && product_few_fits(b, p)) {
        struct heads heads = {c->n_head, c->n_kv_head, c->head_dim,    b->a.cosine,      b->a.sine,
                              b->kv,     b->batch,     b->slot[layer], c->sliding[layer]};
        product_few(b, p, heads);
        return;
    }
    norm_rows(b, l.attn_norm, NULL, p.n, &p.w);
    p.gain = NULL;
    p.x = b->a.normed;
    p.panel = b->a.in;
    p.finish = FINISH_STORE;
    p.out = b->a.qkv;
    multiply(b, p);
    heads_stage(b, layer);
}

void attn_out_stage(struct backend *b, int layer)
{
    const struct layer &l = device_layer(b, layer);
    struct product p = {.w = l.attn_out,
                        .bias = l.attn_out_bias,
                        .n = b->batch.n_row,
                        .x = b->a.attended,
                        .finish = FINISH_RESIDUAL,
                        .out = b->a.x};
    multiply_rows(b, p, b->a.in);
}

void experts_stage(struct backend *b, int layer)
{
    const struct model_config *c = &b->model->config;
    const struct layer &l = device_layer(b, layer);
    struct product gate_up = {.w = l.gate_up,
                              .bias = l.gate_up_bias,
                              .n = b->batch.n_row * c->n_active,
                              .first = b->a.expert_first,
                              .active = b->a.active,
                              .slot = b->a.slot_of,
                              .slots_of_row = c->n_active,
                              .x = b->a.normed,
                              .panel = b->a.in,
                              .finish = FINISH_SWIGLU,
                              .out = b->a.hidden,
                              .limit = c->swiglu_limit,
                              .unfolded = b->unfolded};
    struct product down = {.w = l.down,
                           .bias = l.down_bias,
                           .n = gate_up.n,
                           .first = gate_up.first,
                           .active = gate_up.active,
                           .slots_of_row = c->n_active,
                           .x = b->a.hidden,
                           .finish = FINISH_STORE,
                           .out = b->a.out,
                           .unfolded = b->unfolded};
    bool few = is_integer(&down.w) && product_few_fits(b, down);
    if (few) {
        down.finish = FINISH_COMBINE;
        down.combination = combination_of(b);
        down.active_count = b->a.active_count;
        down.done = b->a.out_done;
    }
    multiply(b, gate_up);
    multiply_rows(b, down, b->a.hidden_in);
    if (!few)
        combine_stage(b);
}

void unembed_stage(struct backend *b)
{
    if (b->batch.n_output == 0)
        return;
    struct product p = {.w = b->weights.head,
                        .bias = NULL,
                        .n = b->batch.n_output,
                        .x = b->a.normed,
                        .panel = b->a.in,
                        .finish = FINISH_STORE,
                        .out = b->a.logits};
    norm_rows(b, b->weights.final_norm, b->batch.output_row, p.n, &p.w);
    multiply(b, p);
}
