#include "prompt.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum effort prompt_effort(const struct arguments *arguments)
{
    enum effort effort;
    return effort_find(arguments->value[OPTION_EFFORT].text, &effort) ? effort : EFFORT_UNSET;
}

goss_status prompt_date(const struct arguments *arguments, char date[static 11], goss_error *error)
{
    const char *text = arguments->value[OPTION_DATE].text;
    struct tm day = {0};
    date[0] = 0;
    if (!text)
        return GOSS_OK;
    if (strcmp(text, "today") == 0) {
        time_t now = time(NULL);
        (void)gmtime_r(&now, &day);
    } else {
        const char *end = strlen(text) == 10 ? strptime(text, "%Y-%m-%d", &day) : NULL;
        int given = day.tm_mday;
        if (end)
            (void)timegm(&day); /* moves a day that the month does not have into the next */
        if (!end || *end || day.tm_mday != given)
            return error_set(error, GOSS_E_ARGUMENT, "--date: '%.100s' is neither YYYY-MM-DD nor 'today'", text);
    }
    (void)strftime(date, 11, "%Y-%m-%d", &day);
    return GOSS_OK;
}

goss_status prompt_begin(struct conversation *conversation, enum effort effort, const char *date,
                         const char *instructions, const char *schema, goss_error *error)
{
    goss_status status = conversation_add_system(conversation, effort, *date ? date : NULL, error);
    if (status || (!instructions && !schema))
        return status;
    const struct response_format format = {.name = "response", .schema = schema};
    struct part part = {.kind = PART_DEVELOPER,
                        .text = instructions,
                        .text_size = instructions ? strlen(instructions) : 0,
                        .format = &format,
                        .n_format = schema != NULL};
    struct message message = {.role = ROLE_DEVELOPER, .part = &part, .n_part = 1};
    return conversation_add(conversation, &message, error);
}
