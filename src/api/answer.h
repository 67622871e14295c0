/* The answer to a request while it comes: fed by the events of its turns, it writes each wire's stream piece by piece
 * and the whole object at the end. Both come from the same items, so that a stream and an object never differ.
 *
 *     answer_open -> answer_start -> { answer_add .. until every choice is done } -> answer_write -> answer_close
 *
 * Ids are derived from answer_identity.key, times are parameters: the bytes are reproducible.
 *
 * Thread safety: an answer belongs to one thread at a time. */
#ifndef API_ANSWER_H
#define API_ANSWER_H

#include "api/request.h"

struct answer_identity {
    const char
        *key; /* 24 .. 48 letters and digits, unique on this server: "resp_KEY", "chatcmpl-KEY", "msg_KEY_0", .. */
    int64_t created; /* seconds of Unix time */
};

/* One message of the model. */
struct answer_item {
    enum turn_part part;
    const struct api_tool *tool; /* TURN_CALL: the tool that was declared, or NULL */
    const char *name;            /* TURN_CALL: as the client spells it; an undeclared one as the model wrote it */
    const char *recipient;       /* TURN_CALL */
    struct buffer text;
    size_t token, n_token; /* its tokens in choice->token, header excluded */
    bool done, truncated;
};

struct answer_choice {
    struct answer_item *item; /* [n_item] */
    size_t n_item, capacity;
    struct sampled *token; /* [n_token] the tokens of finals, if logprobs were asked for */
    size_t n_token, token_capacity;
    size_t seen, shown; /* sampled tokens taken so far; of token, those in the stream */
    size_t begun;       /* sampled tokens when the last message ended */
    int reasoning_tokens;
    bool done;
    enum turn_finish finish;
    struct usage usage;
    goss_error error; /* finish is TURN_FAILED */
};

enum answer_status {
    ANSWER_QUEUED,
    ANSWER_RUNNING,
    ANSWER_COMPLETED,
    ANSWER_INCOMPLETE,
    ANSWER_FAILED,
    ANSWER_CANCELLED
};

struct answer {
    const struct api_request *request;
    const struct tokenizer *tokenizer;
    struct arena arena;
    struct answer_choice choice[API_MAX_CHOICES * API_MAX_PROMPTS];
    int n_choice, n_done;
    size_t n_prompt; /* tokens of the first choice's prompt */
    char key[49];
    int64_t created, completed; /* completed: 0 until then */
    enum answer_status status;
    /* of the stream */
    uint64_t sequence; /* number of the next event */
    bool started;
};

/* request and tokenizer outlive the answer. n_choice is request->n, for API_COMPLETIONS times n_prompt (choice
 * prompt * n + i). */
goss_status answer_open(struct answer *answer, const struct api_request *request, const struct tokenizer *tokenizer,
                        const struct answer_identity *identity, goss_error *error);
void answer_close(struct answer *answer); /* harmless on a zeroed struct */

/* The first events of a stream, before any token, for a prompt of that many tokens; what a background request returns
 * at once is answer_write before it. `stream` is where bytes are appended; NULL: none are wanted, here and in
 * answer_add. */
goss_status answer_start(struct answer *answer, size_t n_prompt, struct buffer *stream, goss_error *error);

/* Takes an event of one choice's turn (TURN_WAIT is fine) with all that turn_answer gives after it; `now` is written as
 * the time of completion. With the last choice's TURN_DONE the stream gets its one terminal event, and for wires that
 * have one its "data: [DONE]". Text of events must be whole characters. */
goss_status answer_add(struct answer *answer, int choice, const struct turn_event *event, const struct sampled *sampled,
                       size_t n_sampled, int64_t now, struct buffer *stream, goss_error *error);

/* Ends every choice that is not done as TURN_FAILED with that error, for what goes wrong outside a turn. */
goss_status answer_fail(struct answer *answer, const goss_error *reason, int64_t now, struct buffer *stream,
                        goss_error *error);

/* The object of the wire, at any time. Where answer_is_error it is the error body instead, whose HTTP status is 500. */
goss_status answer_write(const struct answer *answer, struct buffer *out, goss_error *error);

/* An answer that failed, on wires whose object has no place for that (all but Responses), and a compaction that came to
 * nothing. */
bool answer_is_error(const struct answer *answer);

/* "resp_KEY". */
void answer_id(const struct answer *answer, char id[64]);

/* What store_put keeps so that a later request can continue: the new messages of request->conversation and the
 * model's, as the turn appended them to `conversation` (that one or its copy), with their sampled ids, and the ids of
 * calls. Opaque to all but api_request_assemble. */
goss_status answer_keep(const struct answer *answer, const struct conversation *conversation, struct buffer *out,
                        goss_error *error);

#endif
