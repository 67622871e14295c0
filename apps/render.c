/* Messages to token ids. */
#include "command.h"
#include "convert.h"
#include "harmony/json.h"

goss_status command_render(const struct arguments *arguments, goss_error *error)
{
    return convert_input(arguments, harmony_render_json, error);
}
