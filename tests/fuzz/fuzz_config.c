/* Any JSON as config.json, as original/config.json and as the configuration in a packed file: refused with a message,
 * or a configuration within all limits that survives being saved and loaded. */
#include <stdlib.h>
#include <string.h>

#include "model/config.h"
#include "weights/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct model_config *config)
{
    struct model_config again;
    json_t *json;
    if (model_config_check(config, "f", NULL) != GOSS_OK || model_config_save(config, &json, NULL) != GOSS_OK ||
        model_config_load(&again, json, "f", NULL) != GOSS_OK || memcmp(&again, config, sizeof again) != 0)
        abort();
    json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct checkpoint c = {.config_file = "f", .generation_file = "g"};
    struct model_config config;
    goss_error error = {0};
    if (json_parse(&c.config, data, size, "f", &error) != GOSS_OK)
        return error.text[0] ? 0 : (abort(), 0);
    c.generation = json_object_get(c.config, "generation");
    for (int format = CHECKPOINT_HF; format <= CHECKPOINT_ORIGINAL && json_is_object(c.config); format++) {
        c.format = (enum checkpoint_format)format;
        if (model_config_read(&config, &c, &error) == GOSS_OK)
            check(&config);
    }
    if (model_config_load(&config, c.config, "f", &error) == GOSS_OK)
        check(&config);
    json_decref(c.config);
    return 0;
}
