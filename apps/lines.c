#include "lines.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

#include "terminal.h"

enum { REMEMBERED = 1000, POLL_MILLISECONDS = 100, PASTE_LIMIT = 1 << 24, LINE_LIMIT = 1 << 26 };

static const char paste_end[] = "\033[201~", block_mark[] = "\"\"\"";

struct lines {
    EditLine *edit; /* NULL where standard input is no terminal */
    History *history;
    char prompt[32], more_prompt[8];
    const char *const *words;
    bool more;           /* a message has begun: show the other prompt */
    struct buffer paste; /* texts of several lines pasted into this line, each ended by a NUL */
    int n_paste;
};

/* A text of several lines is shown as this and put back when the line is complete. */
static int paste_sign(char sign[static 32], int number)
{
    return snprintf(sign, 32, "[paste %d]", number);
}

static char *prompt_show(EditLine *edit)
{
    struct lines *lines;
    (void)el_get(edit, EL_CLIENTDATA, &lines);
    return lines->more ? lines->more_prompt : lines->prompt;
}

/* One byte of the terminal; false at its end and after Ctrl-C. */
static bool byte_read(unsigned char *byte)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    while (!interrupted()) {
        int ready = poll(&input, 1, POLL_MILLISECONDS);
        if (ready > 0)
            return read(STDIN_FILENO, byte, 1) == 1;
        if (ready < 0 && errno != EINTR)
            break;
    }
    return false;
}

/* One character for libedit, whose own reader would sleep through Ctrl-C. */
static int character_read(EditLine *edit, wchar_t *character)
{
    mbstate_t state = {0};
    unsigned char byte;
    (void)edit;
    for (;;) {
        if (!byte_read(&byte))
            return interrupted() ? -1 : 0;
        size_t n = mbrtowc(character, (const char *)&byte, 1, &state);
        if (n == 0 || n == 1)
            return 1;
        if (n == (size_t)-1) {
            *character = 0xfffd;
            return 1;
        }
    }
}

/* Reads up to the terminal's sign that a paste is over. */
static bool paste_read(struct buffer *text)
{
    size_t end = sizeof paste_end - 1;
    unsigned char byte;
    while (byte_read(&byte)) {
        if (byte == '\r')
            byte = '\n';
        if (buffer_append(text, &byte, 1, NULL))
            return false;
        if (text->size >= end && memcmp(text->data + text->size - end, paste_end, end) == 0) {
            text->size -= end;
            text->data[text->size] = 0;
            return true;
        }
    }
    return false;
}

static unsigned char paste_insert(EditLine *edit, int key)
{
    struct buffer text;
    struct lines *lines;
    unsigned char outcome = CC_REFRESH;
    char sign[32];
    (void)key;
    (void)el_get(edit, EL_CLIENTDATA, &lines);
    buffer_init(&text, PASTE_LIMIT);
    if (!paste_read(&text)) {
        outcome = CC_ERROR;
    } else if (!memchr(text.data, '\n', text.size)) {
        outcome = el_insertstr(edit, (const char *)text.data) ? CC_ERROR : CC_REFRESH;
    } else if (buffer_append(&lines->paste, text.data, text.size, NULL) || buffer_append(&lines->paste, "", 1, NULL)) {
        outcome = CC_ERROR;
    } else {
        (void)paste_sign(sign, ++lines->n_paste);
        (void)el_insertstr(edit, sign);
    }
    buffer_free(&text);
    return outcome;
}

static unsigned char word_complete(EditLine *edit, int key)
{
    struct lines *lines;
    const LineInfo *line = el_line(edit);
    size_t typed = (size_t)(line->cursor - line->buffer);
    const char *found = NULL;
    (void)key;
    (void)el_get(edit, EL_CLIENTDATA, &lines);
    for (const char *const *word = lines->words; *word; word++)
        if (typed && strncmp(*word, line->buffer, typed) == 0) {
            if (found)
                return CC_ERROR;
            found = *word;
        }
    if (!found || el_insertstr(edit, found + typed) || el_insertstr(edit, " "))
        return CC_ERROR;
    return CC_REFRESH;
}

static goss_status edit_open(struct lines *lines, goss_error *error)
{
    HistEvent event;
    /* libedit turns characters into bytes by the locale, and what we read and write is always UTF-8 */
    if (!setlocale(LC_CTYPE, "C.UTF-8"))
        (void)setlocale(LC_CTYPE, "");
    lines->edit = el_init("gossamer", stdin, stdout, stderr);
    lines->history = history_init();
    if (!lines->edit || !lines->history)
        return error_set(error, GOSS_E_IO, "cannot open the line editor on this terminal");
    (void)history(lines->history, &event, H_SETSIZE, REMEMBERED);
    (void)el_set(lines->edit, EL_CLIENTDATA, lines);
    (void)el_set(lines->edit, EL_PROMPT_ESC, prompt_show, '\001');
    (void)el_set(lines->edit, EL_EDITOR, "emacs");
    (void)el_set(lines->edit, EL_SIGNAL, 0);
    (void)el_set(lines->edit, EL_HIST, history, lines->history);
    (void)el_set(lines->edit, EL_GETCFN, character_read);
    (void)el_set(lines->edit, EL_ADDFN, "paste", "insert pasted text", paste_insert);
    (void)el_set(lines->edit, EL_BIND, "\033[200~", "paste", NULL);
    (void)el_set(lines->edit, EL_ADDFN, "complete", "complete a command", word_complete);
    (void)el_set(lines->edit, EL_BIND, "\t", "complete", NULL);
    (void)el_set(lines->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
    return GOSS_OK;
}

goss_status lines_open(struct lines **lines, const char *prompt, const char *const *words, goss_error *error)
{
    *lines = calloc(1, sizeof **lines);
    if (!*lines)
        return error_memory(error, sizeof **lines, "the line editor");
    /* \001 is told to libedit as the mark around what takes no room, which must stand before a character */
    (void)snprintf((*lines)->prompt, sizeof(*lines)->prompt, "\001\033[1m\001%.8s\001\033[0m\001 ", prompt);
    (void)snprintf((*lines)->more_prompt, sizeof(*lines)->more_prompt, "%*s", (int)strlen(prompt) + 1, "");
    (*lines)->words = words;
    buffer_init(&(*lines)->paste, LINE_LIMIT);
    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) ? edit_open(*lines, error) : GOSS_OK;
}

void lines_close(struct lines *lines)
{
    if (!lines)
        return;
    if (lines->edit)
        el_end(lines->edit);
    if (lines->history)
        history_end(lines->history);
    buffer_free(&lines->paste);
    free(lines);
}

void lines_remember(struct lines *lines, const char *text)
{
    HistEvent event;
    if (lines->history && *text && !strchr(text, '\n'))
        (void)history(lines->history, &event, H_ENTER, text);
}

/* Appends a line with the pasted texts in place of their signs. */
static goss_status paste_expand(struct lines *lines, const char *line, struct buffer *text, goss_error *error)
{
    const char *pasted = (const char *)lines->paste.data;
    goss_status status = GOSS_OK;
    for (int i = 1; !status && i <= lines->n_paste; i++, pasted += strlen(pasted) + 1) {
        char sign[32];
        int length = paste_sign(sign, i);
        const char *found = strstr(line, sign);
        if (!found) /* edited away */
            continue;
        status = buffer_append(text, line, (size_t)(found - line), error);
        if (!status)
            status = buffer_append_text(text, pasted, error);
        line = found + length;
    }
    return status ? status : buffer_append_text(text, line, error);
}

/* libedit shows the prompt first and takes the terminal out of line mode after it. What comes in between would be
   echoed, cut at 4,096 bytes, and a ^D lost; so the line mode ends here, and el_gets restores it. */
static void line_mode_end(void)
{
    struct termios mode;
    if (tcgetattr(STDIN_FILENO, &mode))
        return;
    mode.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &mode);
}

/* One line of the terminal, without its newline. */
static goss_status edit_line(struct lines *lines, struct buffer *text, enum line *line, goss_error *error)
{
    int n = 0;
    buffer_clear(&lines->paste);
    lines->n_paste = 0;
    el_resize(lines->edit);
    (void)fputs("\033[?2004h", stdout); /* the terminal shall mark what is pasted */
    line_mode_end();
    const char *typed = el_gets(lines->edit, &n);
    (void)fputs("\033[?2004l", stdout);
    (void)fflush(stdout);
    *line = LINE_TEXT;
    if (interrupted() || !typed || n <= 0) {
        *line = interrupted() ? LINE_INTERRUPTED : LINE_END;
        (void)putchar('\n');
        return GOSS_OK;
    }
    goss_status status = paste_expand(lines, typed, text, error);
    if (!status && text->size && text->data[text->size - 1] == '\n')
        text->data[--text->size] = 0;
    return status;
}

static goss_status plain_line(struct buffer *text, enum line *line, goss_error *error)
{
    char *typed = NULL;
    size_t capacity = 0;
    ssize_t n = getline(&typed, &capacity, stdin);
    goss_status status = GOSS_OK;
    *line = interrupted() ? LINE_INTERRUPTED : n < 0 ? LINE_END : LINE_TEXT;
    if (*line == LINE_TEXT)
        status = buffer_append(text, typed, (size_t)n - (typed[n - 1] == '\n'), error);
    free(typed);
    return status;
}

goss_status lines_read(struct lines *lines, struct buffer *text, enum line *line, goss_error *error)
{
    bool block = false;
    goss_status status;
    buffer_clear(text);
    for (lines->more = false;; lines->more = true) {
        size_t begin = text->size;
        status = lines->edit ? edit_line(lines, text, line, error) : plain_line(text, line, error);
        if (status || *line == LINE_INTERRUPTED || (*line == LINE_END && !begin))
            return status;
        if (*line == LINE_END) { /* the end of input ends a message that has begun */
            *line = LINE_TEXT;
            return GOSS_OK;
        }
        if (text->size - begin == strlen(block_mark) &&
            memcmp(text->data + begin, block_mark, strlen(block_mark)) == 0) {
            text->size = begin;
            if (block)
                break;
            block = true;
            continue;
        }
        bool more = text->size > begin && text->data[text->size - 1] == '\\';
        if (!block && !more)
            return GOSS_OK;
        if (!block)
            text->size--;
        status = buffer_append_text(text, "\n", error);
        if (status)
            return status;
    }
    if (text->size && text->data[text->size - 1] == '\n')
        text->data[--text->size] = 0;
    return GOSS_OK;
}
