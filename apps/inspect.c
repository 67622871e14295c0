/* What a checkpoint or a packed file holds. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "command.h"
#include "input.h"
#include "model/config.h"
#include "places.h"
#include "terminal.h"
#include "watch.h"
#include "weights/checkpoint.h"
#include "weights/packed.h"

struct inspection {
    struct terminal terminal;
    bool json, digests;
    json_t *report; /* with json */
    json_t *tensors;
    uint64_t bytes; /* of all tensors */
};

/* One number of the configuration, or a list of them, on a line; JSON holds nothing deeper. */
static void config_print(const struct inspection *inspection, const json_t *config)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)config, key, value)
    {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9));
        int width = inspection->terminal.width > 40 ? inspection->terminal.width - 30 : 40;
        if (text)
            (void)printf("  %-24s%.*s%s\n", key, width, text, (int)strlen(text) > width ? " .." : "");
        free(text);
    }
    (void)putchar('\n');
}

static goss_status begin(struct inspection *inspection, const char *path, const char *format, json_t *config,
                         goss_error *error)
{
    if (inspection->json) {
        inspection->tensors = json_array();
        inspection->report = json_pack("{s:s, s:s, s:O, s:O}", "path", path, "format", format, "config", config,
                                       "tensors", inspection->tensors);
        return inspection->report ? GOSS_OK : error_memory(error, 0, "the report");
    }
    terminal_style(&inspection->terminal, STYLE_BOLD);
    terminal_text(&inspection->terminal, path, strlen(path));
    terminal_style(&inspection->terminal, STYLE_PLAIN);
    (void)printf(": %s\n\n", format);
    config_print(inspection, config);
    return GOSS_OK;
}

static goss_status tensor_show(struct inspection *inspection, const char *name, enum dtype type, const uint64_t *dim,
                               int n_dim, uint64_t bytes, const char *sha256, goss_error *error)
{
    char shape[128] = "", size[32];
    int used = 0;
    inspection->bytes += bytes;
    if (inspection->json) {
        json_t *list = json_array();
        for (int i = 0; i < n_dim; i++)
            (void)json_array_append_new(list, json_integer((json_int_t)dim[i]));
        json_t *tensor = json_pack("{s:s, s:s, s:o, s:I, s:s*}", "name", name, "type", dtype_name(type), "shape", list,
                                   "bytes", (json_int_t)bytes, "sha256", sha256);
        return json_array_append_new(inspection->tensors, tensor) ? error_memory(error, 0, "the report") : GOSS_OK;
    }
    for (int i = 0; i < n_dim; i++)
        used +=
            snprintf(shape + used, sizeof shape - (size_t)used, "%s%llu", i ? " x " : "", (unsigned long long)dim[i]);
    (void)printf("  %-44s %-12s %-22s %10s  %s\n", name, dtype_name(type), shape, bytes_text(bytes, false, size),
                 sha256 ? sha256 : "");
    return GOSS_OK;
}

static goss_status end(struct inspection *inspection, size_t n, goss_error *error)
{
    char size[32];
    if (inspection->json)
        return output_json(json_incref(inspection->report), error);
    (void)printf("\n  %zu tensors, %s\n", n, bytes_text(inspection->bytes, false, size));
    return GOSS_OK;
}

static goss_status checkpoint_show(struct inspection *inspection, const char *path, const struct checkpoint *checkpoint,
                                   goss_error *error)
{
    static const char *const format[] = {"Hugging Face safetensors", "original/ safetensors", "GGUF"};
    struct model_config config;
    json_t *json = NULL;
    goss_status status = model_config_read(&config, checkpoint, error);
    if (!status)
        status = model_config_save(&config, &json, error);
    if (!status)
        status = begin(inspection, path, format[checkpoint->format], json, error);
    for (size_t i = 0; !status && i < checkpoint->tensors.n; i++) {
        const struct tensor *tensor = &checkpoint->tensors.tensor[i];
        uint8_t digest[SHA256_BYTES];
        char text[SHA256_TEXT];
        if (inspection->digests)
            status = sha256_of(tensor->data, tensor->bytes, digest, error);
        if (!status && inspection->digests)
            sha256_text(digest, text);
        if (!status && interrupted())
            status = error_set(error, GOSS_E_CANCELLED, "interrupted");
        if (!status)
            status = tensor_show(inspection, tensor->name, tensor->type, tensor->dim, tensor->n_dim, tensor->bytes,
                                 inspection->digests ? text : NULL, error);
    }
    json_decref(json);
    return status ? status : end(inspection, checkpoint->tensors.n, error);
}

struct verifying {
    const struct packed *packed;
    struct pack_progress progress;
};

static goss_status verifying_run(void *argument, goss_error *error)
{
    struct verifying *v = argument;
    return packed_verify(v->packed, 0, &v->progress.done, &v->progress.cancel, error);
}

/* Reads every byte of the packed file and compares it with the digests that are about to be printed. */
static goss_status packed_check(const struct packed *packed, goss_error *error)
{
    struct verifying v = {.packed = packed};
    uint64_t total = 0;
    for (size_t i = 0; i < packed->n; i++)
        total += packed->section[i].bytes;
    atomic_store(&v.progress.total, total);
    return watch("checking", verifying_run, &v, &v.progress, error);
}

static goss_status packed_show(struct inspection *inspection, const char *path, const struct packed *packed,
                               goss_error *error)
{
    goss_status status =
        begin(inspection, path, "packed by gossamer", json_object_get(packed->header, "config"), error);
    for (size_t i = 0; !status && i < packed->n; i++) {
        const struct packed_section *section = &packed->section[i];
        uint64_t dim[] = {section->count, section->rows, section->cols};
        char text[SHA256_TEXT];
        int skip = section->count == 1;
        sha256_text(section->sha256, text);
        status = tensor_show(inspection, section->name, section->type, dim + skip, 3 - skip, section->bytes,
                             inspection->digests ? text : NULL, error);
    }
    if (!status && inspection->json &&
        json_object_set(inspection->report, "sources", json_object_get(packed->header, "sources")))
        status = error_memory(error, 0, "the report");
    return status ? status : end(inspection, packed->n, error);
}

goss_status command_inspect(const struct arguments *arguments, goss_error *error)
{
    struct inspection inspection = {.json = arguments->value[OPTION_JSON].given,
                                    .digests = !arguments->value[OPTION_NO_DIGESTS].given};
    struct checkpoint *checkpoint = NULL;
    struct packed *packed = NULL;
    char *path = NULL;
    terminal_open(&inspection.terminal, stdout, COLOR_AUTO);
    interrupts_catch();
    goss_status status = model_find(arguments->operand[0], &path, error);
    if (!status && packed_is(path)) {
        status = packed_open(&packed, path, error);
        if (!status && inspection.digests)
            status = packed_check(packed, error);
        if (!status)
            status = packed_show(&inspection, path, packed, error);
    } else if (!status) {
        status = checkpoint_open(&checkpoint, path, error);
        if (!status)
            status = checkpoint_show(&inspection, path, checkpoint, error);
    }
    json_decref(inspection.report);
    json_decref(inspection.tensors);
    packed_close(packed);
    checkpoint_close(checkpoint);
    free(path);
    return status;
}
