/* Makes the packed file of a checkpoint; removes those of the cache that are of no use. */
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

static goss_status prune(bool json, goss_error *error)
{
    struct model_pruned pruned = {0};
    char *cache = NULL, bytes[32];
    goss_status status = home_path(".cache/gossamer", &cache, error);
    if (!status)
        status = model_cache_prune(cache, &pruned, error);
    if (!status && json)
        status = output_json(json_pack("{s:i, s:I, s:i, s:i}", "removed", pruned.removed, "bytes",
                                       (json_int_t)pruned.bytes, "kept", pruned.kept, "unknown", pruned.unknown),
                             error);
    else if (!status)
        (void)printf("%d packed files removed from %s (%s), %d kept\n", pruned.removed, cache,
                     bytes_text(pruned.bytes, false, bytes), pruned.kept);
    if (!status && !json && pruned.unknown)
        (void)printf("%d more were made from nobody knows what: remove them by hand if you like\n", pruned.unknown);
    free(cache);
    return status;
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
    bool pruning = arguments->value[OPTION_PRUNE].given;
    if (pruning && arguments->n_operand == 0)
        return prune(arguments->value[OPTION_JSON].given, error);
    if (pruning || arguments->n_operand == 0)
        return error_set(error, GOSS_E_ARGUMENT, pruning ? "--prune takes no MODEL" : "MODEL is missing");
    interrupts_catch();
    goss_status status = model_find(arguments->operand[0], &source, error);
    if (!status)
        status = home_path(".cache/gossamer", &cache, error);
    if (!status && packed_is(source))
        status = error_set(error, GOSS_E_ARGUMENT, "%s: is a packed file already", source);
    if (!status) {
        packing.source = source;
        packing.options.cache = cache;
        status = watch("packing", packing_run, &packing, &progress, error);
    }
    if (!status)
        status = packing_print(&packing, clock_seconds() - begin, arguments->value[OPTION_JSON].given, error);
    model_close(packing.model);
    free(source);
    free(cache);
    return status;
}
