#include "api/models.h"

#include "api/json_out.h"
#include "gossamer.h"

static void write_efforts(struct json_out *json)
{
    static const char *const effort[][2] = {{"low", "Answers quickly, with little reasoning"},
                                            {"medium", "Balances speed and depth"},
                                            {"high", "Reasons at length"}};
    json_out_text(json, "default_reasoning_level", "medium");
    json_out_open(json, "supported_reasoning_levels", '[');
    for (size_t i = 0; i < sizeof effort / sizeof *effort; i++) {
        json_out_open(json, NULL, '{');
        json_out_text(json, "effort", effort[i][0]);
        json_out_text(json, "description", effort[i][1]);
        json_out_close(json, '}');
    }
    json_out_close(json, ']');
}

/* The members of Codex's catalogue (its ModelInfo), so that it need not fall back to a guess. */
static void write_catalogue(const struct api_model *model, struct json_out *json)
{
    json_out_text(json, "slug", model->name);
    json_out_text(json, "display_name", model->name);
    json_out_text(json, "description", "gpt-oss, served by gossamer");
    write_efforts(json);
    json_out_text(json, "shell_type", "default");
    json_out_text(json, "visibility", "list");
    json_out_bool(json, "supported_in_api", true);
    json_out_integer(json, "priority", 0);
    json_out_null(json, "upgrade");
    json_out_text(json, "base_instructions", "");
    json_out_bool(json, "supports_reasoning_summaries", false);
    json_out_bool(json, "support_verbosity", false);
    json_out_null(json, "default_verbosity");
    json_out_null(json, "apply_patch_tool_type");
    json_out_open(json, "truncation_policy", '{');
    json_out_text(json, "mode", "tokens");
    json_out_integer(json, "limit", 10000);
    json_out_close(json, '}');
    json_out_bool(json, "supports_parallel_tool_calls", true);
    json_out_integer(json, "context_window", model->context);
    json_out_integer(json, "effective_context_window_percent", 95);
    json_out_open(json, "experimental_supported_tools", '[');
    json_out_close(json, ']');
    json_out_open(json, "input_modalities", '[');
    json_out_text(json, NULL, "text");
    json_out_close(json, ']');
}

static void write_model(const struct api_model *model, struct json_out *json)
{
    json_out_open(json, NULL, '{');
    json_out_text(json, "id", model->name);
    json_out_text(json, "object", "model");
    json_out_text(json, "type", "model");
    json_out_integer(json, "created", model->created);
    json_out_text(json, "owned_by", "gossamer");
    json_out_integer(json, "context_length", model->context);
    json_out_integer(json, "max_model_len", model->context);
    json_out_text(json, "digest", model->digest);
    write_catalogue(model, json);
    json_out_close(json, '}');
}

goss_status models_write_one(const struct api_model *model, struct buffer *out, goss_error *error)
{
    struct json_out json = {.out = out, .error = error};
    write_model(model, &json);
    return json.status;
}

/* "data" is OpenAI's name of the list and "models" Codex's. */
goss_status models_write_list(const struct api_model *model, size_t n, struct buffer *out, goss_error *error)
{
    static const char *const name[] = {"data", "models"};
    struct json_out json = {.out = out, .error = error};
    json_out_open(&json, NULL, '{');
    json_out_text(&json, "object", "list");
    for (size_t k = 0; k < 2; k++) {
        json_out_open(&json, name[k], '[');
        for (size_t i = 0; i < n; i++)
            write_model(&model[i], &json);
        json_out_close(&json, ']');
    }
    json_out_bool(&json, "has_more", false);
    json_out_text(&json, "first_id", n ? model[0].name : NULL);
    json_out_text(&json, "last_id", n ? model[n - 1].name : NULL);
    json_out_close(&json, '}');
    return json.status;
}
