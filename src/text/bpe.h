/* Byte pair encoding of one piece: the adjacent pair with the lowest rank is joined, the leftmost of equals first,
 * until no pair has a rank. */
#ifndef TEXT_BPE_H
#define TEXT_BPE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "text/tables.h"
#include "text/tokenizer.h"

/* Memory for long pieces, kept from one piece to the next. Zero-initialise; one thread at a time. */
struct bpe_work {
    uint64_t *memory;
    size_t capacity; /* words */
};
void bpe_work_free(struct bpe_work *work);

/* Appends the ids of n bytes in O(n log n). Bytes without an id of their own are left out beforehand. */
goss_status bpe_append(const struct tables *tables, const uint8_t *piece, size_t n, struct bpe_work *work,
                       struct token_list *ids, goss_error *error);

#endif
