/* CONVERSATION -> token ids. Every string of users, tools and documents is encoded with control tokens disabled, each
 * on its own, so no text can become structure. The blocks and rules are in docs/harmony.md. */
#ifndef HARMONY_RENDER_H
#define HARMONY_RENDER_H

#include "harmony/control.h"
#include "harmony/conversation.h"

/* COMPLETION ends with <|start|> and the next role; CONVERSATION with the last message; TRAINING too, but the <|end|>
 * of a last final answer is <|return|>. */
enum render_mode { RENDER_COMPLETION, RENDER_CONVERSATION, RENDER_TRAINING };

/* Which reasoning of the past is left out: DROP_TURN all analysis before the last answer (what the format's
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
    /* RENDER_COMPLETION for the assistant: goes on with an empty analysis message and an opened final one, so that the
     * model answers without reasoning. It was never trained on this; refused when the conversation declares tools. */
    bool no_reasoning;
};

/* Appends to ids. The ids that follow the last <|start|>assistant are to be fed to the parser before the sampled ones:
 * with no_reasoning there are some (render_open_final), without none. */
goss_status render(const struct harmony *harmony, const struct conversation *conversation,
                   const struct render_options *options, struct token_list *ids, goss_error *error);

/* Appends <|channel|>final<|message|>: what no_reasoning writes after its last <|start|>assistant. */
goss_status render_open_final(const struct harmony *harmony, struct token_list *ids, goss_error *error);

#endif
