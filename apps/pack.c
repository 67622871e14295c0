/* Makes the packed file of a checkpoint. */
#include "model/pack.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "command.h"
#include "input.h"
#include "model/model.h"
#include "places.h"
#include "terminal.h"
#include "watch.h"
#include "weights/checkpoint.h"
#include "weights/packed.h"

struct packing {
    const char *source, *output; /* output NULL: into the cache */
    struct model_options options;
    struct model *model; /* the packed file, opened: proof that it can be used */
};

static goss_status packing_run(void *argument, goss_error *error)
{
    struct packing *packing = argument;
    struct checkpoint *checkpoint;
    if (!packing->output)
        return model_open(&packing->model, packing->source, &packing->options, error);
    goss_status status = checkpoint_open(&checkpoint, packing->source, error);
    if (!status)
        status = pack(checkpoint, packing->output, &packing->options.pack, packing->options.progress, error);
    checkpoint_close(checkpoint);
    return status ? status : model_open(&packing->model, packing->output, NULL, error);
}

static goss_status packing_print(const struct packing *packing, double seconds, bool json, goss_error *error)
{
    char bytes[32];
    const struct file_map *file = &packing->model->file->map;
    if (json)
        return output_json(
            json_pack("{s:s, s:I, s:f}", "path", file->path, "bytes", (json_int_t)file->size, "seconds", seconds),
            error);
    (void)printf("%s (%s, %.1f s)\n", file->path, bytes_text(file->size, false, bytes), seconds);
    return GOSS_OK;
}

goss_status command_pack(const struct arguments *arguments, goss_error *error)
{
    static const enum pack_type dense[] = {PACK_Q8, PACK_BF16}; /* the order of --dense's choices */
    struct pack_progress progress = {0};
    struct packing packing = {.output = arguments->value[OPTION_OUTPUT].text};
    char *source = NULL, *cache = NULL;
    double begin = clock_seconds();
    packing.options.progress = &progress;
    packing.options.pack.dense = dense[arguments_choice(arguments, OPTION_DENSE)];
    interrupts_catch();
    goss_status status = model_find(arguments->operand[0], &source, error);
    if (!status)
        status = home_path(".cache/gossamer", &cache, error);
    if (!status && packed_is(source))
        status = error_set(error, GOSS_E_ARGUMENT, "%s: is a packed file already", source);
    if (!status) {
        packing.source = source;
        packing.options.cache = cache;
        status = watch(packing_run, &packing, &progress, error);
    }
    if (!status)
        status = packing_print(&packing, clock_seconds() - begin, arguments->value[OPTION_JSON].given, error);
    model_close(packing.model);
    free(source);
    free(cache);
    return status;
}
