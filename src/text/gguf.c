/* A tokenizer from the metadata of a GGUF. */
#include <stdlib.h>
#include <string.h>

#include "text/spelled.h"

enum gguf_token_type { GGUF_NORMAL = 1, GGUF_CONTROL = 3, GGUF_USER_DEFINED = 4, GGUF_UNUSED = 5 };

/* What tokenizer.ggml.pre stands for. That gpt-oss takes whole pieces is said by its tokenizer.json. */
static goss_status choose_pattern(struct spelled_vocabulary *vocabulary, const char *pre, goss_error *error)
{
    static const struct {
        const char *pre;
        enum split_pattern pattern;
        bool whole_pieces;
    } known[] = {
        {"gpt-4o", SPLIT_O200K, true},     {"gpt-2", SPLIT_GPT2, false},  {"smollm", SPLIT_GPT2_DIGITS, false},
        {"llama-bpe", SPLIT_LLAMA3, true}, {"qwen2", SPLIT_QWEN2, false},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i].pre, pre) == 0) {
            vocabulary->pattern = known[i].pattern;
            vocabulary->whole_pieces = known[i].whole_pieces;
            return GOSS_OK;
        }
    }
    char shown[EXCERPT];
    return error_set(error, GOSS_E_UNSUPPORTED, "%s: tokenizer.ggml.pre: splitting pattern '%s' is not known",
                     vocabulary->file, excerpt(shown, (const uint8_t *)pre, strlen(pre)));
}

static goss_status read_tokens(struct spelled_token *token, const struct tokenizer_gguf *source, goss_error *error)
{
    for (uint64_t id = 0; id < source->n_token; id++) {
        int32_t type = source->type ? source->type[id] : GGUF_NORMAL;
        token[id].text = source->token[id];
        switch (type) {
        case GGUF_NORMAL: token[id].kind = TOKEN_NORMAL; break;
        case GGUF_CONTROL: token[id].kind = TOKEN_CONTROL; break;
        case GGUF_USER_DEFINED: token[id].kind = TOKEN_LITERAL; break;
        case GGUF_UNUSED: token[id] = (struct spelled_token){0}; break;
        default:
            return error_set(error, GOSS_E_UNSUPPORTED, "%s: tokenizer.ggml.token_type: %d of token %d is not known",
                             source->file, type, (int)id);
        }
    }
    return GOSS_OK;
}

/* "LEFT RIGHT": neither has a blank, since the byte-level spelling has none. */
static goss_status read_merges(struct spelled_merge *merge, const struct tokenizer_gguf *source, goss_error *error)
{
    for (uint64_t rank = 0; rank < source->n_merge; rank++) {
        struct tokenizer_text text = source->merge[rank];
        const uint8_t *blank = text.size ? memchr(text.data, ' ', text.size) : NULL;
        if (!blank)
            return error_set(error, GOSS_E_FORMAT, "%s: tokenizer.ggml.merges: merge %d has no blank", source->file,
                             (int)rank);
        size_t left = (size_t)(blank - text.data);
        merge[rank].left = (struct tokenizer_text){text.data, left};
        merge[rank].right = (struct tokenizer_text){blank + 1, text.size - left - 1};
    }
    return GOSS_OK;
}

goss_status tokenizer_open_gguf(struct tokenizer **tokenizer, const struct tokenizer_gguf *source, goss_error *error)
{
    *tokenizer = NULL;
    if (source->n_token > TABLES_MAX_TOKEN || source->n_merge > TABLES_MAX_TOKEN)
        return error_set(error, GOSS_E_LIMIT, "%s: tokenizer.ggml: more than %d tokens or merges", source->file,
                         TABLES_MAX_TOKEN);
    struct spelled_token *token = calloc(source->n_token + 1, sizeof *token);
    struct spelled_merge *merge = calloc(source->n_merge + 1, sizeof *merge);
    struct spelled_vocabulary vocabulary = {.file = source->file,
                                            .derive_merges = source->n_merge == 0,
                                            .n_token = (uint32_t)source->n_token,
                                            .n_merge = (uint32_t)source->n_merge,
                                            .token = token,
                                            .merge = merge};
    goss_status status;
    if (!token || !merge) {
        status = error_memory(error, source->n_token * sizeof *token + source->n_merge * sizeof *merge, "a tokenizer");
        goto done;
    }
    status = choose_pattern(&vocabulary, source->pre, error);
    if (!status)
        status = read_tokens(token, source, error);
    if (!status)
        status = read_merges(merge, source, error);
    if (!status)
        status = tokenizer_build_spelled(tokenizer, &vocabulary, error);
done:
    free(token);
    free(merge);
    return status;
}
