/* What this machine is, what fits, and whether it computes what the definition says. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "cpu/check.h"
#include "cuda/library.h"
#include "engine/processor.h"
#include "input.h"
#include "machine.h"
#include "model/backend.h"
#include "model/synthetic.h"
#include "places.h"
#include "terminal.h"
#include "weights/tile.h"

enum { SEEDS = 8, CONTEXTS = 3 };
static const int context[CONTEXTS] = {8192, 32768, 131072};

struct doctor {
    const struct arguments *arguments;
    struct terminal terminal;
    bool print; /* for people */
    json_t *report;
    uint64_t gpu_bytes; /* free memory of the GPU; 0: there is none */
};

/* The two published models, for which no file need be here. */
static void published(struct model_config *small, struct model_config *large)
{
    struct synthetic_shape shape_20b = synthetic_20b(), shape_120b = synthetic_120b();
    *small = synthetic_config(&shape_20b);
    *large = synthetic_config(&shape_120b);
}

/* Bytes of one layer's experts. Norms and biases do not count, here and below. */
static uint64_t expert_bytes(const struct model_config *config)
{
    uint64_t d = (uint64_t)config->d_model, ff = (uint64_t)config->d_ff;
    uint64_t expert = tile_bytes(DTYPE_TILE_MXFP4, 2 * ff, d) + tile_bytes(DTYPE_TILE_MXFP4, d, ff);
    return (uint64_t)config->n_expert * expert;
}

/* Bytes of its packed file. */
static uint64_t packed_bytes(const struct model_config *config)
{
    uint64_t d = (uint64_t)config->d_model, vocab = (uint64_t)config->n_vocab;
    uint64_t q = (uint64_t)config->n_head * (uint64_t)config->head_dim;
    uint64_t kv = (uint64_t)config->n_kv_head * (uint64_t)config->head_dim;
    uint64_t layer = tile_bytes(DTYPE_TILE_Q8, q + 2 * kv, d) + tile_bytes(DTYPE_TILE_Q8, d, q) +
                     tile_bytes(DTYPE_TILE_F32, (uint64_t)config->n_expert, d) + expert_bytes(config);
    return (uint64_t)config->n_layer * layer + tile_bytes(DTYPE_TILE_Q8, vocab, d) + dtype_bytes(DTYPE_Q8_0, vocab * d);
}

static goss_status add(json_t *object, const char *key, json_t *value, goss_error *error)
{
    return json_object_set_new(object, key, value) ? error_memory(error, 0, "the report") : GOSS_OK;
}

static void title(const struct doctor *doctor, const char *text)
{
    if (!doctor->print)
        return;
    terminal_style(&doctor->terminal, STYLE_BOLD);
    (void)printf("%s\n", text);
    terminal_style(&doctor->terminal, STYLE_PLAIN);
}

/* The GPU that would compute, or why none would. */
static json_t *report_gpu(struct doctor *doctor)
{
    struct cuda_device gpu;
    goss_error error;
    char a[32], b[32];
    if (processor_gpu(&gpu, &error)) {
        if (doctor->print)
            (void)printf("\n  GPU               none: %s", error.text);
        return json_pack("{s:n, s:s}", "name", "reason", error.text);
    }
    doctor->gpu_bytes = gpu.memory_free_bytes;
    if (doctor->print)
        (void)printf("\n  GPU               %s, %s, %s free", gpu.name, bytes_text(gpu.memory_bytes, true, a),
                     bytes_text(gpu.memory_free_bytes, true, b));
    return json_pack("{s:s, s:I, s:I}", "name", gpu.name, "memory_bytes", (json_int_t)gpu.memory_bytes,
                     "memory_free_bytes", (json_int_t)gpu.memory_free_bytes);
}

static goss_status report_machine(struct doctor *doctor, const struct machine *machine, goss_error *error)
{
    char a[32], b[32];
    json_t *sets = json_array(), *caches = json_array();
    for (int i = 0; machine->instruction_sets[i]; i++)
        (void)json_array_append_new(sets, json_string(machine->instruction_sets[i]));
    for (int i = 0; i < MACHINE_CACHES; i++)
        (void)json_array_append_new(caches, json_integer((json_int_t)machine->cache_bytes[i]));
    title(doctor, "machine");
    if (doctor->print) {
        (void)printf("  processor         %s\n  cores             %d\n  caches           ", machine->processor,
                     machine->cores);
        for (int i = 0; i < MACHINE_CACHES; i++)
            if (machine->cache_bytes[i])
                (void)printf(" L%d %s", i + 1, bytes_text(machine->cache_bytes[i], true, a));
        (void)printf("\n  memory            %s, %s free\n  instruction sets ",
                     bytes_text(machine->memory_bytes, true, a), bytes_text(machine->memory_free_bytes, true, b));
        for (int i = 0; machine->instruction_sets[i]; i++)
            (void)printf(" %s", machine->instruction_sets[i]);
    }
    json_t *gpu = report_gpu(doctor);
    if (doctor->print)
        (void)puts("\n");
    return add(doctor->report, "machine",
               json_pack("{s:s, s:i, s:o, s:I, s:I, s:o, s:o}", "processor", machine->processor, "cores",
                         machine->cores, "cache_bytes", caches, "memory_bytes", (json_int_t)machine->memory_bytes,
                         "memory_free_bytes", (json_int_t)machine->memory_free_bytes, "instruction_sets", sets, "gpu",
                         gpu),
               error);
}

/* What was compared with the scalar definition, and whether every bit was the same. */
static void kernels_line(const struct doctor *doctor, json_t *list, const char *name, bool used, const char *differs)
{
    (void)json_array_append_new(
        list, json_pack("{s:s, s:b, s:b, s:s?}", "isa", name, "used", used, "equal", !differs, "differs", differs));
    if (!doctor->print)
        return;
    terminal_style(&doctor->terminal, differs ? STYLE_RED : STYLE_GREEN);
    (void)printf("  %-18s%s%s", name, differs ? "WRONG: " : "equal, bit for bit", differs ? differs : "");
    terminal_style(&doctor->terminal, STYLE_PLAIN);
    (void)puts(used ? "  (in use)" : "");
}

static goss_status report_kernels(struct doctor *doctor, int *faults, goss_error *error)
{
    const struct kernels *kernels;
    const char *differs = NULL;
    json_t *list = json_array();
    goss_status status = GOSS_OK;
    title(doctor, "kernels, compared with the scalar definition");
    if (doctor->gpu_bytes) {
        goss_error reason;
        if (processor_check_gpu(&differs, &reason))
            differs = reason.text;
        *faults += differs != NULL;
        kernels_line(doctor, list, "cuda", !differs, differs);
    }
    for (int i = 0; !status && (kernels = kernels_at(i)); i++) {
        differs = NULL;
        for (uint64_t seed = 0; !status && !differs && seed < SEEDS; seed++)
            status = kernels_check(kernels, seed, &differs, error);
        *faults += differs != NULL;
        kernels_line(doctor, list, kernels->name, i == 0, differs);
    }
    if (doctor->print)
        (void)puts("");
    return status ? status : add(doctor->report, "kernels", list, error);
}

/* What a model of this shape needs beside what is free here. */
static json_t *fit(const struct doctor *doctor, const char *name, const struct model_config *config, uint64_t weights,
                   uint64_t memory)
{
    char bytes[32];
    json_t *contexts = json_array();
    if (doctor->print)
        (void)printf("  %-18s", name);
    for (int i = 0; i < CONTEXTS; i++) {
        uint64_t kv = cpu_backend.kv_bytes(config, context[i] / KV_PAGE, 1);
        bool fits = weights + kv <= memory;
        (void)json_array_append_new(
            contexts, json_pack("{s:i, s:I, s:b}", "context", context[i], "kv_bytes", (json_int_t)kv, "fits", fits));
        if (!doctor->print)
            continue;
        terminal_style(&doctor->terminal, fits ? STYLE_GREEN : STYLE_RED);
        (void)printf("%s%s %s", i ? "   " : "", bytes_text(weights + kv, true, bytes), fits ? "fits" : "does not fit");
        terminal_style(&doctor->terminal, STYLE_PLAIN);
        (void)printf(" (%dk)", context[i] / 1024);
    }
    if (doctor->print)
        (void)puts("");
    return json_pack("{s:s, s:I, s:o}", "model", name, "weight_bytes", (json_int_t)weights, "contexts", contexts);
}

/* In how many layers the GPU would compute the experts, too; -1: it has no room for the rest of the model. */
static int gpu_layers(const struct doctor *doctor, const struct model_config *config, int n_context)
{
    uint64_t experts = expert_bytes(config), rest = packed_bytes(config) - (uint64_t)config->n_layer * experts;
    rest += cpu_backend.kv_bytes(config, n_context / KV_PAGE, 1);
    if (rest > doctor->gpu_bytes)
        return -1;
    uint64_t layers = (doctor->gpu_bytes - rest) / experts;
    return layers < (uint64_t)config->n_layer ? (int)layers : config->n_layer;
}

/* The same shapes on the GPU: what the CPU would have to do. */
static json_t *gpu_fit(const struct doctor *doctor, const char *name, const struct model_config *config)
{
    json_t *contexts = json_array();
    if (doctor->print)
        (void)printf("  %-18s", name);
    for (int i = 0; i < CONTEXTS; i++) {
        int layers = gpu_layers(doctor, config, context[i]);
        (void)json_array_append_new(contexts, json_pack("{s:i, s:b, s:i}", "context", context[i], "fits", layers >= 0,
                                                        "expert_layers", layers < 0 ? 0 : layers));
        if (!doctor->print)
            continue;
        terminal_style(&doctor->terminal, layers >= 0 ? STYLE_GREEN : STYLE_RED);
        if (layers < 0)
            (void)printf("%sdoes not fit", i ? "   " : "");
        else
            (void)printf("%s%d of %d", i ? "   " : "", layers, config->n_layer);
        terminal_style(&doctor->terminal, STYLE_PLAIN);
        (void)printf(" (%dk)", context[i] / 1024);
    }
    if (doctor->print)
        (void)puts("");
    return json_pack("{s:s, s:i, s:o}", "model", name, "layers", config->n_layer, "contexts", contexts);
}

static goss_status report_gpu_fit(struct doctor *doctor, goss_error *error)
{
    struct model_config small, large;
    published(&small, &large);
    json_t *list = json_array();
    title(doctor, "layers whose experts fit on the GPU beside all else; the CPU computes those of the others");
    (void)json_array_append_new(list, gpu_fit(doctor, "gpt-oss-20b", &small));
    (void)json_array_append_new(list, gpu_fit(doctor, "gpt-oss-120b", &large));
    if (doctor->print)
        (void)puts("");
    return add(doctor->report, "gpu_fit", list, error);
}

static goss_status report_fit(struct doctor *doctor, const struct machine *machine, goss_error *error)
{
    struct model_config small, large;
    published(&small, &large);
    json_t *list = json_array();
    title(doctor, "what fits into the free memory, with a context of so many tokens");
    (void)json_array_append_new(list,
                                fit(doctor, "gpt-oss-20b", &small, packed_bytes(&small), machine->memory_free_bytes));
    (void)json_array_append_new(list,
                                fit(doctor, "gpt-oss-120b", &large, packed_bytes(&large), machine->memory_free_bytes));
    if (doctor->print)
        (void)puts("");
    return add(doctor->report, "fit", list, error);
}

static goss_status model_line(void *argument, const char *name, const char *path, goss_error *error)
{
    struct doctor *doctor = argument;
    if (doctor->print)
        (void)printf("  %-18s%s\n", name, path);
    if (json_array_append_new(json_object_get(doctor->report, "models"),
                              json_pack("{s:s, s:s}", "name", name, "path", path)))
        return error_memory(error, 0, "the report");
    return GOSS_OK;
}

static goss_status report_models(struct doctor *doctor, goss_error *error)
{
    goss_status status = add(doctor->report, "models", json_array(), error);
    title(doctor, "models");
    if (!status)
        status = models_each(model_line, doctor, error);
    if (!status && doctor->print && !json_array_size(json_object_get(doctor->report, "models")))
        (void)puts("  none in ~/.local/share/gossamer/models or ./models");
    return status;
}

goss_status command_doctor(const struct arguments *arguments, goss_error *error)
{
    struct doctor doctor = {.arguments = arguments, .print = !arguments->value[OPTION_JSON].given};
    struct machine machine;
    int faults = 0;
    terminal_open(&doctor.terminal, stdout, COLOR_AUTO);
    machine_read(&machine);
    doctor.report = json_object();
    if (!doctor.report)
        return error_memory(error, 0, "the report");
    goss_status status = report_machine(&doctor, &machine, error);
    if (!status)
        status = report_kernels(&doctor, &faults, error);
    if (!status)
        status = report_fit(&doctor, &machine, error);
    if (!status && doctor.gpu_bytes)
        status = report_gpu_fit(&doctor, error);
    if (!status)
        status = report_models(&doctor, error);
    if (!status && !doctor.print)
        status = output_json(json_incref(doctor.report), error);
    if (!status && faults)
        status = error_set(error, GOSS_E_INTERNAL, "%d set%s of kernels compute%s wrong bits on this machine", faults,
                           faults == 1 ? "" : "s", faults == 1 ? "s" : "");
    json_decref(doctor.report);
    return status;
}
