/* Inside api: what answer.c asks of each wire. */
#ifndef API_WIRE_H
#define API_WIRE_H

#include "api/answer.h"
#include "api/json_out.h"

enum answer_moment {
    ANSWER_BEGINS,
    ITEM_BEGINS,
    ITEM_GROWS, /* by text, and tokens token .. token + n_token of the choice */
    ITEM_ENDS,
    CHOICE_ENDS,
    ANSWER_ENDS, /* the terminal event */
};

struct answer_change {
    enum answer_moment moment;
    int choice;
    size_t item;
    const char *text;
    size_t size;
    size_t token, n_token;
};

/* Appends the events of a change to a stream. */
void responses_stream(struct answer *answer, const struct answer_change *change, struct json_out *json);
void chat_stream(struct answer *answer, const struct answer_change *change, struct json_out *json);
void completions_stream(struct answer *answer, const struct answer_change *change, struct json_out *json);
void messages_stream(struct answer *answer, const struct answer_change *change, struct json_out *json);

/* The whole object. */
void responses_object(const struct answer *answer, struct json_out *json);
void chat_object(const struct answer *answer, struct json_out *json);
void completions_object(const struct answer *answer, struct json_out *json);
void messages_object(const struct answer *answer, struct json_out *json);

/* ---- what writers share ---- */

/* The ids of an item and of a call. */
enum { ANSWER_ID_SIZE = 80 };
void item_id(const struct answer *answer, int choice, size_t item, char id[ANSWER_ID_SIZE]);
void call_id(const struct answer *answer, int choice, size_t item, char id[ANSWER_ID_SIZE]);

/* What a client is given as the arguments of a call: the text itself, or of a custom tool the string inside. *owned is
 * what to free afterwards, or NULL. */
const char *call_text(const struct answer_item *item, size_t *size, char **owned);

/* One token's logprob with its likeliest alternatives: {"token","logprob","bytes","top_logprobs"}. */
void logprob_write(const struct answer *answer, const struct sampled *sampled, struct json_out *json);

/* "encrypted_content" of the Responses API: the item's text, sealed. */
void sealed_write(const struct answer_item *item, struct json_out *json);
/* Its "usage". */
void responses_usage(const struct answer *answer, struct json_out *json);

/* "usage" of chat and text completions. */
void completion_usage(const struct answer *answer, struct json_out *json);

/* Sums over the choices; the prompt of several choices counts once. */
struct usage answer_usage(const struct answer *answer, int *reasoning);

#endif
