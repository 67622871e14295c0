/* What a client asks for, whatever its wire: every reader makes one of these, every writer writes from it.
 *
 *     api_settings -> responses_read | chat_read | completions_read | messages_read -> api_request_assemble
 *         -> turn_open(.., &request->conversation, &request->turn, ..)
 *
 * Reading is a pure function of the settings and the body: no clock, no file, no engine. Only assemble looks into the
 * store, for the stored past that the request names.
 *
 * Thread safety: a request belongs to one thread at a time. */
#ifndef API_REQUEST_H
#define API_REQUEST_H

#include "agent/turn.h"
#include "api/error.h"
#include "harmony/names.h"
#include "text/json_tree.h"

struct store;
struct recall;
struct api_held;

enum {
    API_MAX_TOOLS = 128,
    API_MAX_CHOICES = 8,
    API_MAX_METADATA = 16,
    API_MAX_PROMPTS = 16,
    API_MAX_NAME = 256,
    API_SCHEMA_BYTES = 256 << 10,
    API_SCHEMA_DEPTH = 32,
};

/* What the server adds to every request. */
struct api_settings {
    const char *model;  /* the name it serves; a request may name any model and is answered by this one, so named */
    const char *date;   /* "2026-11-21" for the system message, or NULL */
    enum effort effort; /* when the request says none; EFFORT_UNSET: medium */
    uint64_t seed;      /* when the request says none */
    int n_vocab;        /* for logit_bias */
    uint64_t owner;     /* whose request: cached prompts, recalled and stored answers never cross owners */
    /* Names the reasoning events as the Open Responses specification does ("response.reasoning.delta") instead of as
     * the official SDKs know them ("response.reasoning_text.delta"). */
    bool open_responses;
    /* What the WebSocket that the request came over remembers; NULL: it came by HTTP. Events of a WebSocket are one
     * JSON text a line. */
    struct api_held *held;
};

struct api_tool {
    const char *name, *space; /* as the client spells them; space: the namespace around it, or NULL */
    const char *identifier;   /* as the model sees it: the recipient of a call is "functions." and this */
    const char *description;  /* may be NULL */
    const char *schema;       /* JSON text of the parameters, or NULL for none */
    const char *schema_path;  /* where it stands in the body; NULL for none */
    bool strict;              /* arguments must follow the schema */
    bool custom;              /* takes free text: the model fills {"input": ..}, the client gets that string */
    bool allowed;             /* tool_choice lets the model call it; others are not shown */
};

/* A call whose answer a client sends back. */
struct api_call {
    const char *id, *recipient;
};

/* A tool message that waits for its name, which only the call with that id knows. */
struct api_pending {
    size_t message; /* index in input */
    const char *call_id, *path;
};

/* An item of a stored response that the input names by its id alone. */
struct api_reference {
    size_t message; /* it stands before this message of input */
    const char *id, *path;
};

struct api_request {
    enum api_wire wire;
    struct arena arena;                  /* owns every string below */
    const struct api_settings *settings; /* outlives the request */
    const struct json_node *body;

    /* What the model reads. `setup` (the system message, instructions, tools) and `input` are made by the reader,
     * `conversation` by assemble: setup, the stored past, input. From first_new on its messages are new with this
     * request, which is what a stored response keeps. */
    struct conversation setup, input, conversation;
    size_t first_new, answer_at;   /* answer_at: where the turn appends the model's */
    const struct message *opening; /* a new message that was merged into the setup; NULL: none */
    struct api_call *call;         /* [n_call] calls of the input */
    size_t n_call;
    struct api_pending *pending; /* [n_pending] */
    size_t n_pending;
    struct api_reference *reference; /* [n_reference] in order of `message` */
    size_t n_reference;
    const char *previous; /* previous_response_id, or NULL */
    const char *past;     /* [n_past] over a WebSocket: the chain that `previous` ends, as in struct api_held */
    size_t n_past;

    /* API_COMPLETIONS instead: texts, or ids as they are, one answer (times n) for each. */
    struct api_prompt {
        const char *text; /* NULL: ids */
        size_t size;
        const int32_t *id;
        size_t n_id;
    } * prompt; /* [n_prompt] */
    size_t n_prompt;
    bool echo;          /* the answer begins with the prompt */
    const char *suffix; /* NULL */

    /* How it answers: sampling, stops, the form of the answer and the choice of tools. All its pointers point into the
     * arena; turn.vocabulary is left to the caller; turn.sampling.seed is the first choice's, each later one adds 1. */
    struct turn_options turn;
    enum effort effort; /* in force */
    int n;              /* choices, 1 .. API_MAX_CHOICES */
    int top_logprobs;   /* -1: no logprobs are returned */

    struct api_tool *tool; /* [n_tool] functions and custom tools that the model is shown or that history names */
    size_t n_tool;
    struct name_map names;
    bool parallel;           /* several calls in one answer are welcome */
    const char *schema_path; /* where turn.schema stands in the body; NULL for none */
    bool schema_strict;      /* as the client said; turn.schema is enforced either way */

    bool stream, usage_in_stream, store, background;
    bool silent;              /* over a WebSocket: the input is only kept, for a later message to continue it */
    bool compact;             /* API_RESPONSES: the answer is a compaction of the conversation (api/compact.h) */
    bool reasoning_shown;     /* API_MESSAGES: thinking blocks are wanted */
    bool reasoning_sealed;    /* API_RESPONSES: include has reasoning.encrypted_content */
    const char *instructions; /* for the echo; may be NULL */
    const char *input_items;  /* API_RESPONSES: JSON array of the input's items, each with an id */
};

/* Zero-initialised requests may be closed, and so may refused ones. */
void api_request_close(struct api_request *request);

/* Builds request->conversation. `store` holds the past that previous_response_id and item references name; NULL: none
 * is stored, and naming one is refused with 400. `recall` gives re-sent answers back their sampled ids and their
 * reasoning; NULL: none. */
goss_status api_request_assemble(struct api_request *request, struct store *store, struct recall *recall,
                                 struct api_error *error);

/* A copy of request->conversation for one more choice: a turn appends to the conversation it is open on. */
goss_status api_request_copy(const struct api_request *request, struct conversation *copy, goss_error *error);

/* Names the field of the body behind an error of turn_prepare, which knows of no body. */
void api_request_blame(const struct api_request *request, struct api_error *error);

/* The tool that a call of the model goes to, by its recipient; NULL if none was declared. */
const struct api_tool *api_request_tool(const struct api_request *request, const char *recipient);

#endif
