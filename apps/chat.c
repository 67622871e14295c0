/* A conversation in the terminal. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "base/file.h"
#include "chat_file.h"
#include "command.h"
#include "lines.h"
#include "places.h"
#include "prompt.h"
#include "session.h"
#include "terminal.h"

enum { MESSAGE_LIMIT = 1 << 26 };

struct chat {
    const struct arguments *arguments;
    struct session session;
    struct harmony harmony;
    struct terminal terminal;
    struct lines *lines;
    struct conversation conversation;
    size_t opening; /* messages before the user's first */
    struct sampling sampling;
    enum effort effort;
    enum reasoning reasoning;
    char *instructions; /* malloc'd, or NULL */
    char date[11];
    char *file;                   /* malloc'd; NULL: nothing is written */
    struct buffer reasoning_text; /* of the last answer, for /unfold */
    bool quit;
};

struct chat_command {
    const char *name, *value, *help;
    goss_status (*run)(struct chat *chat, const char *value, goss_error *error);
};

static void say(const struct chat *chat, const char *text)
{
    terminal_style(&chat->terminal, STYLE_DIM);
    terminal_text(&chat->terminal, text, strlen(text));
    terminal_style(&chat->terminal, STYLE_PLAIN);
    (void)fputc('\n', chat->terminal.file);
}

/* What goes wrong inside a chat is said, and the chat goes on. */
static void complain(const struct chat *chat, const char *text)
{
    terminal_style(&chat->terminal, STYLE_RED);
    terminal_text(&chat->terminal, text, strlen(text));
    terminal_style(&chat->terminal, STYLE_PLAIN);
    (void)fputc('\n', chat->terminal.file);
}

/* The conversation anew: the opening from the settings in force, then `keep` of the old messages after their opening.
 */
static goss_status chat_rebuild(struct chat *chat, size_t keep, goss_error *error)
{
    struct conversation old = chat->conversation;
    struct conversation fresh = {0};
    goss_status status = prompt_begin(&fresh, chat->effort, chat->date, chat->instructions, NULL, error);
    size_t opening = fresh.n_message;
    for (size_t i = 0; !status && i < keep; i++)
        status = conversation_add(&fresh, &old.message[chat->opening + i], error);
    if (status) {
        conversation_free(&fresh);
        return status;
    }
    chat->conversation = fresh;
    chat->opening = opening;
    conversation_free(&old);
    return GOSS_OK;
}

static size_t chat_length(const struct chat *chat)
{
    return chat->conversation.n_message - chat->opening;
}

static goss_status chat_save(const struct chat *chat, const char *path, goss_error *error)
{
    return chat_file_save(path, chat->session.path, effort_name(chat->effort), chat->instructions, &chat->conversation,
                          error);
}

static void speed_say(const struct chat *chat, const struct answer *answer)
{
    char line[160];
    double seconds = answer->seconds - answer->first_seconds;
    int n = answer->usage.answer_tokens, used = answer->usage.prompt_tokens + n;
    if (!chat->terminal.is_terminal)
        return;
    int length = snprintf(line, sizeof line, "%d tokens", n);
    if (n > 1 && seconds > 0)
        length += snprintf(line + length, sizeof line - (size_t)length, ", %.1f tokens/s", (n - 1) / seconds);
    (void)snprintf(line + length, sizeof line - (size_t)length, "; %d of %d of the context used%s", used,
                   engine_context(chat->session.engine),
                   answer->finish == TURN_CANCELLED ? "; stopped"
                   : answer->finish == TURN_LENGTH  ? "; cut at the token limit"
                                                    : "");
    say(chat, line);
}

/* Lets the model speak. On failure the user's last message is taken back. */
static goss_status chat_answer(struct chat *chat, goss_error *error)
{
    struct turn *turn = NULL;
    struct answer answer = {0};
    struct turn_options options = turn_options_default();
    size_t asked = chat->conversation.n_message;
    options.sampling = chat->sampling;
    options.max_tokens = (int)chat->arguments->value[OPTION_MAX_TOKENS].whole;
    options.effort = chat->effort;
    interrupted_clear();
    (void)fputc('\n', chat->terminal.file);
    goss_status status = turn_open(&turn, chat->session.engine, &chat->harmony, &chat->conversation, &options, error);
    if (!status)
        status = answer_stream(&answer, turn, chat->session.engine, &chat->terminal, chat->reasoning, error);
    turn_close(turn);
    interrupted_clear();
    if (status) {
        chat->conversation.n_message = asked - 1;
    } else {
        buffer_clear(&chat->reasoning_text);
        status = buffer_append(&chat->reasoning_text, answer.reasoning.data, answer.reasoning.size, error);
        speed_say(chat, &answer);
    }
    (void)fputc('\n', chat->terminal.file);
    answer_free(&answer);
    return status || !chat->file ? status : chat_save(chat, chat->file, error);
}

static goss_status chat_say(struct chat *chat, const struct buffer *text, goss_error *error)
{
    goss_status status =
        conversation_add_text(&chat->conversation, ROLE_USER, NULL, (const char *)text->data, text->size, error);
    lines_remember(chat->lines, (const char *)text->data);
    return status ? status : chat_answer(chat, error);
}

static goss_status do_new(struct chat *chat, const char *value, goss_error *error)
{
    (void)value;
    goss_status status = chat_rebuild(chat, 0, error);
    buffer_clear(&chat->reasoning_text);
    if (!status && chat->file && !chat->arguments->value[OPTION_HISTORY].given) {
        free(chat->file);
        status = chat_file_name(false, &chat->file, error);
    }
    if (!status)
        say(chat, "a new conversation");
    return status;
}

static goss_status do_effort(struct chat *chat, const char *value, goss_error *error)
{
    char line[64];
    if (*value && !effort_find(value, &chat->effort))
        return error_set(error, GOSS_E_ARGUMENT, "/effort: '%.40s' is not none, low, medium or high", value);
    goss_status status = chat_rebuild(chat, chat_length(chat), error);
    (void)snprintf(line, sizeof line, "effort: %s", effort_name(chat->effort));
    if (!status)
        say(chat, line);
    return status;
}

static goss_status do_system(struct chat *chat, const char *value, goss_error *error)
{
    if (!*value) {
        say(chat, chat->instructions ? chat->instructions
                                     : "no instructions; /system TEXT sets them, /system none removes them");
        return GOSS_OK;
    }
    char *fresh = strcmp(value, "none") == 0 ? NULL : strdup(value), *old = chat->instructions;
    if (!fresh && strcmp(value, "none") != 0)
        return error_memory(error, strlen(value), "the instructions");
    chat->instructions = fresh;
    free(old);
    goss_status status = chat_rebuild(chat, chat_length(chat), error);
    if (!status)
        say(chat, fresh ? "instructions set, for the whole conversation" : "instructions removed");
    return status;
}

static goss_status do_reasoning(struct chat *chat, const char *value, goss_error *error)
{
    static const char *const name[] = {"show", "fold", "hide"};
    char line[64];
    for (int i = 0; i < 3; i++)
        if (strcmp(value, name[i]) == 0)
            chat->reasoning = (enum reasoning)i;
    if (*value && strcmp(value, name[chat->reasoning]) != 0)
        return error_set(error, GOSS_E_ARGUMENT, "/reasoning: '%.40s' is not show, fold or hide", value);
    (void)snprintf(line, sizeof line, "reasoning: %s", name[chat->reasoning]);
    say(chat, line);
    return GOSS_OK;
}

static goss_status do_unfold(struct chat *chat, const char *value, goss_error *error)
{
    (void)value;
    (void)error;
    say(chat,
        chat->reasoning_text.size ? (const char *)chat->reasoning_text.data : "the last answer came without reasoning");
    return GOSS_OK;
}

static goss_status do_history(struct chat *chat, const char *value, goss_error *error)
{
    (void)value;
    (void)error;
    for (size_t i = chat->opening; i < chat->conversation.n_message; i++) {
        const struct message *message = &chat->conversation.message[i];
        bool user = message->role == ROLE_USER;
        if (message->channel && strcmp(message->channel, "analysis") == 0)
            continue;
        terminal_style(&chat->terminal, user ? STYLE_BOLD : STYLE_PLAIN);
        for (size_t k = 0; k < message->n_part; k++)
            if (message->part[k].kind == PART_TEXT)
                terminal_text(&chat->terminal, message->part[k].text, message->part[k].text_size);
        terminal_style(&chat->terminal, STYLE_PLAIN);
        (void)fputs("\n\n", chat->terminal.file);
    }
    if (!chat_length(chat))
        say(chat, "nothing was said yet");
    if (chat->file)
        say(chat, chat->file);
    return GOSS_OK;
}

static goss_status do_save(struct chat *chat, const char *value, goss_error *error)
{
    if (!*value)
        return error_set(error, GOSS_E_ARGUMENT, "/save needs a file name");
    goss_status status = chat_save(chat, value, error);
    if (!status)
        say(chat, "saved");
    return status;
}

/* The last question again, under the next seed. */
static goss_status do_retry(struct chat *chat, const char *value, goss_error *error)
{
    size_t n = chat->conversation.n_message;
    (void)value;
    while (n > chat->opening && chat->conversation.message[n - 1].role != ROLE_USER)
        n--;
    if (n == chat->opening)
        return error_set(error, GOSS_E_ARGUMENT, "/retry: nothing was asked yet");
    chat->conversation.n_message = n;
    chat->sampling.seed++;
    return chat_answer(chat, error);
}

static goss_status do_quit(struct chat *chat, const char *value, goss_error *error)
{
    (void)value;
    (void)error;
    chat->quit = true;
    return GOSS_OK;
}

static goss_status do_help(struct chat *chat, const char *value, goss_error *error);

static const struct chat_command chat_commands[] = {
    {"/help", "", "this list", do_help},
    {"/new", "", "begin a new conversation", do_new},
    {"/retry", "", "answer the last question again, with the next seed", do_retry},
    {"/effort", "none|low|medium|high", "how long the model may reason", do_effort},
    {"/system", "TEXT", "instructions for the model; 'none' removes them", do_system},
    {"/reasoning", "show|fold|hide", "how reasoning is displayed", do_reasoning},
    {"/unfold", "", "print the reasoning of the last answer", do_unfold},
    {"/history", "", "print the conversation and where it is kept", do_history},
    {"/save", "FILE", "write the conversation to a file", do_save},
    {"/quit", "", "leave; so does Ctrl-D", do_quit},
};

enum { N_CHAT_COMMANDS = sizeof chat_commands / sizeof *chat_commands };

static goss_status do_help(struct chat *chat, const char *value, goss_error *error)
{
    (void)value;
    (void)error;
    for (int i = 0; i < N_CHAT_COMMANDS; i++)
        (void)fprintf(chat->terminal.file, "  %-11s%-22s%s\n", chat_commands[i].name, chat_commands[i].value,
                      chat_commands[i].help);
    say(chat, "  A line ending in \\ goes on in the next; \"\"\" opens and closes a text of many lines;\n"
              "  a message that begins with a slash is written with two. Ctrl-C stops an answer.");
    return GOSS_OK;
}

static goss_status chat_command(struct chat *chat, const char *line, goss_error *error)
{
    size_t length = strcspn(line, " ");
    const char *value = line + length + strspn(line + length, " ");
    for (int i = 0; i < N_CHAT_COMMANDS; i++)
        if (strlen(chat_commands[i].name) == length && memcmp(line, chat_commands[i].name, length) == 0)
            return chat_commands[i].run(chat, value, error);
    return error_set(error, GOSS_E_ARGUMENT, "there is no command '%.*s'; /help lists them", (int)length, line);
}

static goss_status chat_loop(struct chat *chat, goss_error *error)
{
    struct buffer text;
    goss_status status = GOSS_OK;
    buffer_init(&text, MESSAGE_LIMIT);
    while (!chat->quit) {
        enum line line;
        goss_error wrong;
        interrupted_clear();
        status = lines_read(chat->lines, &text, &line, error);
        if (status || line == LINE_END)
            break;
        if (line == LINE_INTERRUPTED) {
            if (!chat->terminal.is_terminal) {
                status = error_set(error, GOSS_E_CANCELLED, "interrupted");
                break;
            }
            say(chat, "(Ctrl-D or /quit leaves)");
            continue;
        }
        if (!text.size)
            continue;
        goss_status outcome;
        if (text.data[0] == '/' && text.data[1] != '/') {
            outcome = chat_command(chat, (const char *)text.data, &wrong);
        } else {
            size_t skip = text.data[0] == '/';
            struct buffer message = {.data = text.data + skip, .size = text.size - skip};
            outcome = chat_say(chat, &message, &wrong);
        }
        if (outcome)
            complain(chat, wrong.text);
        (void)fflush(chat->terminal.file);
    }
    buffer_free(&text);
    return status;
}

/* The file that keeps this conversation, and what it already holds. */
static goss_status chat_restore(struct chat *chat, goss_error *error)
{
    const struct value *value = chat->arguments->value;
    char *kept = NULL;
    goss_status status = GOSS_OK;
    if (value[OPTION_NO_HISTORY].given)
        return GOSS_OK;
    if (value[OPTION_HISTORY].given)
        chat->file = strdup(value[OPTION_HISTORY].text);
    else
        status = chat_file_name(value[OPTION_CONTINUE].given, &chat->file, error);
    if (!status && !chat->file)
        status = error_memory(error, 0, "a path");
    if (status || !file_exists(chat->file))
        return status;
    status = chat_file_load(chat->file, &chat->conversation, &kept, error);
    if (chat->instructions)
        free(kept);
    else
        chat->instructions = kept;
    for (size_t i = 0; !status && i < chat->conversation.n_message; i++) {
        const struct message *message = &chat->conversation.message[i];
        chat->opening += message->role == ROLE_SYSTEM || message->role == ROLE_DEVELOPER;
        if (message->role == ROLE_USER && message->n_part && message->part[0].kind == PART_TEXT)
            lines_remember(chat->lines, message->part[0].text);
    }
    return status;
}

static void chat_greet(const struct chat *chat)
{
    char line[256];
    const char *name = strrchr(chat->session.path, '/');
    if (!chat->terminal.is_terminal)
        return;
    (void)snprintf(line, sizeof line, "gossamer %s, %.80s, %d tokens of context, effort %s; /help lists the commands",
                   GOSS_VERSION, name && name[1] ? name + 1 : chat->session.path, engine_context(chat->session.engine),
                   effort_name(chat->effort));
    say(chat, line);
    if (chat_length(chat))
        say(chat, "continuing a conversation; /history prints it");
    (void)fputc('\n', chat->terminal.file);
}

static goss_status chat_open(struct chat *chat, const char *const *words, goss_error *error)
{
    const struct value *value = chat->arguments->value;
    struct engine_options options = {.max_sequences = 1, .lookup = session_lookup(chat->arguments)};
    chat->effort = prompt_effort(chat->arguments);
    chat->reasoning = value[OPTION_HIDE_REASONING].given   ? REASONING_HIDDEN
                      : value[OPTION_FOLD_REASONING].given ? REASONING_FOLDED
                                                           : REASONING_SHOWN;
    chat->sampling = session_sampling(chat->arguments);
    buffer_init(&chat->reasoning_text, MESSAGE_LIMIT);
    terminal_open(&chat->terminal, stdout, (enum color)arguments_choice(chat->arguments, OPTION_COLOR));
    if (value[OPTION_SYSTEM].text && !(chat->instructions = strdup(value[OPTION_SYSTEM].text)))
        return error_memory(error, strlen(value[OPTION_SYSTEM].text), "the instructions");
    goss_status status = prompt_date(chat->arguments, chat->date, error);
    if (!status)
        status = lines_open(&chat->lines, ">", words, error);
    if (!status)
        status = chat_restore(chat, error);
    if (!status)
        status = chat_rebuild(chat, chat_length(chat), error);
    if (!status)
        status = session_open_model(&chat->session, chat->arguments, error);
    if (!status)
        status = session_open_tokenizer(&chat->session, error);
    if (!status)
        status = session_open_engine(&chat->session, chat->arguments, &options, error);
    return status ? status : harmony_open(&chat->harmony, chat->session.tokenizer, error);
}

goss_status command_chat(const struct arguments *arguments, goss_error *error)
{
    const char *words[N_CHAT_COMMANDS + 1] = {NULL};
    struct chat chat = {.arguments = arguments};
    for (int i = 0; i < N_CHAT_COMMANDS; i++)
        words[i] = chat_commands[i].name;
    interrupts_catch();
    goss_status status = chat_open(&chat, words, error);
    if (!status) {
        chat_greet(&chat);
        status = chat_loop(&chat, error);
    }
    lines_close(chat.lines);
    conversation_free(&chat.conversation);
    session_close(&chat.session);
    buffer_free(&chat.reasoning_text);
    free(chat.instructions);
    free(chat.file);
    return status;
}
