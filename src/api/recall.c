#include "api/recall.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

enum { N_SLOT = 4096, ENTRY_OVERHEAD = 512 };

struct entry {
    uint8_t digest[SHA256_BYTES];
    uint8_t reasoning[SHA256_BYTES]; /* of the reasoning's text */
    struct conversation messages;
    size_t bytes;
    struct entry *next;          /* in its slot */
    struct entry *newer, *older; /* by last use */
};

struct recall {
    struct entry *slot[N_SLOT];
    struct entry *newest, *oldest;
    size_t limit;
    struct recall_stats stats;
};

goss_status recall_open(struct recall **out, size_t bytes, goss_error *error)
{
    struct recall *recall = *out = calloc(1, sizeof *recall);
    if (!recall)
        return error_memory(error, sizeof *recall, "the memory of answers");
    recall->limit = bytes;
    return GOSS_OK;
}

/* ---- the list by use ---- */

static void unlink_entry(struct recall *recall, struct entry *entry)
{
    *(entry->newer ? &entry->newer->older : &recall->newest) = entry->older;
    *(entry->older ? &entry->older->newer : &recall->oldest) = entry->newer;
    entry->newer = entry->older = NULL;
}

static void make_newest(struct recall *recall, struct entry *entry)
{
    entry->older = recall->newest;
    *(recall->newest ? &recall->newest->newer : &recall->oldest) = entry;
    recall->newest = entry;
}

static struct entry **place_of(struct recall *recall, const uint8_t digest[SHA256_BYTES])
{
    struct entry **at = &recall->slot[(digest[0] | digest[1] << 8) % N_SLOT];
    while (*at && memcmp((*at)->digest, digest, SHA256_BYTES) != 0)
        at = &(*at)->next;
    return at;
}

static void forget(struct recall *recall, struct entry *entry)
{
    struct entry **at = place_of(recall, entry->digest);
    *at = entry->next;
    unlink_entry(recall, entry);
    recall->stats.bytes -= entry->bytes;
    recall->stats.answers--;
    conversation_free(&entry->messages);
    free(entry);
}

void recall_close(struct recall *recall)
{
    while (recall && recall->oldest)
        forget(recall, recall->oldest);
    free(recall);
}

struct recall_stats recall_stats(const struct recall *recall)
{
    return recall->stats;
}

/* ---- digests ---- */

/* Clients re-flow text and re-print JSON: blanks do not count. */
static void add_text(struct sha256 *hash, const struct message *message)
{
    char kept[512];
    size_t n = 0;
    for (size_t i = 0; i < message->n_part; i++)
        for (size_t j = 0; j < message->part[i].text_size; j++) {
            char c = message->part[i].text[j];
            if (c == ' ' || c == '\n' || c == '\t' || c == '\r')
                continue;
            kept[n++] = c;
            if (n == sizeof kept) {
                sha256_add(hash, kept, n);
                n = 0;
            }
        }
    sha256_add(hash, kept, n);
}

static enum purpose purpose_of(const struct message *message)
{
    return message_purpose(message->role, message->recipient, message->channel);
}

static bool is_spoken(const struct message *message)
{
    enum purpose purpose = purpose_of(message);
    return purpose == PURPOSE_PREAMBLE || purpose == PURPOSE_FINAL;
}

/* Of the run [begin, end): what it answers, what was said in it, and its calls. */
static bool digest_run(const struct conversation *c, uint64_t owner, size_t begin, size_t end,
                       uint8_t digest[SHA256_BYTES])
{
    static const char separator[2][2] = {"\x01", "\x02"}; /* not to be confused with text, which has no such bytes */
    struct sha256 *hash;
    if (sha256_open(&hash, NULL))
        return false;
    sha256_add(hash, &owner, sizeof owner);
    size_t context = begin;
    while (context > 0 && (c->message[context - 1].role == ROLE_USER || c->message[context - 1].role == ROLE_TOOL))
        context--;
    for (size_t i = context; i < begin; i++) {
        sha256_add(hash, separator[c->message[i].role == ROLE_TOOL], 1);
        add_text(hash, &c->message[i]);
    }
    sha256_add(hash, "\x03", 1);
    for (size_t i = begin; i < end; i++)
        if (is_spoken(&c->message[i]))
            add_text(hash, &c->message[i]);
    for (size_t i = begin; i < end; i++)
        if (purpose_of(&c->message[i]) == PURPOSE_CALL) {
            sha256_add(hash, "\x04", 1);
            sha256_add(hash, c->message[i].recipient, strlen(c->message[i].recipient) + 1);
            add_text(hash, &c->message[i]);
        }
    sha256_close(hash, digest);
    return true;
}

/* *none: there is no reasoning at all. */
static bool digest_reasoning(const struct conversation *c, size_t begin, size_t end, uint8_t digest[SHA256_BYTES],
                             bool *none)
{
    struct sha256 *hash;
    *none = true;
    if (sha256_open(&hash, NULL))
        return false;
    for (size_t i = begin; i < end; i++)
        if (purpose_of(&c->message[i]) == PURPOSE_REASONING) {
            add_text(hash, &c->message[i]);
            *none = false;
        }
    sha256_close(hash, digest);
    return true;
}

/* ---- keeping and finding ---- */

static size_t run_end(const struct conversation *c, size_t begin)
{
    while (begin < c->n_message && c->message[begin].role == ROLE_ASSISTANT)
        begin++;
    return begin;
}

void recall_keep(struct recall *recall, uint64_t owner, const struct conversation *c)
{
    size_t begin = c->n_message;
    bool none;
    while (begin > 0 && c->message[begin - 1].role == ROLE_ASSISTANT)
        begin--;
    struct entry *entry = begin < c->n_message ? calloc(1, sizeof *entry) : NULL;
    if (!entry)
        return;
    bool good = digest_run(c, owner, begin, c->n_message, entry->digest) &&
                digest_reasoning(c, begin, c->n_message, entry->reasoning, &none);
    for (size_t i = begin; i < c->n_message && good; i++)
        good = conversation_add(&entry->messages, &c->message[i], NULL) == GOSS_OK;
    entry->bytes = entry->messages.arena.total + entry->messages.capacity * sizeof(struct message) + ENTRY_OVERHEAD;
    if (!good || entry->bytes > recall->limit) {
        conversation_free(&entry->messages);
        free(entry);
        return;
    }
    struct entry *same = *place_of(recall, entry->digest);
    if (same)
        forget(recall, same);
    while (recall->stats.bytes + entry->bytes > recall->limit)
        forget(recall, recall->oldest);
    *place_of(recall, entry->digest) = entry;
    make_newest(recall, entry);
    recall->stats.bytes += entry->bytes;
    recall->stats.answers++;
}

static struct entry *find(struct recall *recall, uint64_t owner, const struct conversation *c, size_t begin, size_t end)
{
    uint8_t digest[SHA256_BYTES], reasoning[SHA256_BYTES];
    bool none;
    for (size_t i = begin; i < end; i++)
        if (c->message[i].n_sampled > 0)
            return NULL;
    if (!digest_run(c, owner, begin, end, digest) || !digest_reasoning(c, begin, end, reasoning, &none))
        return NULL;
    struct entry *entry = *place_of(recall, digest);
    if (!entry || (!none && memcmp(entry->reasoning, reasoning, SHA256_BYTES) != 0)) {
        recall->stats.misses++;
        return NULL;
    }
    recall->stats.hits++;
    unlink_entry(recall, entry);
    make_newest(recall, entry);
    return entry;
}

goss_status recall_apply(struct recall *recall, uint64_t owner, const struct conversation *from,
                         struct conversation *to, size_t *found, goss_error *error)
{
    goss_status status = GOSS_OK;
    size_t hits = 0;
    for (size_t i = 0; i < from->n_message && !status;) {
        size_t end = run_end(from, i);
        struct entry *entry = end > i ? find(recall, owner, from, i, end) : NULL;
        hits += entry != NULL;
        for (size_t j = 0; entry && j < entry->messages.n_message && !status; j++)
            status = conversation_add(to, &entry->messages.message[j], error);
        for (size_t j = i; !entry && j < (end > i ? end : i + 1) && !status; j++)
            status = conversation_add(to, &from->message[j], error);
        i = end > i ? end : i + 1;
    }
    if (found)
        *found = hits;
    return status;
}
