#include "api/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/fields.h"
#include "api/held.h"
#include "api/recall.h"
#include "harmony/message_json.h"
#include "store/store.h"

void api_request_close(struct api_request *request)
{
    conversation_free(&request->setup);
    conversation_free(&request->input);
    conversation_free(&request->conversation);
    name_map_free(&request->names);
    arena_free(&request->arena);
    *request = (struct api_request){0};
}

const struct api_tool *api_request_tool(const struct api_request *request, const char *recipient)
{
    static const char prefix[] = "functions.";
    if (!recipient)
        return NULL;
    if (strncmp(recipient, prefix, sizeof prefix - 1) == 0)
        recipient += sizeof prefix - 1;
    for (size_t i = 0; i < request->n_tool; i++)
        if (strcmp(request->tool[i].identifier, recipient) == 0)
            return &request->tool[i];
    return NULL;
}

/* ---- the stored past ---- */

/* The past while it is put together. */
struct past {
    struct api_request *request;
    struct api_error *error;
    struct arena arena; /* the trees; gone at the end */
    struct conversation messages;
    const struct json_node *chain;     /* array of what answer_keep wrote */
    const struct json_node **referred; /* [n_reference] the same for the response that each reference points into */
};

/* The recipient of a call of a stored response; `absent` if it has none with that id. */
static const char *call_of(const struct json_node *turn, const char *id, const char *absent)
{
    const struct json_node *calls = json_tree_get(turn, "calls");
    for (const struct json_node *call = calls ? calls->child : NULL; call; call = call->next)
        if (call->n_child == 2 && strcmp(call->child->text, id) == 0)
            absent = call->last->text;
    return absent;
}

/* The recipient of the latest stored call with that id; NULL if there is none. */
static const char *stored_call(const struct past *past, const char *id)
{
    const char *recipient = NULL;
    for (const struct json_node *turn = past->chain ? past->chain->child : NULL; turn; turn = turn->next)
        recipient = call_of(turn, id, recipient);
    for (size_t i = 0; i < past->request->n_reference; i++)
        recipient = call_of(past->referred[i], id, recipient);
    return recipient;
}

static goss_status read_stored(struct past *past, const struct buffer *text, const struct json_node **root)
{
    struct json_node *tree = NULL;
    goss_error *error = &past->error->base;
    const char *copy = arena_copy(&past->arena, text->data ? (const char *)text->data : "", text->size);
    goss_status status = copy ? json_tree_read(&past->arena, copy, text->size, "a stored response", &tree, error)
                              : error_memory(error, text->size, "a stored response");
    *root = tree;
    return status;
}

/* Appends the chain that the request continues: what its WebSocket remembers, or what is stored. What continues an
 * answer that is not stored cannot be stored either. */
static goss_status find_chain(struct past *past, struct store *store, struct buffer *text)
{
    struct api_request *request = past->request;
    const struct api_held *held = request->settings->held;
    if (held && held_is(held, request->previous)) {
        request->store = false;
        return buffer_append(text, held->chain.data, held->chain.size, &past->error->base);
    }
    if (!store)
        return api_refuse(past->error, 400, "previous_response_not_found", "previous_response_id",
                          "previous_response_id: this server stores no responses");
    goss_status status = store_chain(store, request->settings->owner, request->previous, text, &past->error->base);
    if (status == GOSS_E_ARGUMENT) {
        past->error->http = 400;
        past->error->code = "previous_response_not_found";
        memcpy(past->error->param, "previous_response_id", sizeof "previous_response_id");
    }
    return status;
}

static goss_status keep_past(struct past *past, const struct buffer *text)
{
    struct api_request *request = past->request;
    request->past = arena_copy(&request->arena, (const char *)text->data, text->size);
    request->n_past = request->past ? text->size : 0;
    return request->past ? GOSS_OK : error_memory(&past->error->base, text->size, "what a response continues");
}

static goss_status read_chain(struct past *past, struct store *store)
{
    const struct api_request *request = past->request;
    struct buffer text;
    if (!request->previous)
        return GOSS_OK;
    buffer_init(&text, 2 * (size_t)STORE_CHAIN_BYTES);
    goss_status status = find_chain(past, store, &text);
    status = status ? status : read_stored(past, &text, &past->chain);
    status = status || !request->settings->held ? status : keep_past(past, &text);
    buffer_free(&text);
    for (const struct json_node *turn = past->chain ? past->chain->child : NULL; turn && !status; turn = turn->next)
        status = conversation_from_json(&past->messages, json_tree_get(turn, "messages"), "a stored response", NULL,
                                        &past->error->base);
    return status;
}

/* ---- item references ---- */

/* "msg_KEY_3" -> "resp_KEY" and 3. */
static bool split_item_id(const char *id, char response[64], int64_t *index)
{
    const char *begin = strchr(id, '_'), *end = strrchr(id, '_');
    if (!begin || end <= begin + 1 || end - begin > 50 || !end[1] || strlen(end + 1) > 6)
        return false;
    char *rest;
    *index = strtol(end + 1, &rest, 10);
    memcpy(response, "resp_", 5);
    memcpy(response + 5, begin + 1, (size_t)(end - begin - 1));
    response[5 + (end - begin - 1)] = 0;
    return !*rest && *index >= 0;
}

/* Appends the message behind one item of a stored response; false if it is not there. */
static bool find_item(const struct conversation *stored, const struct json_node *turn, int64_t index,
                      struct conversation *to, goss_status *status, goss_error *error)
{
    const struct json_node *items = json_tree_get(turn, "items"), *item = items ? items->child : NULL;
    size_t first = items && items->n_child <= stored->n_message ? stored->n_message - items->n_child : 0;
    int64_t value;
    for (size_t i = first; item && i < stored->n_message; i++, item = item->next)
        if (json_tree_integer(item, 0, INT32_MAX, &value) && value == index) {
            *status = conversation_add(to, &stored->message[i], error);
            return true;
        }
    return false;
}

static goss_status item_not_found(struct past *past, const struct api_reference *reference)
{
    return api_refuse(past->error, 400, "item_not_found", reference->path, "%s names an item that is not stored here",
                      reference->path);
}

/* Reads the responses behind the references. */
static goss_status read_referred(struct past *past, struct store *store)
{
    const struct api_request *request = past->request;
    goss_status status = GOSS_OK;
    past->referred = arena_alloc(&past->arena, request->n_reference * sizeof *past->referred);
    if (request->n_reference > 0 && !past->referred)
        return error_memory(&past->error->base, 0, "references");
    for (size_t i = 0; i < request->n_reference && !status; i++) {
        char response[64];
        int64_t index = 0;
        bool found = store && split_item_id(request->reference[i].id, response, &index);
        struct buffer text;
        buffer_init(&text, STORE_ROW_BYTES);
        if (found)
            status = store_get(store, request->settings->owner, response, STORE_MESSAGES, &text, NULL, &found,
                               &past->error->base);
        if (!status)
            status =
                found ? read_stored(past, &text, &past->referred[i]) : item_not_found(past, &request->reference[i]);
        buffer_free(&text);
    }
    return status;
}

static goss_status add_referred(struct past *past, size_t i, struct conversation *to)
{
    const struct api_reference *reference = &past->request->reference[i];
    struct conversation stored = {0};
    goss_error *error = &past->error->base;
    char response[64];
    int64_t index = 0;
    (void)split_item_id(reference->id, response, &index);
    goss_status status =
        conversation_from_json(&stored, json_tree_get(past->referred[i], "messages"), "a stored response", NULL, error);
    bool found = status || find_item(&stored, past->referred[i], index, to, &status, error);
    conversation_free(&stored);
    return found ? status : item_not_found(past, reference);
}

/* ---- putting together ---- */

static goss_status resolve_pending(struct past *past)
{
    struct api_request *request = past->request;
    for (size_t i = 0; i < request->n_pending; i++) {
        const struct api_pending *pending = &request->pending[i];
        const char *recipient = pending->call_id ? stored_call(past, pending->call_id) : NULL;
        if (!recipient)
            return api_refuse(past->error, 400, "tool_call_not_found", pending->path,
                              "%s answers a call that is not in this conversation", pending->path);
        const char *copy = arena_copy(&request->arena, recipient, strlen(recipient));
        if (!copy)
            return error_memory(&past->error->base, strlen(recipient), "the name of a tool");
        request->input.message[pending->message].name = copy;
    }
    return GOSS_OK;
}

/* Input with its references filled in. */
static goss_status add_input(struct past *past, struct conversation *to)
{
    const struct api_request *request = past->request;
    goss_status status = GOSS_OK;
    size_t next = 0;
    for (size_t i = 0; i <= request->input.n_message && !status; i++) {
        while (next < request->n_reference && request->reference[next].message == i && !status)
            status = add_referred(past, next++, to);
        if (i < request->input.n_message && !status)
            status = conversation_add(to, &request->input.message[i], &past->error->base);
    }
    return status;
}

static bool only_instructs(const struct message *message)
{
    return message->role == ROLE_DEVELOPER && message->n_part == 1 && message->part[0].kind == PART_DEVELOPER &&
           message->part[0].text && message->part[0].n_tools == 0 && message->part[0].n_format == 0;
}

/* The setup, and of what follows where it begins: developer messages that open a conversation whose setup has tools or
 * a form but no instructions of its own become its instructions, since the model was trained on one such message. */
static goss_status add_setup(struct api_request *request, const struct conversation *rest, size_t *begin,
                             goss_error *error)
{
    const struct conversation *setup = &request->setup;
    goss_status status = GOSS_OK;
    *begin = 0;
    for (size_t i = 0; i < setup->n_message && !status; i++) {
        struct message message = setup->message[i];
        struct part part = message.n_part == 1 ? message.part[0] : (struct part){0};
        if (message.role == ROLE_DEVELOPER && !part.text && rest->n_message > 0 && only_instructs(&rest->message[0])) {
            part.text = rest->message[0].part[0].text;
            part.text_size = rest->message[0].part[0].text_size;
            message.part = &part;
            *begin = 1;
        }
        status = conversation_add(&request->conversation, &message, error);
    }
    return status;
}

static goss_status assemble(struct past *past, struct store *store, struct recall *recall)
{
    struct api_request *request = past->request;
    goss_error *error = &past->error->base;
    struct conversation input = {0}, whole = {0};
    size_t begin = 0;
    goss_status status = read_chain(past, store);
    status = status ? status : read_referred(past, store);
    status = status ? status : resolve_pending(past);
    status = status ? status : add_input(past, &input);
    size_t n_past = past->messages.n_message;
    for (size_t i = 0; i < input.n_message && !status; i++)
        status = conversation_add(&past->messages, &input.message[i], error);
    recall = request->previous ? NULL : recall; /* a stored past has its ids already */
    if (status == GOSS_OK && recall)
        status = recall_apply(recall, request->settings->owner, &past->messages, &whole, NULL, error);
    const struct conversation *rest = recall ? &whole : &past->messages;
    status = status ? status : add_setup(request, rest, &begin, error);
    for (size_t i = begin; i < rest->n_message && !status; i++)
        status = conversation_add(&request->conversation, &rest->message[i], error);
    request->answer_at = request->conversation.n_message;
    request->first_new = request->setup.n_message + n_past - (n_past ? begin : 0);
    request->opening = begin && n_past == 0 ? &request->input.message[0] : NULL;
    conversation_free(&input);
    conversation_free(&whole);
    return status;
}

goss_status api_request_assemble(struct api_request *request, struct store *store, struct recall *recall,
                                 struct api_error *error)
{
    struct past past = {.request = request, .error = error};
    *error = (struct api_error){0};
    goss_status status = request->wire == API_COMPLETIONS ? GOSS_OK : assemble(&past, store, recall);
    conversation_free(&past.messages);
    arena_free(&past.arena);
    struct api_held *held = request->settings ? request->settings->held : NULL;
    if (status && held && held_is(held, request->previous))
        held_forget(held);
    if (status)
        api_error_settle(error);
    return status;
}

/* The schema that an error is about: a tool's, if the sentence begins with its recipient, or else the answer's. */
static const char *broken_schema(const struct api_request *request, const char *sentence)
{
    static const char prefix[] = "functions.";
    size_t n = strlen(prefix);
    for (size_t i = 0; i < request->n_tool && strncmp(sentence, prefix, n) == 0; i++) {
        const char *identifier = request->tool[i].identifier;
        size_t length = strlen(identifier);
        if (strncmp(sentence + n, identifier, length) == 0 && sentence[n + length] == ':')
            return request->tool[i].schema_path;
    }
    return request->schema_path;
}

void api_request_blame(const struct api_request *request, struct api_error *error)
{
    static const char *const prompt[] = {
        [API_RESPONSES] = "input", [API_CHAT] = "messages", [API_COMPLETIONS] = "prompt", [API_MESSAGES] = "messages"};
    const char *path = NULL;
    if (error->http || *error->param)
        return;
    if (error->base.status == GOSS_E_FORMAT || error->base.status == GOSS_E_UNSUPPORTED)
        path = broken_schema(request, error->base.text);
    else if (error->base.status == GOSS_E_LIMIT)
        path = prompt[request->wire];
    (void)snprintf(error->param, sizeof error->param, "%s", path ? path : "");
}

goss_status api_request_copy(const struct api_request *request, struct conversation *copy, goss_error *error)
{
    goss_status status = GOSS_OK;
    *copy = (struct conversation){0};
    for (size_t i = 0; i < request->conversation.n_message && !status; i++)
        status = conversation_add(copy, &request->conversation.message[i], error);
    if (status)
        conversation_free(copy);
    return status;
}
