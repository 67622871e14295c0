/* Keeps a turn to what its options ask of answers and calls: it follows what is sampled, id by id, and says which ids
 * may come next. Messages begin with one of the headers that the models really write, with the channels and recipients
 * that the options leave; then
 *   - reasoning, preambles, free answers and free calls may be any text, and only how they end is bound;
 *   - an answer with a form, and the arguments of a call to a strict function, are led by a grammar.
 * So a turn that owes an answer or a call ends with one, unless its tokens run out before.
 *
 * Thread safety: opened by any thread, then used by the engine's. */
#ifndef AGENT_GUIDE_H
#define AGENT_GUIDE_H

#include "agent/turn.h"

struct turn_guide;

/* in_final: the prompt has opened the answer already. *guide is NULL if the options ask for nothing. GOSS_E_ARGUMENT
 * for options that contradict each other or the conversation; what is wrong with a schema as in grammar/grammar.h. The
 * options' vocabulary and harmony must outlive the guide. */
goss_status turn_guide_open(struct turn_guide **guide, const struct harmony *harmony,
                            const struct conversation *conversation, const struct turn_options *options, bool in_final,
                            goss_error *error);
void turn_guide_close(struct turn_guide *guide); /* NULL is fine */

/* What the engine asks; of NULL one that asks for nothing. */
struct guide turn_guide_face(struct turn_guide *guide);

#endif
