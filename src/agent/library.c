/* include/gossamer.h over the floors below: each function here is a translation and no more. */
#include <stdlib.h>
#include <string.h>

#include "agent/turn.h"
#include "base/buffer.h"
#include "engine/processor.h"
#include "harmony/message_json.h"
#include "harmony/names.h"
#include "model/model.h"

enum {
    MOST_TEXT = 1 << 30, /* bytes handed to the caller at once */
    MOST_RECIPIENT = 1 << 20
};

struct goss_model {
    struct model *model;
    struct tokenizer *built_in; /* only if the checkpoint has no tokenizer */
    const struct tokenizer *tokenizer;
    struct harmony harmony;
    struct engine *engine;
};

struct goss_conversation {
    struct conversation conversation; /* functions under identifiers */
    struct name_map names;
};

struct goss_turn {
    struct turn *turn;
    const struct name_map *names; /* the conversation's */
    struct buffer recipient;      /* of the last event */
};

void goss_free(void *memory)
{
    free(memory);
}

/* ---- a model ---- */

goss_model_options goss_model_options_default(void)
{
    return (goss_model_options){.max_turns = 1, .chunk = 512};
}

static goss_status open_tokenizer(goss_model *m, const char *path, goss_error *error)
{
    m->tokenizer = m->model->tokenizer;
    if (!m->tokenizer) {
        goss_status status = tokenizer_open_o200k(&m->built_in, error);
        if (status)
            return status;
        m->tokenizer = m->built_in;
        if (tokenizer_size(m->tokenizer) > m->model->config.n_vocab)
            return error_set(error, GOSS_E_UNSUPPORTED, "%s: no tokenizer, and %d ids are too few for o200k_harmony",
                             path, m->model->config.n_vocab);
    }
    return harmony_open(&m->harmony, m->tokenizer, error);
}

static goss_status open_engine(goss_model *m, const goss_model_options *o, goss_error *error)
{
    static const enum processor processor[] = {
        [GOSS_BACKEND_AUTO] = PROCESSOR_AUTO, [GOSS_BACKEND_CPU] = PROCESSOR_CPU, [GOSS_BACKEND_CUDA] = PROCESSOR_CUDA};
    if ((unsigned)o->backend > GOSS_BACKEND_CUDA)
        return error_set(error, GOSS_E_ARGUMENT, "backend %d is not one of goss_backend", (int)o->backend);
    struct engine_options options = {.threads = o->threads,
                                     .isa = o->isa,
                                     .gpu_bytes = o->gpu_bytes,
                                     .context = o->context,
                                     .max_sequences = o->max_turns,
                                     .chunk = o->chunk,
                                     .lookup = o->no_lookup ? LOOKUP_OFF : LOOKUP_AUTO,
                                     .kv_bytes = o->cache_bytes};
    const struct backend_table *table;
    goss_status status = processor_choose(processor[o->backend], m->model, o->gpu_bytes, &table, error);
    return status ? status : processor_open(&m->engine, processor[o->backend], m->model, table, &options, error);
}

goss_status goss_model_open(goss_model **model, const char *path, const goss_model_options *options, goss_error *error)
{
    *model = NULL;
    goss_model_options o = options ? *options : goss_model_options_default();
    if (!path)
        return error_set(error, GOSS_E_ARGUMENT, "no path was given");
    goss_model *m = calloc(1, sizeof *m);
    if (!m)
        return error_memory(error, sizeof *m, "a model");
    struct model_options model_options = {.cache = o.cache};
    goss_status status = model_open(&m->model, path, &model_options, error);
    if (!status && o.copy_weights)
        status = model_copy(m->model, NULL, error);
    status = status ? status : open_tokenizer(m, path, error);
    status = status ? status : open_engine(m, &o, error);
    if (status) {
        goss_model_close(m);
        return status;
    }
    *model = m;
    return GOSS_OK;
}

void goss_model_close(goss_model *m)
{
    if (!m)
        return;
    engine_close(m->engine);
    model_close(m->model);
    tokenizer_close(m->built_in);
    free(m);
}

int goss_model_context(const goss_model *m)
{
    return engine_context(m->engine);
}

const char *goss_model_isa(const goss_model *m)
{
    return engine_isa(m->engine);
}

bool goss_model_step(goss_model *m)
{
    return engine_step(m->engine);
}

goss_status goss_tokenize(const goss_model *m, const char *text, size_t size, bool control, int32_t **ids, size_t *n,
                          goss_error *error)
{
    struct token_list list = {0};
    *ids = NULL;
    *n = 0;
    goss_status status = tokenizer_encode(m->tokenizer, text, size, control, &list, error);
    if (status) {
        token_list_free(&list);
        return status;
    }
    *ids = list.id;
    *n = list.size;
    return GOSS_OK;
}

/* Hands a buffer over to the caller, never as NULL. */
static goss_status hand_over(struct buffer *buffer, char **text, size_t *size, goss_error *error)
{
    if (buffer_append(buffer, "", 0, error)) {
        buffer_free(buffer);
        return GOSS_E_MEMORY;
    }
    *text = buffer->data ? (char *)buffer->data : calloc(1, 1);
    *size = buffer->size;
    return *text ? GOSS_OK : error_memory(error, 1, "a text");
}

goss_status goss_detokenize(const goss_model *m, const int32_t *ids, size_t n, char **text, size_t *size,
                            goss_error *error)
{
    struct buffer out;
    goss_status status = GOSS_OK;
    *text = NULL;
    *size = 0;
    buffer_init(&out, MOST_TEXT);
    for (size_t i = 0; i < n && status == GOSS_OK; i++) {
        size_t length;
        if (ids[i] < 0 || ids[i] >= tokenizer_size(m->tokenizer)) {
            status = error_set(error, GOSS_E_ARGUMENT, "token %zu is %d, ids are 0 to %d", i, ids[i],
                               tokenizer_size(m->tokenizer) - 1);
            break;
        }
        const uint8_t *bytes = tokenizer_bytes(m->tokenizer, ids[i], &length);
        status = buffer_append(&out, bytes, length, error);
    }
    if (status) {
        buffer_free(&out);
        return status;
    }
    return hand_over(&out, text, size, error);
}

/* ---- a conversation ---- */

static const enum effort effort_of[] = {[GOSS_EFFORT_UNSET] = EFFORT_UNSET,
                                        [GOSS_EFFORT_NONE] = EFFORT_NONE,
                                        [GOSS_EFFORT_LOW] = EFFORT_LOW,
                                        [GOSS_EFFORT_MEDIUM] = EFFORT_MEDIUM,
                                        [GOSS_EFFORT_HIGH] = EFFORT_HIGH};

static goss_status check_effort(goss_effort effort, goss_error *error)
{
    if ((unsigned)effort <= GOSS_EFFORT_HIGH)
        return GOSS_OK;
    return error_set(error, GOSS_E_ARGUMENT, "effort %d is not one of goss_effort", (int)effort);
}

goss_status goss_conversation_open(goss_conversation **conversation, goss_error *error)
{
    *conversation = calloc(1, sizeof **conversation);
    return *conversation ? GOSS_OK : error_memory(error, sizeof **conversation, "a conversation");
}

void goss_conversation_close(goss_conversation *c)
{
    if (!c)
        return;
    conversation_free(&c->conversation);
    name_map_free(&c->names);
    free(c);
}

goss_status goss_conversation_add_system(goss_conversation *c, goss_effort effort, const char *date, goss_error *error)
{
    goss_status status = check_effort(effort, error);
    return status ? status : conversation_add_system(&c->conversation, effort_of[effort], date, error);
}

goss_status goss_conversation_add_instructions(goss_conversation *c, const char *text, size_t size, goss_error *error)
{
    const struct part part = {.kind = PART_DEVELOPER, .text = text, .text_size = size};
    const struct message message = {.role = ROLE_DEVELOPER, .part = &part, .n_part = 1};
    return conversation_add(&c->conversation, &message, error);
}

goss_status goss_conversation_add_user(goss_conversation *c, const char *text, size_t size, goss_error *error)
{
    return conversation_add_text(&c->conversation, ROLE_USER, NULL, text, size, error);
}

goss_status goss_conversation_add_tool(goss_conversation *c, const char *name, const char *text, size_t size,
                                       goss_error *error)
{
    const struct part part = {.kind = PART_TEXT, .text = text, .text_size = size};
    struct buffer recipient;
    if (!name)
        return error_set(error, GOSS_E_ARGUMENT, "a tool's answer needs the tool's name");
    buffer_init(&recipient, MOST_RECIPIENT);
    goss_status status = name_map_add_recipient(&c->names, name, &recipient, error);
    const struct message message = {.role = ROLE_TOOL,
                                    .name = (const char *)recipient.data,
                                    .recipient = role_name(ROLE_ASSISTANT),
                                    .channel = "commentary",
                                    .part = &part,
                                    .n_part = 1};
    status = status ? status : conversation_add(&c->conversation, &message, error);
    buffer_free(&recipient);
    return status;
}

goss_status goss_conversation_add_json(goss_conversation *c, const char *json, size_t size, goss_error *error)
{
    struct arena arena = {0};
    struct json_node *messages;
    size_t before = c->conversation.n_message;
    goss_status status = json_tree_read(&arena, json, size, "messages", &messages, error);
    if (status == GOSS_OK)
        status = conversation_from_json(&c->conversation, messages, "messages", &c->names, error);
    if (status)
        c->conversation.n_message = before; /* all or nothing */
    arena_free(&arena);
    return status;
}

goss_status goss_conversation_json(const goss_conversation *c, char **json, size_t *size, goss_error *error)
{
    struct buffer out;
    *json = NULL;
    *size = 0;
    buffer_init(&out, MOST_TEXT);
    goss_status status = conversation_to_json(&c->conversation, &c->names, &out, error);
    if (status) {
        buffer_free(&out);
        return status;
    }
    return hand_over(&out, json, size, error);
}

/* ---- a turn ---- */

goss_turn_options goss_turn_options_default(void)
{
    const struct sampling s = sampling_default();
    return (goss_turn_options){.temperature = s.temperature,
                               .top_p = s.top_p,
                               .min_p = s.min_p,
                               .top_k = s.top_k,
                               .repetition_penalty = s.repetition_penalty,
                               .presence_penalty = s.presence_penalty,
                               .frequency_penalty = s.frequency_penalty};
}

goss_status goss_turn_open(goss_turn **turn, goss_model *m, goss_conversation *c, const goss_turn_options *options,
                           goss_error *error)
{
    *turn = NULL;
    goss_turn_options o = options ? *options : goss_turn_options_default();
    goss_status status = check_effort(o.effort, error);
    if (status)
        return status;
    struct turn_options inner = turn_options_default();
    inner.sampling.temperature = o.temperature;
    inner.sampling.top_p = o.top_p;
    inner.sampling.min_p = o.min_p;
    inner.sampling.top_k = o.top_k;
    inner.sampling.repetition_penalty = o.repetition_penalty;
    inner.sampling.presence_penalty = o.presence_penalty;
    inner.sampling.frequency_penalty = o.frequency_penalty;
    inner.sampling.seed = o.seed;
    inner.max_tokens = o.max_tokens;
    inner.effort = effort_of[o.effort];
    inner.stop = o.stop;
    inner.n_stop = o.n_stop;
    goss_turn *t = calloc(1, sizeof *t);
    if (!t)
        return error_memory(error, sizeof *t, "a turn");
    status = turn_open(&t->turn, m->engine, &m->harmony, &c->conversation, &inner, error);
    if (status) {
        free(t);
        return status;
    }
    t->names = &c->names;
    buffer_init(&t->recipient, MOST_TEXT);
    *turn = t;
    return GOSS_OK;
}

void goss_turn_close(goss_turn *t)
{
    if (!t)
        return;
    turn_close(t->turn);
    buffer_free(&t->recipient);
    free(t);
}

static void translate(goss_turn *t, const struct turn_event *from, goss_event *to)
{
    static const goss_event_kind kind[] = {
        [TURN_WAIT] = GOSS_EVENT_WAIT, [TURN_BEGIN] = GOSS_EVENT_BEGIN,   [TURN_TEXT] = GOSS_EVENT_TEXT,
        [TURN_END] = GOSS_EVENT_END,   [TURN_REPAIR] = GOSS_EVENT_REPAIR, [TURN_DONE] = GOSS_EVENT_DONE};
    static const goss_part part[] = {[TURN_REASONING] = GOSS_PART_REASONING,
                                     [TURN_PREAMBLE] = GOSS_PART_PREAMBLE,
                                     [TURN_FINAL] = GOSS_PART_FINAL,
                                     [TURN_CALL] = GOSS_PART_CALL};
    static const goss_finish finish[] = {
        [TURN_STOP] = GOSS_FINISH_STOP,           [TURN_TOOL_CALL] = GOSS_FINISH_CALL,
        [TURN_LENGTH] = GOSS_FINISH_LENGTH,       [TURN_STOP_STRING] = GOSS_FINISH_STOP_STRING,
        [TURN_CANCELLED] = GOSS_FINISH_CANCELLED, [TURN_FAILED] = GOSS_FINISH_FAILED};
    *to = (goss_event){.kind = kind[from->kind],
                       .part = part[from->part],
                       .recipient = from->recipient,
                       .text = from->kind == TURN_REPAIR ? from->repair.kind : from->text,
                       .size = from->text_size,
                       .truncated = from->truncated,
                       .finish = finish[from->finish],
                       .prompt_tokens = from->usage.prompt_tokens,
                       .cached_tokens = from->usage.cached_tokens,
                       .answer_tokens = from->usage.answer_tokens,
                       .error = from->error};
    if (from->kind == TURN_REPAIR)
        to->size = strlen(to->text);
    /* without memory for its name a function goes by its identifier */
    if (from->recipient && name_map_find_recipient(t->names, from->recipient, &t->recipient, NULL) == GOSS_OK)
        to->recipient = (const char *)t->recipient.data;
}

void goss_turn_next(goss_turn *t, goss_event *event)
{
    struct turn_event inner;
    turn_next(t->turn, &inner);
    translate(t, &inner, event);
}

void goss_turn_poll(goss_turn *t, goss_event *event)
{
    struct turn_event inner;
    turn_poll(t->turn, &inner);
    translate(t, &inner, event);
}

void goss_turn_cancel(goss_turn *t)
{
    turn_cancel(t->turn);
}
