#include <string.h>

#include "grammar/compile.h"

/* Each accepts only what the format allows, though not always all of it. */
#define MONTH_DAY "((0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])|(0[469]|11)-(0[1-9]|[12]\\d|30)|02-(0[1-9]|1\\d|2[0-8]))"
#define LEAP_YEAR "(\\d\\d(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)"
#define DATE "(\\d{4}-" MONTH_DAY "|" LEAP_YEAR "-02-29)"
#define TIME "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,9})?([Zz]|[+-]([01]\\d|2[0-3]):[0-5]\\d)"
#define LABEL "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define HOST LABEL "(\\." LABEL "){0,3}"
#define BYTE "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define IPV4 BYTE "(\\." BYTE "){3}"
#define HEX4 "[0-9A-Fa-f]{1,4}"
#define IPV6                                                                                                           \
    "((" HEX4 ":){7}(" HEX4 "|:)|(" HEX4 ":){6}(:" HEX4 "|:)|(" HEX4 ":){5}(:" HEX4 "){1,2}|(" HEX4 ":){4}(:" HEX4     \
    "){1,3}|(" HEX4 ":){3}(:" HEX4 "){1,4}|(" HEX4 ":){2}(:" HEX4 "){1,5}|" HEX4 ":(:" HEX4 "){1,6}|:(:" HEX4          \
    "){1,7}|(" HEX4 ":){1,5}:|::)"
#define ATOM "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
#define URI_CHARACTER "([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
#define URI                                                                                                            \
    "[A-Za-z][A-Za-z0-9+.-]{1,15}://" HOST "(:\\d{1,5})?(/" URI_CHARACTER "*)*(\\?(" URI_CHARACTER "|[/?])*)?"         \
    "(#(" URI_CHARACTER "|[/?])*)?"
#define TIME_SPAN "T(\\d+H(\\d+M(\\d+S)?)?|\\d+M(\\d+S)?|\\d+S)"

static const struct {
    const char *name, *regex;
} formats[] = {
    {"date", DATE},
    {"time", TIME},
    {"date-time", DATE "[Tt]" TIME},
    {"duration", "P(\\d+W|(\\d+D|\\d+M(\\d+D)?|\\d+Y(\\d+M(\\d+D)?)?)(" TIME_SPAN ")?|" TIME_SPAN ")"},
    {"email", ATOM "(\\." ATOM "){0,3}@" HOST},
    {"hostname", HOST},
    {"ipv4", IPV4},
    {"ipv6", IPV6},
    {"uri", URI},
    {"uuid", "[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"},
};

const char *format_regex(const char *name, size_t size)
{
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (strlen(formats[i].name) == size && memcmp(formats[i].name, name, size) == 0)
            return formats[i].regex;
    return NULL;
}
