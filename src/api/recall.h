/* What the server remembers of its own answers, so that a client that sends a conversation back as text continues the
 * very tokens that were sampled, with the reasoning that the wire may have dropped.
 *
 * An answer is found again by a digest of what it answered (the texts before it back to the last user or tool message)
 * and of what the client saw of it (texts, names and arguments, in order); reasoning is not part of it. If the client
 * sends reasoning too, it must be the same, else the client's text stands. A miss is harmless: the text is rendered.
 *
 * Thread safety: none; one thread at a time. */
#ifndef API_RECALL_H
#define API_RECALL_H

#include "harmony/conversation.h"

struct recall;

/* Holds at most `bytes` of messages; the longest unused ones go first. */
goss_status recall_open(struct recall **recall, size_t bytes, goss_error *error);
void recall_close(struct recall *recall); /* NULL is fine */

/* Remembers the assistant's messages that end the conversation, under the owner. Losing memory loses no answer: it only
 * forgets. */
void recall_keep(struct recall *recall, uint64_t owner, const struct conversation *conversation);

/* Appends from's messages to `to`; each run of the assistant's that is known and has no sampled ids is replaced by what
 * was sampled. *found counts those runs; it may be NULL. */
goss_status recall_apply(struct recall *recall, uint64_t owner, const struct conversation *from,
                         struct conversation *to, size_t *found, goss_error *error);

struct recall_stats {
    size_t answers, bytes;
    uint64_t hits, misses;
};
struct recall_stats recall_stats(const struct recall *recall);

#endif
