/* One prompt, one answer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "base/file.h"
#include "command.h"
#include "grammar/grammar.h"
#include "harmony/message_json.h"
#include "input.h"
#include "prompt.h"
#include "session.h"
#include "terminal.h"

enum { PROMPT_LIMIT = 1 << 26 };

/* The operands joined by spaces, or standard input without the newline at its end. */
static goss_status prompt_text(const struct arguments *arguments, struct buffer *prompt, goss_error *error)
{
    goss_status status = GOSS_OK;
    if (!arguments->n_operand) {
        status = input_read(prompt, error);
        if (!status && prompt->size && prompt->data[prompt->size - 1] == '\n')
            prompt->size--;
    }
    for (int i = 0; !status && i < arguments->n_operand; i++)
        status = buffer_append_format(prompt, error, "%s%s", i ? " " : "", arguments->operand[i]);
    if (!status && !prompt->size)
        status = error_set(error, GOSS_E_ARGUMENT, "the prompt is empty");
    return status;
}

/* The messages that the turn added, in the form of docs/harmony.md; NULL when memory is out. */
static json_t *messages_from(const struct conversation *conversation, size_t first)
{
    struct conversation added = {.message = conversation->message + first,
                                 .n_message = conversation->n_message - first};
    struct buffer text;
    json_t *messages = NULL;
    buffer_init(&text, (size_t)4 * PROMPT_LIMIT);
    if (!conversation_to_json(&added, NULL, &text, NULL))
        messages = json_loadb((const char *)text.data, text.size, JSON_ALLOW_NUL, NULL);
    buffer_free(&text);
    return messages;
}

static json_t *sampled_ids(const struct turn *turn)
{
    size_t n;
    const struct sampled *sampled = turn_answer(turn, &n);
    json_t *ids = json_array();
    for (size_t i = 0; ids && i < n; i++)
        (void)json_array_append_new(ids, json_integer(sampled[i].id));
    return ids;
}

static json_t *settings(const struct arguments *arguments, const char *date)
{
    const struct value *value = arguments->value;
    return json_pack("{s:s, s:s?, s:s?, s:I, s:f, s:f, s:I, s:f}", "effort", value[OPTION_EFFORT].text, "date",
                     *date ? date : NULL, "system", value[OPTION_SYSTEM].text, "seed",
                     (json_int_t)value[OPTION_SEED].whole, "temperature", value[OPTION_TEMPERATURE].number, "top_p",
                     value[OPTION_TOP_P].number, "top_k", (json_int_t)value[OPTION_TOP_K].whole, "min_p",
                     value[OPTION_MIN_P].number);
}

/* Nothing in it depends on speed: equal settings give equal bytes. */
static json_t *answer_json(const struct answer *answer, const struct turn *turn,
                           const struct conversation *conversation, size_t first, json_t *used)
{
    size_t n;
    const int32_t *prompt = turn_prompt(turn, &n);
    json_t *usage = json_pack("{s:i, s:i, s:i}", "prompt_tokens", answer->usage.prompt_tokens, "answer_tokens",
                              answer->usage.answer_tokens, "reasoning_tokens", answer->reasoning_tokens);
    return json_pack("{s:s%, s:s%, s:s, s:o, s:o, s:o, s:O, s:o, s:o}", "text",
                     answer->text.data ? (char *)answer->text.data : "", answer->text.size, "reasoning",
                     answer->reasoning.data ? (char *)answer->reasoning.data : "", answer->reasoning.size,
                     "finish_reason", finish_name(answer->finish), "usage", usage, "settings", used, "messages",
                     messages_from(conversation, first), "repairs", answer->repairs, "prompt_ids",
                     ids_to_json(prompt, n), "ids", sampled_ids(turn));
}

/* On a terminal, a last dim line with the speed; it goes to standard error, beside the answer. */
static void speed_print(const struct answer *answer, const struct terminal *terminal)
{
    struct terminal beside;
    double seconds = answer->seconds - answer->first_seconds;
    terminal_open(&beside, stderr, COLOR_AUTO);
    if (!terminal->is_terminal || !beside.is_terminal)
        return;
    beside.color = terminal->color;
    terminal_style(&beside, STYLE_DIM);
    (void)fprintf(stderr, "\n%d tokens, first after %.2f s", answer->usage.answer_tokens, answer->first_seconds);
    if (answer->usage.answer_tokens > 1 && seconds > 0)
        (void)fprintf(stderr, ", then %.1f tokens/s", (answer->usage.answer_tokens - 1) / seconds);
    if (answer->finish == TURN_LENGTH)
        (void)fputs("; cut at the token limit", stderr);
    (void)fputc('\n', stderr);
    terminal_style(&beside, STYLE_PLAIN);
}

/* The file of --schema; NULL without the option. */
static goss_status read_schema(const struct arguments *arguments, char **schema, goss_error *error)
{
    const char *file = arguments->value[OPTION_SCHEMA].text;
    uint8_t *bytes = NULL;
    size_t size;
    *schema = NULL;
    if (!file)
        return GOSS_OK;
    goss_status status = file_read(file, GRAMMAR_SCHEMA_BYTES, &bytes, &size, error);
    *schema = (char *)bytes;
    if (!status && strlen(*schema) != size)
        return error_set(error, GOSS_E_FORMAT, "%s: a NUL byte is no JSON", file);
    return status;
}

static goss_status run_turn(const struct arguments *arguments, struct session *session,
                            struct conversation *conversation, const char *date, const char *schema, goss_error *error)
{
    const struct value *value = arguments->value;
    struct terminal terminal;
    struct harmony harmony;
    struct answer answer = {0};
    struct turn *turn = NULL;
    struct turn_options options = turn_options_default();
    size_t first = conversation->n_message;
    terminal_open(&terminal, stdout, (enum color)arguments_choice(arguments, OPTION_COLOR));
    options.sampling = session_sampling(arguments);
    options.max_tokens = (int)value[OPTION_MAX_TOKENS].whole;
    options.effort = prompt_effort(arguments);
    options.vocabulary = session->vocabulary;
    if (schema) {
        options.form = ANSWER_SCHEMA;
        options.schema = (struct answer_schema){.json = schema, .size = strlen(schema), .in_order = true};
    }
    goss_status status = harmony_open(&harmony, session->tokenizer, error);
    if (!status)
        status = turn_open(&turn, session->engine, &harmony, conversation, &options, error);
    if (!status)
        status = answer_stream(
            &answer, turn, session->engine, value[OPTION_JSON].given ? NULL : &terminal,
            value[OPTION_HIDE_REASONING].given || !terminal.is_terminal ? REASONING_HIDDEN : REASONING_SHOWN, error);
    if (!status && value[OPTION_JSON].given)
        status = output_json(answer_json(&answer, turn, conversation, first, settings(arguments, date)), error);
    else if (!status)
        speed_print(&answer, &terminal);
    if (!status && answer.finish == TURN_CANCELLED)
        status = error_set(error, GOSS_E_CANCELLED, "interrupted");
    turn_close(turn);
    answer_free(&answer);
    return status;
}

goss_status command_run(const struct arguments *arguments, goss_error *error)
{
    struct session session = {0};
    struct engine_options options = {.max_sequences = 1, .lookup = session_lookup(arguments)};
    struct conversation conversation = {0};
    struct buffer prompt;
    char date[11], *schema = NULL;
    buffer_init(&prompt, PROMPT_LIMIT);
    interrupts_catch();
    goss_status status = prompt_date(arguments, date, error);
    if (!status)
        status = prompt_text(arguments, &prompt, error);
    if (!status)
        status = read_schema(arguments, &schema, error);
    if (!status)
        status = session_open_model(&session, arguments, error);
    if (!status)
        status = session_open_tokenizer(&session, error);
    if (!status && schema)
        status = session_open_vocabulary(&session, error);
    if (!status)
        status = session_open_engine(&session, arguments, &options, error);
    if (!status)
        status = prompt_begin(&conversation, prompt_effort(arguments), date, arguments->value[OPTION_SYSTEM].text,
                              schema, error);
    if (!status)
        status = conversation_add_text(&conversation, ROLE_USER, NULL, (const char *)prompt.data, prompt.size, error);
    if (!status)
        status = run_turn(arguments, &session, &conversation, date, schema, error);
    free(schema);
    conversation_free(&conversation);
    buffer_free(&prompt);
    session_close(&session);
    return status;
}
