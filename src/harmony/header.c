#include "harmony/header.h"

#include <string.h>

struct scan {
    const char *p, *end;
    bool blank; /* blanks stood before p */
};

/* The length of the white space at p: ASCII, and the blanks of Unicode that a model may write instead. */
static size_t blank_length(const char *p, const char *end)
{
    static const char *const blanks[] = {"\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80", "\xE2\x80\xA8",
                                         "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80"};
    if (p == end)
        return 0;
    if (*p == ' ' || (*p >= '\t' && *p <= '\r'))
        return 1;
    for (size_t i = 0; i < sizeof blanks / sizeof blanks[0]; i++) {
        size_t n = strlen(blanks[i]);
        if ((size_t)(end - p) >= n && memcmp(p, blanks[i], n) == 0)
            return n;
    }
    bool general = end - p >= 3 && memcmp(p, "\xE2\x80", 2) == 0; /* U+2000..U+200A */
    return general && (unsigned char)p[2] >= 0x80 && (unsigned char)p[2] <= 0x8A ? 3 : 0;
}

static bool is_mark(char c)
{
    return (unsigned char)c == MARK_CHANNEL || (unsigned char)c == MARK_CONSTRAIN;
}

static void skip_blanks(struct scan *scan)
{
    scan->blank = false;
    for (size_t n; (n = blank_length(scan->p, scan->end)) > 0; scan->p += n)
        scan->blank = true;
}

/* The bytes up to white space, a mark, or `stop` (0: none). */
static struct span take_word(struct scan *scan, char stop)
{
    struct span word = {scan->p, 0};
    while (scan->p < scan->end && !is_mark(*scan->p) && !(stop && *scan->p == stop) &&
           !blank_length(scan->p, scan->end))
        scan->p++;
    word.size = (size_t)(scan->p - word.data);
    return word;
}

static bool starts_with(struct span word, const char *prefix)
{
    size_t n = strlen(prefix);
    return word.size >= n && memcmp(word.data, prefix, n) == 0;
}

static bool equals(struct span word, const char *text)
{
    return word.size == strlen(text) && starts_with(word, text);
}

static struct span after(struct span word, size_t n)
{
    return (struct span){word.data + n, word.size - n};
}

static void repair(struct header *header, const char *kind)
{
    for (size_t i = 0; i < header->n_repair; i++)
        if (strcmp(header->repair[i], kind) == 0)
            return;
    if (header->n_repair < HEADER_REPAIRS)
        header->repair[header->n_repair++] = kind;
}

static const char *const known_channels[] = {"analysis", "commentary", "final"};
enum { N_CHANNEL = 3 };

static bool is_known_channel(struct span word)
{
    for (int i = 0; i < N_CHANNEL; i++)
        if (equals(word, known_channels[i]))
            return true;
    return false;
}

/* The length of the known channel at the head of a word, or 0. */
static size_t known_prefix(struct span word)
{
    for (int i = 0; i < N_CHANNEL; i++)
        if (starts_with(word, known_channels[i]))
            return strlen(known_channels[i]);
    return 0;
}

/* The first run of letters that is a known channel: "--commentary", "analysis--x". */
static struct span known_inside(struct span word)
{
    size_t begin = 0;
    for (size_t i = 0; i <= word.size; i++) {
        if (i < word.size && ((word.data[i] | 0x20) >= 'a' && (word.data[i] | 0x20) <= 'z'))
            continue;
        struct span run = {word.data + begin, i - begin};
        if (is_known_channel(run))
            return run;
        begin = i + 1;
    }
    return (struct span){0};
}

/* The last known channel wins: the model corrected itself. */
static void set_channel(struct header *header, struct span word)
{
    if (header->channel.data) {
        repair(header, "duplicate_channel");
        if (!is_known_channel(word))
            return;
    }
    header->channel = word;
}

/* After the mark. */
static void read_channel(struct header *header, struct scan *scan)
{
    skip_blanks(scan);
    bool spaced = scan->blank;
    struct span word = take_word(scan, '<');
    if (word.size == 0 || starts_with(word, "to=")) {
        scan->p = word.data;
        scan->blank = spaced;
        repair(header, "empty_channel");
        return;
    }
    if (spaced)
        repair(header, "space_before_channel");
    size_t known = known_prefix(word);
    if (known && starts_with(after(word, known), "to=")) {
        repair(header, "garbled_channel");
        scan->p = word.data + known;
        scan->blank = true;
        word.size = known;
    } else if (!is_known_channel(word) && known_inside(word).data) {
        repair(header, "garbled_channel");
        word = known_inside(word);
    }
    set_channel(header, word);
}

/* At a word that begins with "to=". */
static void read_recipient(struct header *header, struct scan *scan, struct span word)
{
    struct span recipient = after(word, 3);
    if (recipient.size == 0) {
        skip_blanks(scan);
        recipient = take_word(scan, 0);
        repair(header, recipient.size ? "space_before_recipient" : "empty_recipient");
    }
    if (recipient.size == 0)
        return;
    if (header->recipient.data)
        repair(header, "duplicate_recipient");
    else
        header->recipient = recipient;
}

/* "user", "user:bob"; false for anything else. */
static bool read_role(struct header *header, struct span word)
{
    for (enum role role = ROLE_SYSTEM; role <= ROLE_TOOL; role++) {
        size_t n = strlen(role_name(role));
        if (!starts_with(word, role_name(role)) || (word.size > n && word.data[n] != ':'))
            continue;
        header->role = role;
        if (word.size > n)
            header->name = after(word, n + 1);
        return true;
    }
    return false;
}

/* A role's name glued to what should follow it: "assistantassistant", "assistantanalysis", "assistantto=f". Returns
 * what follows. A tool may be called "user_lookup", so nothing else is cut. */
static struct span strip_role(struct header *header, struct span word, enum role role)
{
    size_t n = strlen(role_name(role));
    while (starts_with(word, role_name(role))) {
        struct span rest = after(word, n);
        if (rest.size && !starts_with(rest, role_name(role)) && !starts_with(rest, "to=") && !is_known_channel(rest))
            break;
        repair(header, "duplicate_role");
        word = rest;
    }
    return word;
}

/* Words that are nothing of the above, gathered until the header is complete. */
struct bare {
    struct span last;    /* may be the content type */
    struct span channel; /* is a channel's name */
    bool type;           /* last stands where a content type may stand */
    size_t n;
};

static void read_bare(struct header *header, struct bare *bare, struct span word, bool may_be_type)
{
    if (!bare->channel.data && !header->channel.data && is_known_channel(word)) {
        bare->channel = word;
        return;
    }
    bare->last = word;
    bare->type = may_be_type;
    bare->n++;
}

/* <|constrain|> and the word after it are the content type; it may also stand alone. */
static void read_constrained(struct header *header, struct scan *scan)
{
    skip_blanks(scan);
    struct scan ahead = *scan;
    struct span word = take_word(&ahead, 0);
    if (starts_with(word, "to="))
        word = (struct span){scan->p, 0};
    else
        *scan = ahead;
    if (header->constrained) {
        repair(header, "extra_words");
        return;
    }
    header->constrained = true;
    header->content_type = word;
}

/* The first word, where a role is due. Returns what of it is still to be read. */
static struct span read_opening(struct header *header, struct span word, bool *unknown)
{
    if (starts_with(word, "to=")) {
        repair(header, "missing_role");
        header->role = ROLE_ASSISTANT;
        return word;
    }
    if (read_role(header, word))
        return after(word, word.size);
    struct span rest = strip_role(header, word, ROLE_ASSISTANT);
    header->role = ROLE_ASSISTANT;
    if (rest.size < word.size)
        return rest;
    header->role = ROLE_TOOL;
    header->name = word;
    *unknown = true;
    return after(word, word.size);
}

static void settle_words(struct header *header, const struct bare *bare, bool marked)
{
    size_t extra = bare->n;
    if (bare->channel.data && !header->channel.data && !marked) {
        repair(header, "missing_channel_token");
        header->channel = bare->channel;
    } else if (bare->channel.data) {
        extra++;
    }
    if (bare->n && bare->type && !header->constrained) {
        header->content_type = bare->last;
        extra--;
    }
    if (extra)
        repair(header, "extra_words");
}

/* A header that <|message|> ended. */
static void read_complete(struct header *header, struct scan *scan, bool role_given, bool generated)
{
    struct bare bare = {0};
    bool role_due = !role_given, unknown = false, marked = false, spoke = role_given;
    for (skip_blanks(scan); scan->p < scan->end; skip_blanks(scan)) {
        bool blank = scan->blank;
        unsigned char mark = (unsigned char)*scan->p;
        if (mark == MARK_CHANNEL || mark == MARK_CONSTRAIN) {
            scan->p++;
            role_due = false;
            marked |= mark == MARK_CHANNEL;
            mark == MARK_CHANNEL ? read_channel(header, scan) : read_constrained(header, scan);
            continue;
        }
        struct span word = take_word(scan, 0);
        if (role_due) {
            word = read_opening(header, word, &unknown);
            spoke = true;
        } else if (header->role != ROLE_TOOL) {
            word = strip_role(header, word, header->role);
        }
        role_due = false;
        if (starts_with(word, "to="))
            read_recipient(header, scan, word);
        else if (word.size)
            read_bare(header, &bare, word, blank && (header->recipient.data || marked || !role_given));
    }
    settle_words(header, &bare, marked);
    if (!spoke) {
        header->role = ROLE_ASSISTANT;
        repair(header, "missing_role");
    }
    if (unknown && generated && !header->recipient.data && !memchr(header->name.data, '.', header->name.size)) {
        header->role = ROLE_ASSISTANT;
        header->name = (struct span){0};
        repair(header, "unknown_role");
    }
    if (header->role == ROLE_ASSISTANT && header->channel.data && !is_known_channel(header->channel))
        repair(header, "unknown_channel");
}

/* The channel of a header that lacks <|message|>: known, or cut off inside its name. Else the word is text. */
static bool read_sure_channel(struct header *header, struct scan *scan, enum header_end end)
{
    struct scan ahead = *scan;
    ahead.p++;
    skip_blanks(&ahead);
    struct span word = take_word(&ahead, '<');
    if (end == HEADER_CUT && ahead.p == ahead.end && word.size)
        for (int i = 0; i < N_CHANNEL; i++)
            if (strncmp(known_channels[i], word.data, word.size) == 0)
                word = (struct span){known_channels[i], strlen(known_channels[i])};
    if (!is_known_channel(word) && known_inside(word).data)
        word = known_inside(word);
    if (!is_known_channel(word))
        return false;
    set_channel(header, word);
    *scan = ahead;
    return true;
}

/* One element of a header that lacks <|message|>; false where text begins. */
static bool read_sure_element(struct header *header, struct scan *scan, enum header_end end, bool role_due)
{
    if ((unsigned char)*scan->p == MARK_CHANNEL)
        return read_sure_channel(header, scan, end);
    struct scan ahead = *scan;
    bool constrained = (unsigned char)*scan->p == MARK_CONSTRAIN;
    ahead.p += constrained;
    skip_blanks(&ahead);
    struct span word = take_word(&ahead, 0);
    if (constrained || (header->recipient.data && (equals(word, "json") || equals(word, "code")))) {
        if (!equals(word, "json") && !equals(word, "code"))
            return false;
        header->constrained = constrained;
        header->content_type = word;
    } else if (starts_with(word, "to=") && word.size > 3) {
        read_recipient(header, &ahead, word);
    } else if (role_due ? !read_role(header, word)
                        : header->role == ROLE_TOOL || strip_role(header, word, header->role).size > 0) {
        return false;
    }
    *scan = ahead;
    return true;
}

/* A header without <|message|>: what is surely header is read as such, and all the rest is content. */
static void read_incomplete(struct header *header, struct scan *scan, enum header_end end, bool role_given)
{
    if (!role_given)
        header->role = ROLE_ASSISTANT;
    bool role_due = !role_given;
    skip_blanks(scan);
    while (scan->p < scan->end && read_sure_element(header, scan, end, role_due)) {
        role_due = false;
        skip_blanks(scan);
    }
    while (scan->p < scan->end && is_mark(*scan->p))
        scan->p++;
    header->text = (struct span){scan->p, (size_t)(scan->end - scan->p)};
    if (header_is_empty(header))
        return;
    bool bare = header->text.size && !header->channel.data && !header->recipient.data;
    repair(header, bare ? "bare_text" : "missing_message");
    if (bare && header->role == ROLE_ASSISTANT)
        header->channel = (struct span){"final", strlen("final")};
}

void header_read(struct header *header, const char *text, size_t size, enum header_end end, bool role_given,
                 bool generated)
{
    struct scan scan = {.p = text, .end = text + size};
    if (end == HEADER_MESSAGE)
        read_complete(header, &scan, role_given, generated);
    else
        read_incomplete(header, &scan, end, role_given);
    if (end == HEADER_CUT && !header_is_empty(header))
        repair(header, "truncated_header");
}

bool header_is_empty(const struct header *header)
{
    return !header->channel.data && !header->recipient.data && header->text.size == 0;
}

size_t header_words(const char *text, size_t size, size_t most)
{
    struct scan scan = {.p = text, .end = text + size};
    size_t n = 0;
    for (skip_blanks(&scan); scan.p < scan.end && n < most; skip_blanks(&scan)) {
        scan.p += is_mark(*scan.p);
        n += take_word(&scan, 0).size > 0;
    }
    return n;
}
