#include "terminal.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"

enum { WIDTH_STANDARD = 80, WIDTH_LEAST = 40, WIDTH_MOST = 100, BAR = 24 };

void terminal_open(struct terminal *terminal, FILE *file, enum color color)
{
    struct winsize size = {0};
    terminal->file = file;
    terminal->is_terminal = isatty(fileno(file));
    terminal->color = color == COLOR_ALWAYS || (color == COLOR_AUTO && terminal->is_terminal);
    terminal->width = WIDTH_STANDARD;
    if (terminal->is_terminal && ioctl(fileno(file), TIOCGWINSZ, &size) == 0 && size.ws_col)
        terminal->width = size.ws_col;
}

void terminal_style(const struct terminal *terminal, enum style style)
{
    static const char *const code[] = {"\033[0m", "\033[1m", "\033[2m", "\033[32m", "\033[31m"};
    if (terminal->color)
        (void)fputs(code[style], terminal->file);
}

/* The length of the control character at text: C0 and DEL are one byte, C1 (U+0080..U+009F) two; 0 if it is none. */
static int control_length(const unsigned char *text, size_t n)
{
    if ((text[0] < 0x20 && text[0] != '\n' && text[0] != '\t') || text[0] == 0x7f)
        return 1;
    return n > 1 && text[0] == 0xc2 && text[1] >= 0x80 && text[1] <= 0x9f ? 2 : 0;
}

void terminal_text(const struct terminal *terminal, const char *text, size_t n)
{
    const unsigned char *bytes = (const unsigned char *)text;
    size_t plain = 0;
    for (size_t i = 0; terminal->is_terminal && i < n;) {
        int length = control_length(bytes + i, n - i);
        if (length == 0) {
            i++;
            continue;
        }
        (void)fwrite(bytes + plain, 1, i - plain, terminal->file);
        if (length == 2) /* C1 has no pictures of its own */
            (void)fprintf(terminal->file, "<U+%04X>", bytes[i + 1]);
        else /* U+2400 + c, and U+2421 for DEL */
            (void)fprintf(terminal->file, "\xe2\x90%c", 0x80 + (bytes[i] == 0x7f ? 0x21 : bytes[i]));
        i += (size_t)length;
        plain = i;
    }
    (void)fwrite(bytes + plain, 1, n - plain, terminal->file);
}

/* Prints a word, `quotes` switching bold; returns its columns. */
static int wrap_word(const struct terminal *terminal, const char *word, int length, bool *bold)
{
    int columns = 0;
    for (int i = 0; i < length; i++) {
        if (word[i] == '`') {
            *bold = !*bold;
            terminal_style(terminal, *bold ? STYLE_BOLD : STYLE_PLAIN);
            continue;
        }
        (void)fputc(word[i], terminal->file);
        columns++;
    }
    return columns;
}

void terminal_wrap(const struct terminal *terminal, const char *text, int indent, int column)
{
    int width = terminal->width < WIDTH_LEAST  ? WIDTH_LEAST
                : terminal->width > WIDTH_MOST ? WIDTH_MOST
                                               : terminal->width;
    bool bold = false, first = true;
    while (*text) {
        int length = (int)strcspn(text, " \n"), quotes = 0;
        for (int i = 0; i < length; i++)
            quotes += text[i] == '`';
        if (!first && column + 1 + length - quotes > width) {
            (void)fprintf(terminal->file, "\n%*s", indent, "");
            column = indent;
        } else if (!first) {
            (void)fputc(' ', terminal->file);
            column++;
        }
        column += wrap_word(terminal, text, length, &bold);
        first = false;
        text += length;
        if (text[0] == '\n') {
            (void)fprintf(terminal->file, "\n\n%*s", indent, "");
            column = indent;
            first = true;
        }
        text += strspn(text, " \n");
    }
    (void)fputc('\n', terminal->file);
}

const char *bytes_text(uint64_t bytes, bool binary, char text[static 32])
{
    static const char *const binary_unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    static const char *const decimal_unit[] = {"B", "kB", "MB", "GB", "TB"};
    double value = (double)bytes, step = binary ? 1024 : 1000;
    int unit = 0;
    for (; value >= step && unit < 4; unit++)
        value /= step;
    (void)snprintf(text, 32, unit ? "%.1f %s" : "%.0f %s", value, binary ? binary_unit[unit] : decimal_unit[unit]);
    return text;
}

static void amount_text(const struct progress *progress, uint64_t amount, char text[static 32])
{
    if (progress->unit)
        (void)snprintf(text, 32, "%" PRIu64 " %s", amount, progress->unit);
    else
        (void)bytes_text(amount, false, text);
}

void progress_show(struct progress *progress, const struct terminal *terminal, const char *what, uint64_t done,
                   uint64_t total)
{
    char now[32], all[32], rate[32];
    double share = total ? (double)done / (double)total : 1, elapsed;
    int64_t ticks = (int64_t)(share * 1000);
    if (!progress->drawn)
        progress->begin = clock_seconds();
    if (!terminal->is_terminal)
        ticks -= ticks % 100;
    if (ticks + 1 == progress->drawn)
        return;
    progress->drawn = ticks + 1;
    elapsed = clock_seconds() - progress->begin;
    amount_text(progress, done, now);
    amount_text(progress, total, all);
    amount_text(progress, elapsed > 0.1 ? (uint64_t)((double)done / elapsed) : 0, rate);
    if (!terminal->is_terminal) {
        (void)fprintf(terminal->file, "%s: %3.0f %% of %s\n", what, share * 100, all);
        (void)fflush(terminal->file);
        return;
    }
    (void)fprintf(terminal->file, "\r\033[K%s ", what);
    for (int i = 0; i < BAR; i++)
        (void)fputs(i < (int)(share * BAR) ? "\xe2\x94\x81" : "\xe2\x94\x80", terminal->file);
    (void)fprintf(terminal->file, " %3.0f %%  %s of %s", share * 100, now, all);
    if (elapsed > 0.1)
        (void)fprintf(terminal->file, "  %s/s", rate);
    if (elapsed > 1 && share > 0.01 && share < 1)
        (void)fprintf(terminal->file, "  %.0f s left", elapsed / share * (1 - share));
    (void)fflush(terminal->file);
}

void progress_end(const struct progress *progress, const struct terminal *terminal)
{
    if (progress->drawn && terminal->is_terminal) {
        (void)fputs("\r\033[K", terminal->file);
        (void)fflush(terminal->file);
    }
}

/* The one variable of the program that outlives a call: a signal handler has nowhere else to write. */
static volatile sig_atomic_t interrupt_mark;

static void interrupt_handler(int number)
{
    if (interrupt_mark) {
        (void)signal(number, SIG_DFL);
        (void)raise(number);
    }
    interrupt_mark = number;
}

static void interrupts_handle(void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

void interrupts_catch(void)
{
    interrupts_handle(interrupt_handler);
}

void interrupts_default(void)
{
    interrupts_handle(SIG_DFL);
}

int interrupted(void)
{
    return interrupt_mark;
}

void interrupted_clear(void)
{
    interrupt_mark = 0;
}
