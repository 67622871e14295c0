#include "answer.h"

#include <string.h>

#include "base/clock.h"

enum { ANSWER_LIMIT = 1 << 28 };
static const double PATIENCE = 0.3; /* seconds before a wait is explained */

/* What is on the screen. */
struct view {
    const struct terminal *terminal;
    enum reasoning reasoning;
    bool waiting;       /* the line that explains a wait is shown */
    bool line_open;     /* the last character was not a newline */
    bool message_shown; /* something of an earlier message is on the screen */
    double part_begin;
    size_t part_first; /* ids sampled before this message */
};

const char *finish_name(enum turn_finish finish)
{
    static const char *const name[] = {"stop", "tool_call", "length", "stop_string", "cancelled", "failed"};
    return name[finish];
}

static size_t n_sampled(const struct turn *turn)
{
    size_t n;
    (void)turn_answer(turn, &n);
    return n;
}

static bool part_hidden(const struct view *view, enum turn_part part)
{
    return !view->terminal || (part == TURN_REASONING && view->reasoning == REASONING_HIDDEN);
}

static bool part_folded(const struct view *view, enum turn_part part)
{
    return part == TURN_REASONING && view->reasoning == REASONING_FOLDED;
}

static void wait_show(struct view *view, const struct turn *turn, double waited)
{
    size_t n;
    if (view->waiting || waited < PATIENCE || !view->terminal || !view->terminal->is_terminal)
        return;
    (void)turn_prompt(turn, &n);
    terminal_style(view->terminal, STYLE_DIM);
    (void)fprintf(view->terminal->file, "reading %zu tokens ...", n);
    terminal_style(view->terminal, STYLE_PLAIN);
    (void)fflush(view->terminal->file);
    view->waiting = true;
}

static void wait_clear(struct view *view)
{
    if (view->waiting)
        (void)fputs("\r\033[K", view->terminal->file);
    view->waiting = false;
}

static void fold_show(const struct view *view, const struct turn *turn, bool done)
{
    double seconds = clock_seconds() - view->part_begin;
    if (view->terminal->is_terminal)
        (void)fputs("\r\033[K", view->terminal->file);
    else if (!done)
        return;
    terminal_style(view->terminal, STYLE_DIM);
    (void)fprintf(view->terminal->file,
                  done ? "\xe2\x96\xb8 thought for %.1f s, %zu tokens" : "\xe2\x96\xb8 thinking %.1f s, %zu tokens",
                  seconds, n_sampled(turn) - view->part_first);
    terminal_style(view->terminal, STYLE_PLAIN);
    (void)fflush(view->terminal->file);
}

static void part_begin(struct view *view, const struct turn *turn, const struct turn_event *event)
{
    view->part_begin = clock_seconds();
    view->part_first = n_sampled(turn);
    view->line_open = false;
    if (part_hidden(view, event->part))
        return;
    if (view->message_shown)
        (void)fputc('\n', view->terminal->file);
    if (event->part == TURN_REASONING || event->part == TURN_CALL)
        terminal_style(view->terminal, STYLE_DIM);
    if (event->part == TURN_CALL) {
        (void)fputs("\xe2\x86\x92 ", view->terminal->file);
        terminal_text(view->terminal, event->recipient, strlen(event->recipient));
        (void)fputs(": ", view->terminal->file);
        view->line_open = true;
    }
}

static void part_text(struct view *view, const struct turn *turn, const struct turn_event *event)
{
    if (part_hidden(view, event->part) || event->text_size == 0)
        return;
    if (part_folded(view, event->part)) {
        fold_show(view, turn, false);
        return;
    }
    terminal_text(view->terminal, event->text, event->text_size);
    (void)fflush(view->terminal->file);
    view->line_open = event->text[event->text_size - 1] != '\n';
}

static void part_end(struct view *view, const struct turn *turn, const struct turn_event *event)
{
    if (part_hidden(view, event->part))
        return;
    if (part_folded(view, event->part)) {
        fold_show(view, turn, true);
        view->line_open = true;
    }
    terminal_style(view->terminal, STYLE_PLAIN);
    if (view->line_open)
        (void)fputc('\n', view->terminal->file);
    view->line_open = false;
    view->message_shown = true;
    (void)fflush(view->terminal->file);
}

static goss_status collect(struct buffer *text, const struct turn_event *event, goss_error *error)
{
    goss_status status = text->size ? buffer_append_text(text, "\n\n", error) : GOSS_OK;
    return status ? status : buffer_append(text, event->text, event->text_size, error);
}

/* Takes in one event; what concerns the screen goes to the view. */
static goss_status answer_event(struct answer *answer, struct view *view, const struct turn *turn,
                                const struct turn_event *event, goss_error *error)
{
    switch (event->kind) {
    case TURN_WAIT: break;
    case TURN_BEGIN: part_begin(view, turn, event); break;
    case TURN_TEXT: part_text(view, turn, event); break;
    case TURN_END:
        part_end(view, turn, event);
        if (event->part == TURN_REASONING) {
            answer->reasoning_tokens += (int)(n_sampled(turn) - view->part_first);
            return collect(&answer->reasoning, event, error);
        }
        return event->part == TURN_CALL ? GOSS_OK : collect(&answer->text, event, error);
    case TURN_REPAIR:
        if (json_array_append_new(answer->repairs, json_pack("{s:s, s:I}", "kind", event->repair.kind, "position",
                                                             (json_int_t)event->repair.position)))
            return error_memory(error, 0, "a repair");
        break;
    case TURN_DONE:
        answer->finish = event->finish;
        answer->usage = event->usage;
        if (event->finish == TURN_FAILED && event->error) {
            *error = *event->error;
            return event->error->status;
        }
        break;
    }
    return GOSS_OK;
}

goss_status answer_stream(struct answer *answer, struct turn *turn, struct engine *engine,
                          const struct terminal *terminal, enum reasoning reasoning, goss_error *error)
{
    struct view view = {.terminal = terminal, .reasoning = reasoning};
    struct turn_event event = {0};
    goss_status status = GOSS_OK;
    double begin = clock_seconds();
    *answer = (struct answer){.repairs = json_array()};
    buffer_init(&answer->text, ANSWER_LIMIT);
    buffer_init(&answer->reasoning, ANSWER_LIMIT);
    while (!status && event.kind != TURN_DONE) {
        if (interrupted())
            turn_cancel(turn);
        turn_poll(turn, &event);
        if (event.kind == TURN_WAIT) {
            if (!answer->first_seconds)
                wait_show(&view, turn, clock_seconds() - begin);
            (void)engine_step(engine);
            continue;
        }
        wait_clear(&view);
        if (!answer->first_seconds)
            answer->first_seconds = clock_seconds() - begin;
        status = answer_event(answer, &view, turn, &event, error);
    }
    if (terminal)
        terminal_style(terminal, STYLE_PLAIN);
    answer->seconds = clock_seconds() - begin;
    return status;
}

void answer_free(struct answer *answer)
{
    buffer_free(&answer->text);
    buffer_free(&answer->reasoning);
    json_decref(answer->repairs);
    *answer = (struct answer){0};
}
