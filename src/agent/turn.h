/* One turn of a conversation: render, sample, read, hand out events. It executes no tools: a call is an event, the
 * caller answers it with a tool message and begins the next turn.
 *
 *     turn_open -> { turn_next .. TURN_DONE } -> turn_close
 *
 * Every message that the model completes (or breaks off) is appended to the conversation with the very ids that were
 * sampled, so that the next prompt continues exactly what was generated. A turn ends when the model stops, when a final
 * message is complete, when it begins to speak for somebody else, at max_tokens, at a stop string, or when cancelled.
 *
 * Thread safety: a turn belongs to the thread of its engine. The conversation may not be touched while a turn on it is
 * open. */
#ifndef AGENT_TURN_H
#define AGENT_TURN_H

#include "engine/engine.h"
#include "grammar/vocabulary.h"
#include "harmony/parse.h"
#include "harmony/render.h"

enum { TURN_MAX_STOPS = 16, TURN_MAX_STOP_BYTES = 256, TURN_MAX_TOOLS = 128 };

/* What the answer, which is the final message, must be. Reasoning, preambles and headers are never bound by it. */
enum answer_form {
    ANSWER_FREE,   /* any text */
    ANSWER_OBJECT, /* any JSON object */
    ANSWER_SCHEMA, /* JSON that satisfies options.schema */
};

/* A JSON Schema for the answer. It is shown to the model in the developer message and enforced by a grammar: see
 * grammar/grammar.h for what can be compiled. */
struct answer_schema {
    const char *name, *description; /* name NULL: "response"; description may be NULL */
    const char *json;               /* [size] the schema's text */
    size_t size;
    bool in_order; /* keys come in the schema's order; else in any */
};

/* Whether the model calls tools in this turn. Only AUTO is what the models were trained on: a turn that is forced to
 * call something answers worse over many turns, so callers should force the first turn of a loop only. */
enum tool_choice {
    TOOLS_AUTO,     /* as the model likes */
    TOOLS_NONE,     /* no calls */
    TOOLS_REQUIRED, /* a call of a declared tool instead of an answer */
    TOOLS_NAMED,    /* a call of options.named */
};

struct turn_options {
    struct sampling sampling; /* begin with turn_options_default() */
    int max_tokens;           /* 0: as many as the context leaves */
    enum effort effort;       /* EFFORT_UNSET: as the conversation's system message says; else replaces it */
    enum render_drop drop;    /* which reasoning of the past is left out; default DROP_TURN */
    enum render_call call;    /* how calls of the past without sampled ids are spelled; default CALL_CHANNEL */
    const char *const *stop;  /* [n_stop] strings, each 1 .. 256 bytes, that end the turn when the final text has one;
                                 the  string itself is not handed out */
    int n_stop;
    uint64_t owner; /* see struct sequence_request */
    /* [n_raw] ids that are the prompt instead of a conversation, which may then be NULL. What follows them is handed
     * out as one final message, without a look at the format: the bytes of all sampled ids but control tokens. Nothing
     * of what follows here binds it. */
    const int32_t *raw;
    size_t n_raw;
    int lookup; /* see struct sequence_request */

    enum answer_form form;
    struct answer_schema schema; /* ANSWER_SCHEMA */
    enum tool_choice tools;
    const char *named; /* TOOLS_NAMED: a recipient that the conversation declares, such as functions.get_weather */
    /* [n_strict] recipients of declared functions: the arguments of their calls must satisfy the schema that the
     * conversation declares them with. */
    const char *const *strict;
    int n_strict;
    bool one_call;      /* the turn ends with its first call */
    bool declared_only; /* calls go to tools that the conversation declares and to no other recipient */
    /* The vocabulary of the engine's model, which grammars need; NULL: none of the above may be asked for. Where any of
     * it is asked for, every message has a well-formed header and goes to a declared tool or to nobody. */
    const struct vocabulary *vocabulary;
};
struct turn_options turn_options_default(void);

/* What a message of the model is for. By recipient first, then by channel. */
enum turn_part {
    TURN_REASONING, /* analysis */
    TURN_PREAMBLE,  /* commentary to nobody: shown to the user before a call */
    TURN_FINAL,     /* the answer */
    TURN_CALL,      /* to a recipient, on whatever channel */
};

enum turn_finish {
    TURN_STOP,      /* the model ended its answer */
    TURN_TOOL_CALL, /* .. with at least one call that waits for an answer */
    TURN_LENGTH,    /* max_tokens or the context */
    TURN_STOP_STRING,
    TURN_CANCELLED,
    TURN_FAILED, /* the event's error says why */
};

enum turn_event_kind {
    TURN_WAIT,   /* turn_poll only: nothing until the engine has stepped */
    TURN_BEGIN,  /* a message begins: part, recipient, channel, content_type */
    TURN_TEXT,   /* a delta of whole characters */
    TURN_END,    /* the message is complete: text is all of it; truncated if it was broken off */
    TURN_REPAIR, /* the model broke the format; `repair` says how it was read */
    TURN_DONE,   /* always the last, exactly once: finish, usage, error */
};

struct turn_event {
    enum turn_event_kind kind;
    enum turn_part part;
    const char *recipient, *channel, *content_type; /* BEGIN, TEXT, END; NULL when absent */
    const char *text; /* TEXT, END: UTF-8, NUL-terminated, may hold NUL; valid until the next call */
    size_t text_size;
    bool truncated; /* END */
    struct repair repair;
    enum turn_finish finish; /* DONE */
    struct usage usage;      /* DONE */
    const goss_error *error; /* DONE and TURN_FAILED */
};

struct turn;

/* `conversation` and options->vocabulary must outlive the turn. Rendering happens here, so GOSS_E_LIMIT for a prompt
 * that is too long comes from here, with the counts; and so does whatever is wrong with a schema: GOSS_E_FORMAT for
 * broken JSON or nonsense, GOSS_E_UNSUPPORTED, naming its place in the schema, for what cannot be compiled. */
goss_status turn_open(struct turn **turn, struct engine *engine, const struct harmony *harmony,
                      struct conversation *conversation, const struct turn_options *options, goss_error *error);
/* The two halves of it, for many turns over one engine. Preparing renders and checks; it only reads what never changes
 * of the engine, so any thread may do it. Starting is for the engine's thread; what the options point to must live
 * until then. */
goss_status turn_prepare(struct turn **turn, const struct engine *engine, const struct harmony *harmony,
                         struct conversation *conversation, const struct turn_options *options, goss_error *error);
goss_status turn_start(struct turn *turn, goss_error *error);
void turn_close(struct turn *turn); /* cancels if need be; NULL is fine */

/* The next event, stepping the engine as often as it takes: for one turn at a time. */
void turn_next(struct turn *turn, struct turn_event *event);
/* The same without stepping: TURN_WAIT asks the caller for an engine_step. For many turns over one engine. */
void turn_poll(struct turn *turn, struct turn_event *event);

/* Ends the turn: the next events are the END of what was begun and DONE. */
void turn_cancel(struct turn *turn);

/* For --json, bench and receipts. prompt: the rendered ids. answer: all ids sampled so far, terminators included. */
const int32_t *turn_prompt(const struct turn *turn, size_t *n);
const struct sampled *turn_answer(const struct turn *turn, size_t *n);
uint64_t turn_seed(const struct turn *turn);

#endif
