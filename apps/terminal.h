/* What a person sees: styles, a width, and text of strangers made harmless. */
#ifndef APPS_TERMINAL_H
#define APPS_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum style { STYLE_PLAIN, STYLE_BOLD, STYLE_DIM, STYLE_GREEN, STYLE_RED };
enum color { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER }; /* the order of --color's choices */

struct terminal {
    FILE *file;
    bool is_terminal;
    bool color;
    int width; /* columns; 80 where there is no terminal */
};

void terminal_open(struct terminal *terminal, FILE *file, enum color color);
void terminal_style(const struct terminal *terminal, enum style style);

/* Prints n bytes of UTF-8. On a terminal every control character but newline and tab is replaced by a visible
 * picture, so that no text can move the cursor, change colours or type into the terminal. Elsewhere the bytes pass. */
void terminal_text(const struct terminal *terminal, const char *text, size_t n);

/* Prints text (`quoted` words in bold) wrapped at the width; every line but the first starts with `indent` spaces,
 * and the first stands at `column` already. */
void terminal_wrap(const struct terminal *terminal, const char *text, int indent, int column);

/* "4.0 KiB", "13.8 GB": binary for memory, decimal for files and rates. */
const char *bytes_text(uint64_t bytes, bool binary, char text[static 32]);

/* A bar that is redrawn on a terminal, and a line for every tenth elsewhere. Zero-initialise; what is a short word. */
struct progress {
    int64_t drawn;    /* ticks of 1/1000 shown last, plus one */
    double begin;     /* seconds */
    const char *unit; /* of what is counted; NULL: bytes */
};
void progress_show(struct progress *progress, const struct terminal *terminal, const char *what, uint64_t done,
                   uint64_t total);
void progress_end(const struct progress *progress, const struct terminal *terminal); /* clears or ends the line */

/* From now on Ctrl-C and SIGTERM only set a mark that the computing loops look at; a second one, or interrupts_default,
 * ends the program as usual. */
void interrupts_catch(void);
void interrupts_default(void);
int interrupted(void); /* the signal that did, or 0 */
void interrupted_clear(void);

#endif
