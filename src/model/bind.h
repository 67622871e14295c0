/* Binds the tensor names of every checkpoint dialect to the roles they play: for each section of the packed file, the
 * source tensors and the order in which their rows go into it. Private to the packer. */
#ifndef MODEL_BIND_H
#define MODEL_BIND_H

#include "model/config.h"
#include "model/pack.h"
#include "weights/checkpoint.h"
#include "weights/packed.h"

enum { MAX_OPERANDS = 3 };

/* How row r of a section finds its row among the operands' rows, which are numbered through. */
enum row_order {
    ROWS_PLAIN,       /* r */
    ROWS_INTERLEAVED, /* gate_up groups (weights/tile.h) from gate = even rows, up = odd rows */
    ROWS_HALVES,      /* gate_up groups from all gate rows, then all up rows */
};

/* A source tensor seen as section->count matrices of [rows][cols]. */
struct operand {
    const struct tensor *tensor;      /* the stack of all; NULL if `each` is used */
    const struct tensor *const *each; /* or a tensor for each matrix, [count] */
    const struct tensor *scales;      /* of an MXFP4 tensor in safetensors; else NULL */
    bool transposed;                  /* stored [cols][rows] */
    bool again;                       /* used by another section too, which takes its digest */
    uint64_t rows;
};

/* One section and its sources. */
struct recipe {
    struct packed_section *section;
    enum row_order order;
    int n_operand;
    struct operand operand[MAX_OPERANDS];
    bool sinks; /* -inf is allowed and becomes -FLT_MAX */
};

struct plan {
    struct packed_section *section; /* [n], in the arena, as are names */
    struct recipe *recipe;          /* [n], and a spare */
    size_t n, capacity;
    struct arena arena;
};

/* Fills the plan with all sections of the model but the tokenizer's, for which there is room. Tensors with an
 * unexpected shape or type, missing ones and ones that play no role are refused by name. plan_free accepts it in
 * whatever state. */
goss_status plan_bind(struct plan *plan, const struct checkpoint *checkpoint, const struct model_config *config,
                      const struct pack_options *options, goss_error *error);
void plan_free(struct plan *plan);

/* One more section; NULL when memory is out. */
struct recipe *plan_add(struct plan *plan, const char *name, enum dtype type, uint64_t count, uint64_t rows,
                        uint64_t cols);

#endif
