/* A toy gpt-oss model with every mechanism (experts, sinks, window, YaRN, biases), written as any of the checkpoint
 * formats that gossamer reads. The weights are random and depend on the sizes and the seed alone: all forms of one toy
 * are the same model (dense matrices in Q8_0 or F16 forms are rounded from the bf16 that the others hold). */
#ifndef SUPPORT_TOY_CHECKPOINT_H
#define SUPPORT_TOY_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>

struct toy {
    int n_layer, d_model, n_head, n_kv_head, head_dim, d_ff, n_expert, n_active, n_vocab, window, max_context;
    bool yarn;          /* else plain RoPE */
    bool all_full;      /* no layer slides */
    bool tied;          /* no head of its own; not in original/ */
    bool no_sinks;      /* sinks at -inf */
    bool tokenizer;     /* byte-level: 256 bytes, three merges, 21 control tokens from 259 on; n_vocab >= 280 */
    float swiglu_limit; /* not expressible in GGUF, where it is 7 */
    uint64_t seed;
};

enum toy_form {
    TOY_HF,            /* PATH is a folder: one model.safetensors */
    TOY_HF_SHARDED,    /* a shard per layer, an index, __metadata__ */
    TOY_HF_ROPE5,      /* config.json as transformers 5 writes it: rope_parameters */
    TOY_HF_BF16,       /* experts in bf16, stacked and transposed */
    TOY_HF_PER_EXPERT, /* experts in bf16, one tensor each */
    TOY_ORIGINAL,      /* PATH is a folder, which gets the files of original/ */
    TOY_GGUF_Q8,       /* PATH is a file from here on; dense matrices Q8_0 */
    TOY_GGUF_BF16,
    TOY_GGUF_F16,
    TOY_GGUF_F32,
    TOY_GGUF_FUSED,      /* BF16, with attn_qkv and ffn_gate_up_exps (gate block, then up block) */
    TOY_GGUF_OLLAMA,     /* architecture gptoss, BF16 */
    TOY_GGUF_SPLIT,      /* Q8_0, in three files: PATH must end in -00001-of-00003.gguf */
    TOY_GGUF_EXPERTS_Q8, /* BF16, with experts in Q8_0 */
    TOY_FORMS
};

/* 4 layers, width 64, 4 heads on 2 of 32, 8 experts of 96 (4 active), 320 tokens, window 8, YaRN as published. */
struct toy toy_default(void);

/* Makes the folder if it is missing. A failure fails the running test. */
void toy_write(const struct toy *toy, enum toy_form form, const char *path);

/* A fresh folder under /tmp, and its removal with everything in it. Free the name. */
char *toy_folder(void);
void toy_remove(char *folder); /* frees the name as well */
void toy_remove_tree(const char *folder);

#endif
