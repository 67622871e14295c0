#include "support/toy_engine.h"

#include "support/test.h"

struct engine *toy_engine_open(const struct model *model, struct engine_options options)
{
    struct engine *engine;
    goss_error error;
    if (engine_open(&engine, model, &cpu_backend, &options, &error))
        fail_msg("%s", error.text);
    return engine;
}
