/* Token ids -> EVENT, the third waist. A total function: every sequence of ids has a reading, no id is lost, no control
 * token shows in text, and the events do not depend on when they are pulled. What deviates from the format is read in
 * the best way we know and named by a repair; docs/harmony.md has the rules as a table and every name. */
#ifndef HARMONY_PARSE_H
#define HARMONY_PARSE_H

#include "harmony/control.h"
#include "harmony/conversation.h"

enum event_kind {
    EVENT_NONE,          /* feed more ids */
    EVENT_MESSAGE_BEGIN, /* role, name, recipient, channel, content_type are final */
    EVENT_TEXT,          /* text: a delta of whole UTF-8 characters */
    EVENT_MESSAGE_END,   /* terminator; truncated if the stream ended inside the message */
    EVENT_REPAIR,        /* the model broke the format and `repair` says how it was read */
};

struct repair {
    const char *kind; /* a fixed name, listed in docs/harmony.md */
    size_t position;  /* index of the id concerned, counted from the first id fed */
};

struct event {
    enum event_kind kind;
    enum role role;
    const char *name, *recipient, *channel, *content_type; /* BEGIN and END; NULL when absent */
    const char *text;                                      /* TEXT; not NUL-terminated, may hold NUL */
    size_t text_size;
    int32_t terminator; /* END: the id that ended it, or -1 */
    bool truncated;     /* END: the stream ended inside the message, so a call must not be executed */
    bool repaired;      /* END: some repair concerns this message's header or content, not only its end */
    /* END: the ids that this message was read from, header and terminator included. REPAIR: ids that belong to no
     * message, mostly none. These stretches of all events follow each other and cover every id fed. */
    size_t first_id, n_id;
    struct repair repair; /* REPAIR */
};

struct parser;

/* role: the role already written by the prompt (ROLE_ASSISTANT after <|start|>assistant), or NULL to begin by
 * expecting <|start|>. harmony and its tokenizer must outlive the parser. */
goss_status parser_open(struct parser **parser, const struct harmony *harmony, const enum role *role,
                        goss_error *error);
void parser_close(struct parser *parser); /* NULL is fine */

/* Feed, then pull until EVENT_NONE. Fails only when memory is out. */
goss_status parser_feed(struct parser *parser, int32_t id, goss_error *error);
goss_status parser_finish(struct parser *parser, goss_error *error); /* the stream has ended; idempotent */
/* The event's strings live until the next parser_feed or parser_finish. */
void parser_next(struct parser *parser, struct event *event);

#endif
