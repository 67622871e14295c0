/* o200k_harmony from the ranks built into the program (src/text/data/README.md). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "text/build.h"
#include "text/byte_level.h"
#include "text/tokenizer.h"

enum {
    N_BYTE = 256,     /* ids 0..255 are the single bytes */
    N_BASE = 199998,  /* tokens of o200k_base; then come the control tokens */
    N_TOKEN = 201088, /* as many ids as the model has */
    N_MERGE = N_BASE - N_BYTE,
    MAX_LENGTH = 128,     /* of a token of o200k_base, in bytes */
    MAX_NAME = 32,        /* of a control token, NUL included */
    MAX_LINE = 4 * 43 + 8 /* of the rank file: base64, a blank, six digits, a newline */
};

/* The packed ranks are put into the program as they are: six planes of N_MERGE bytes (scripts/make-o200k). */
extern const uint8_t o200k_planes[6][N_MERGE];
__asm__(".pushsection .rodata\n"
        ".globl o200k_planes\n"
        ".hidden o200k_planes\n"
        "o200k_planes: .incbin \"" O200K_PLANES "\"\n"
        ".popsection\n");

static const char rank_file_sha256[] = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d";
static const char name[] = "the built-in o200k_harmony";

/* The vocabulary while it is put together. */
struct o200k {
    uint32_t offset[N_TOKEN + 1];
    uint8_t kind[N_TOKEN];
    struct merge merge[N_MERGE];
    uint8_t *bytes;
};

/* Sets *text to the name of a control token. 200018 has a second name, which openai-harmony gives it. */
static void control_name(uint32_t id, char text[MAX_NAME])
{
    static const struct {
        uint32_t id;
        const char *text;
    } known[] = {
        {199998, "<|startoftext|>"}, {199999, "<|endoftext|>"},   {200002, "<|return|>"}, {200003, "<|constrain|>"},
        {200005, "<|channel|>"},     {200006, "<|start|>"},       {200007, "<|end|>"},    {200008, "<|message|>"},
        {200012, "<|call|>"},        {200018, "<|endofprompt|>"},
    };
    (void)snprintf(text, MAX_NAME, "<|reserved_%u|>", id);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].id == id)
            (void)snprintf(text, MAX_NAME, "%s", known[i].text);
}

/* Reads the planes: for each token after the single bytes, the two ids it is joined from. */
static goss_status read_merges(struct o200k *o, goss_error *error)
{
    for (uint32_t i = 0; i < N_MERGE; i++) {
        uint32_t half[2], id = N_BYTE + i;
        for (int h = 0; h < 2; h++)
            half[h] = o200k_planes[3 * h][i] | (uint32_t)o200k_planes[3 * h + 1][i] << 8 |
                      (uint32_t)o200k_planes[3 * h + 2][i] << 16;
        if (half[0] >= id || half[1] >= id)
            return error_set(error, GOSS_E_INTERNAL, "%s: token %u: its halves come after it", name, id);
        o->merge[i] = (struct merge){half[0], half[1], id};
    }
    return GOSS_OK;
}

static uint32_t token_size(const struct o200k *o, uint32_t id)
{
    return o->offset[id + 1] - o->offset[id];
}

/* Finds where the bytes of every token begin. */
static goss_status measure_tokens(struct o200k *o, goss_error *error)
{
    for (uint32_t id = 0; id < N_TOKEN; id++) {
        uint32_t size = 1;
        if (id >= N_BASE) {
            char text[MAX_NAME];
            control_name(id, text);
            size = (uint32_t)strlen(text);
        } else if (id >= N_BYTE) {
            const struct merge *merge = &o->merge[id - N_BYTE];
            size = token_size(o, merge->left) + token_size(o, merge->right);
        }
        if (size > MAX_LENGTH)
            return error_set(error, GOSS_E_INTERNAL, "%s: token %u has %u bytes", name, id, size);
        o->offset[id + 1] = o->offset[id] + size;
    }
    return GOSS_OK;
}

/* Joins the bytes of every token from those of its halves, and appends the names of the control tokens. */
static goss_status make_tokens(struct o200k *o, goss_error *error)
{
    goss_status status = measure_tokens(o, error);
    if (status)
        return status;
    o->bytes = malloc(o->offset[N_TOKEN]);
    if (!o->bytes)
        return error_memory(error, o->offset[N_TOKEN], name);
    for (uint32_t id = 0; id < N_BYTE; id++)
        o->bytes[o->offset[id]] = byte_level_byte((int)id);
    for (uint32_t id = N_BYTE; id < N_BASE; id++) {
        const struct merge *merge = &o->merge[id - N_BYTE];
        uint32_t left = token_size(o, merge->left);
        memcpy(o->bytes + o->offset[id], o->bytes + o->offset[merge->left], left);
        memcpy(o->bytes + o->offset[id] + left, o->bytes + o->offset[merge->right], token_size(o, merge->right));
    }
    for (uint32_t id = N_BASE; id < N_TOKEN; id++) {
        char text[MAX_NAME];
        control_name(id, text);
        memcpy(o->bytes + o->offset[id], text, token_size(o, id));
        o->kind[id] = TOKEN_CONTROL;
    }
    return GOSS_OK;
}

/* One line of the rank file, "BASE64 RANK\n"; returns its length. */
static size_t write_line(char *line, const uint8_t *bytes, size_t n, uint32_t rank)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *p = line, decimal[10];
    for (size_t i = 0; i < n; i += 3) {
        size_t more = n - i - 1;
        uint32_t word =
            (uint32_t)bytes[i] << 16 | (more ? (uint32_t)bytes[i + 1] << 8 : 0) | (more > 1 ? bytes[i + 2] : 0u);
        *p++ = digit[word >> 18];
        *p++ = digit[word >> 12 & 63];
        *p++ = more ? digit[word >> 6 & 63] : '=';
        *p++ = more > 1 ? digit[word & 63] : '=';
    }
    *p++ = ' ';
    int digits = 0;
    do
        decimal[digits++] = (char)('0' + rank % 10);
    while (rank /= 10);
    while (digits)
        *p++ = decimal[--digits];
    *p++ = '\n';
    return (size_t)(p - line);
}

/* The rank file written anew must have the SHA-256 of the published one. */
static goss_status check_ranks(const struct o200k *o, goss_error *error)
{
    char lines[1 << 14], text[SHA256_TEXT];
    uint8_t digest[SHA256_BYTES];
    size_t size = 0;
    struct sha256 *hash;
    goss_status status = sha256_open(&hash, error);
    if (status)
        return status;
    for (uint32_t id = 0; id < N_BASE; id++) {
        size += write_line(lines + size, o->bytes + o->offset[id], o->offset[id + 1] - o->offset[id], id);
        if (sizeof lines - size < MAX_LINE || id + 1 == N_BASE) {
            sha256_add(hash, lines, size);
            size = 0;
        }
    }
    sha256_close(hash, digest);
    sha256_text(digest, text);
    if (strcmp(text, rank_file_sha256) != 0)
        return error_set(error, GOSS_E_INTERNAL, "%s: the ranks have SHA-256 %s instead of %s", name, text,
                         rank_file_sha256);
    return GOSS_OK;
}

goss_status tokenizer_open_o200k(struct tokenizer **tokenizer, goss_error *error)
{
    static const struct alias second_name = {"<|reserved_200018|>", 200018};
    *tokenizer = NULL;
    struct o200k *o = calloc(1, sizeof *o);
    if (!o)
        return error_memory(error, sizeof *o, name);
    goss_status status = read_merges(o, error);
    if (!status)
        status = make_tokens(o, error);
    if (!status)
        status = check_ranks(o, error);
    if (!status)
        status = tokenizer_build(tokenizer,
                                 &(struct byte_vocabulary){.file = name,
                                                           .pattern = SPLIT_O200K,
                                                           .whole_pieces = true,
                                                           .n_token = N_TOKEN,
                                                           .n_merge = N_MERGE,
                                                           .n_alias = 1,
                                                           .offset = o->offset,
                                                           .bytes = o->bytes,
                                                           .kind = o->kind,
                                                           .merge = o->merge,
                                                           .alias = &second_name},
                                 error);
    free(o->bytes);
    free(o);
    return status;
}
