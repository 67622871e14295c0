/* Bodies of requests. The first byte chooses the interface; what follows is refused with a 4xx and a sentence, or
 * becomes a conversation whose answer is well-formed JSON, whole and streamed. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "api/chat.h"
#include "api/compact.h"
#include "api/completions.h"
#include "api/held.h"
#include "api/messages.h"
#include "api/responses.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The values of the first byte after those of enum api_wire. */
enum { COUNT = API_MESSAGES + 1, COMPACT, MESSAGE, WIRES, OUT = 64 << 20 };
static const char key[] = "abcdefghijklmnopqrstuvwx";

static void insist(bool holds)
{
    if (!holds)
        abort();
}

static void is_json(const char *text, size_t size)
{
    json_error_t why;
    json_t *json = json_loadb(text, size, JSON_ALLOW_NUL | JSON_DISABLE_EOF_CHECK, &why);
    insist(json != NULL);
    json_decref(json);
}

/* Every line of a stream is a name, a JSON text or the end. */
static void check_stream(const struct buffer *stream)
{
    const char *at = (const char *)stream->data, *end = at + stream->size;
    while (at < end) {
        const char *line = memchr(at, '\n', (size_t)(end - at));
        insist(line != NULL);
        if (*at == '{') /* for a WebSocket */
            is_json(at, (size_t)(line - at));
        else if (strncmp(at, "data: {", 7) == 0)
            is_json(at + 6, (size_t)(line - at - 6));
        else
            insist(line == at || strncmp(at, "event: ", 7) == 0 || strncmp(at, "data: [DONE]", 12) == 0);
        at = line + 1;
    }
}

static void check_answer(const struct api_request *request)
{
    struct answer answer;
    struct answer_identity identity = {key, 1};
    struct buffer out, stream;
    goss_error reason = {.status = GOSS_E_INTERNAL, .text = "the engine failed"};
    buffer_init(&out, OUT);
    buffer_init(&stream, OUT);
    insist(answer_open(&answer, request, NULL, &identity, NULL) == GOSS_OK);
    insist(answer_start(&answer, 7, &stream, NULL) == GOSS_OK);
    insist(answer_write(&answer, &out, NULL) == GOSS_OK);
    is_json((const char *)out.data, out.size);
    insist(answer_fail(&answer, &reason, 2, &stream, NULL) == GOSS_OK);
    if (stream.size > 0)
        check_stream(&stream);
    answer_close(&answer);
    buffer_free(&out);
    buffer_free(&stream);
}

static void check_refusal(struct api_error *error, enum api_wire wire)
{
    struct buffer out;
    buffer_init(&out, OUT);
    insist(api_error_write(error, wire, &out, NULL) == GOSS_OK);
    insist(error->http >= 400 && error->http < 500 && error->base.text[0]);
    is_json((const char *)out.data, out.size);
    buffer_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct api_settings settings = {.model = "m", .seed = 1, .n_vocab = 201088, .owner = 1};
    struct api_request request = {0};
    struct api_error error = {0};
    struct api_held held;
    goss_status status;
    if (size == 0)
        return 0;
    int wire = data[0] % WIRES;
    const uint8_t *body = data + 1;
    size--;
    held_open(&held);
    if (wire == MESSAGE)
        settings.held = &held;
    switch (wire) {
    case MESSAGE:
    case API_RESPONSES: status = responses_read(&request, &settings, key, body, size, &error); break;
    case API_CHAT: status = chat_read(&request, &settings, body, size, &error); break;
    case API_COMPLETIONS: status = completions_read(&request, &settings, body, size, &error); break;
    case COMPACT: status = compact_read(&request, &settings, body, size, &error); break;
    default: status = messages_read(&request, &settings, wire == COUNT, body, size, &error);
    }
    if (status == GOSS_OK) {
        status = api_request_assemble(&request, NULL, NULL, &error);
        if (status == GOSS_OK && wire != COUNT)
            check_answer(&request);
    }
    if (status)
        check_refusal(&error, wire == COUNT ? API_MESSAGES : wire > COUNT ? API_RESPONSES : (enum api_wire)wire);
    api_request_close(&request);
    held_close(&held);
    return 0;
}
