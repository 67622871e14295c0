/* Token ids to Harmony messages. */
#include "command.h"
#include "convert.h"
#include "harmony/json.h"

goss_status command_parse(const struct arguments *arguments, goss_error *error)
{
    return convert_input(arguments, harmony_parse_json, error);
}
