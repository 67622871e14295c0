/* CONVERSATION -> token ids. Every string of users, tools and documents is encoded with control tokens disabled. */
#ifndef HARMONY_RENDER_H
#define HARMONY_RENDER_H

#include "harmony/control.h"
#include "harmony/conversation.h"

enum render_mode { RENDER_COMPLETION, RENDER_CONVERSATION, RENDER_TRAINING };

/* Which reasoning of the past is left out: DROP_TURN all analysis before the last final (what the format's
 * documentation asks); DROP_HARMONY openai-harmony's exact rule; DROP_NONE nothing. */
enum render_drop { DROP_TURN, DROP_HARMONY, DROP_NONE };

/* How a call is spelled: as openai-harmony renders it (recipient in the role part), or as the models write it
 * (channel first). */
enum render_call { CALL_ROLE, CALL_CHANNEL };

struct render_options {
    enum render_mode mode;
    enum role next_role; /* RENDER_COMPLETION: ends with <|start|> and this role */
    enum render_drop drop;
    enum render_call call;
};

goss_status render(const struct harmony *harmony, const struct conversation *conversation,
                   const struct render_options *options, struct token_list *ids, goss_error *error);

#endif
