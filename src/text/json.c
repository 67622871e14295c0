/* A tokenizer from Hugging Face's tokenizer.json. Every setting that could change an id is either understood or
 * refused; the post-processor, truncation and padding are not read, since they act on whole inputs only. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "text/spelled.h"

struct reading {
    const char *file;
    json_t *root, *vocab;
    struct spelled_token *token;
    struct spelled_merge *merge;
    struct spelled_vocabulary vocabulary;
};

static struct tokenizer_text text_of(const json_t *string)
{
    return (struct tokenizer_text){(const uint8_t *)json_string_value(string), json_string_length(string)};
}

/* A message's "where": the value of a string, or what else stands there. */
static const char *show(char out[EXCERPT], const json_t *value)
{
    static const char *const types[] = {"an object", "an array", "", "a number", "a number", "true", "false", "null"};
    if (json_is_string(value))
        return excerpt(out, text_of(value).data, text_of(value).size);
    return value ? types[json_typeof(value)] : "nothing";
}

static goss_status unsupported(const struct reading *r, const char *field, const json_t *value, goss_error *error)
{
    char shown[EXCERPT];
    return error_set(error, GOSS_E_UNSUPPORTED, "%s: %s: '%s' is not supported", r->file, field, show(shown, value));
}

static bool is(const json_t *string, const char *text)
{
    return json_is_string(string) && strcmp(json_string_value(string), text) == 0;
}

/* A setting that is off: absent, null, false, zero or an empty string. */
static bool off(const json_t *value)
{
    return !value || json_is_null(value) || json_is_false(value) ||
           (json_is_number(value) && json_number_value(value) == 0) ||
           (json_is_string(value) && !json_string_length(value));
}

static goss_status check_settings(struct reading *r, goss_error *error)
{
    static const char *const must_be_off[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix",
                                              "byte_fallback"};
    const json_t *model = json_object_get(r->root, "model"), *decoder = json_object_get(r->root, "decoder");
    const json_t *ignore_merges = json_object_get(model, "ignore_merges");
    if (!is(json_object_get(model, "type"), "BPE"))
        return unsupported(r, "model.type", json_object_get(model, "type"), error);
    for (size_t i = 0; i < sizeof must_be_off / sizeof *must_be_off; i++)
        if (!off(json_object_get(model, must_be_off[i])))
            return error_set(error, GOSS_E_UNSUPPORTED, "%s: model.%s is set, which is not supported", r->file,
                             must_be_off[i]);
    if (!off(ignore_merges) && !json_is_true(ignore_merges))
        return unsupported(r, "model.ignore_merges", ignore_merges, error);
    r->vocabulary.whole_pieces = json_is_true(ignore_merges);
    if (!off(json_object_get(r->root, "normalizer")))
        return unsupported(r, "normalizer", json_object_get(json_object_get(r->root, "normalizer"), "type"), error);
    if (!off(decoder) && !is(json_object_get(decoder, "type"), "ByteLevel"))
        return unsupported(r, "decoder", json_object_get(decoder, "type"), error);
    return GOSS_OK;
}

/* {"type": "ByteLevel", ...} without a blank put before the text; *splits tells whether GPT-2's pattern is applied. */
static bool byte_level(const json_t *step, bool *splits)
{
    const json_t *use_regex = json_object_get(step, "use_regex");
    *splits = !use_regex || json_is_true(use_regex);
    return is(json_object_get(step, "type"), "ByteLevel") && json_is_false(json_object_get(step, "add_prefix_space")) &&
           (!use_regex || json_is_boolean(use_regex));
}

/* {"type": "Split", "pattern": {"Regex": ...}, "behavior": "Isolated", "invert": false} */
static enum split_pattern split_step(const json_t *step)
{
    const json_t *regex = json_object_get(json_object_get(step, "pattern"), "Regex");
    if (!is(json_object_get(step, "type"), "Split") || !is(json_object_get(step, "behavior"), "Isolated") ||
        !off(json_object_get(step, "invert")) || !json_is_string(regex))
        return SPLIT_NONE;
    return split_pattern_of(json_string_value(regex), json_string_length(regex));
}

/* One of: ByteLevel; Split by a known expression, then ByteLevel; single Digits, then ByteLevel. */
static goss_status choose_pattern(struct reading *r, goss_error *error)
{
    const json_t *pre = json_object_get(r->root, "pre_tokenizer"), *steps = json_object_get(pre, "pretokenizers");
    enum split_pattern *pattern = &r->vocabulary.pattern;
    bool splits;
    if (byte_level(pre, &splits) && splits)
        *pattern = SPLIT_GPT2;
    if (is(json_object_get(pre, "type"), "Sequence") && json_array_size(steps) == 2 &&
        byte_level(json_array_get(steps, 1), &splits)) {
        const json_t *first = json_array_get(steps, 0);
        if (!splits)
            *pattern = split_step(first);
        else if (is(json_object_get(first, "type"), "Digits") &&
                 json_is_true(json_object_get(first, "individual_digits")))
            *pattern = SPLIT_GPT2_DIGITS;
    }
    if (*pattern != SPLIT_NONE)
        return GOSS_OK;
    char *all = json_dumps(pre, JSON_ENCODE_ANY | JSON_COMPACT);
    goss_status status = error_set(error, GOSS_E_UNSUPPORTED, "%s: pre_tokenizer: not one of the known: %.300s",
                                   r->file, all ? all : "nothing");
    free(all);
    return status;
}

static bool id_of(const json_t *value, uint32_t *id)
{
    json_int_t number = json_is_integer(value) ? json_integer_value(value) : -1;
    *id = (uint32_t)number;
    return number >= 0 && number < TABLES_MAX_TOKEN;
}

/* One more than the highest id of the vocabulary and of the added tokens. */
static goss_status count_tokens(struct reading *r, const json_t *added, goss_error *error)
{
    char shown[EXCERPT];
    const char *text;
    json_t *value;
    size_t i;
    uint32_t id, *n = &r->vocabulary.n_token;
    json_object_foreach(r->vocab, text, value)
    {
        if (!id_of(value, &id))
            return error_set(error, GOSS_E_FORMAT, "%s: model.vocab: the id of '%s' is not one of 0 to %d", r->file,
                             excerpt(shown, (const uint8_t *)text, strlen(text)), TABLES_MAX_TOKEN - 1);
        *n = id >= *n ? id + 1 : *n;
    }
    json_array_foreach(added, i, value)
    {
        if (!id_of(json_object_get(value, "id"), &id))
            return error_set(error, GOSS_E_FORMAT, "%s: added_tokens[%zu].id is not one of 0 to %d", r->file, i,
                             TABLES_MAX_TOKEN - 1);
        *n = id >= *n ? id + 1 : *n;
    }
    return GOSS_OK;
}

static goss_status read_vocab(struct reading *r, goss_error *error)
{
    const char *text;
    size_t size;
    json_t *value;
    json_object_keylen_foreach(r->vocab, text, size, value)
    {
        uint32_t id;
        (void)id_of(value, &id);
        if (r->token[id].text.data)
            return error_set(error, GOSS_E_FORMAT, "%s: model.vocab: id %u occurs twice", r->file, id);
        r->token[id].text = (struct tokenizer_text){(const uint8_t *)text, size};
    }
    return GOSS_OK;
}

/* Added tokens are found in the text before anything else. The vocabulary may list them too, under the same id. */
static goss_status read_added(struct reading *r, const json_t *added, goss_error *error)
{
    static const char *const must_be_off[] = {"single_word", "lstrip", "rstrip", "normalized"};
    size_t i;
    json_t *item;
    json_array_foreach(added, i, item)
    {
        const json_t *content = json_object_get(item, "content");
        uint32_t id;
        (void)id_of(json_object_get(item, "id"), &id);
        if (!json_is_string(content) || !json_string_length(content))
            return error_set(error, GOSS_E_FORMAT, "%s: added_tokens[%zu].content is not text", r->file, i);
        for (size_t k = 0; k < sizeof must_be_off / sizeof *must_be_off; k++)
            if (!off(json_object_get(item, must_be_off[k])))
                return error_set(error, GOSS_E_UNSUPPORTED, "%s: added_tokens[%zu].%s is set, which is not supported",
                                 r->file, i, must_be_off[k]);
        struct tokenizer_text text = text_of(content), listed = r->token[id].text;
        const json_t *other = json_object_getn(r->vocab, (const char *)text.data, text.size);
        if (r->token[id].kind != TOKEN_NORMAL || (other && json_integer_value(other) != (json_int_t)id) ||
            (listed.data && (listed.size != text.size || memcmp(listed.data, text.data, text.size) != 0)))
            return error_set(error, GOSS_E_FORMAT, "%s: added_tokens[%zu]: id %u or its text is taken", r->file, i, id);
        bool special = json_is_true(json_object_get(item, "special"));
        r->token[id] = (struct spelled_token){text, special ? TOKEN_CONTROL : TOKEN_LITERAL};
    }
    return GOSS_OK;
}

/* A merge is ["LEFT", "RIGHT"] or, in older files, "LEFT RIGHT". */
static goss_status read_merges(struct reading *r, const json_t *merges, goss_error *error)
{
    size_t i;
    json_t *item;
    json_array_foreach(merges, i, item)
    {
        struct spelled_merge *merge = &r->merge[i];
        const char *blank = json_is_string(item) ? strchr(json_string_value(item), ' ') : NULL;
        const json_t *left = json_array_get(item, 0), *right = json_array_get(item, 1);
        if (blank) {
            struct tokenizer_text text = text_of(item);
            size_t before = (size_t)((const uint8_t *)blank - text.data);
            merge->left = (struct tokenizer_text){text.data, before};
            merge->right = (struct tokenizer_text){text.data + before + 1, text.size - before - 1};
        } else if (json_array_size(item) == 2 && json_is_string(left) && json_is_string(right)) {
            merge->left = text_of(left);
            merge->right = text_of(right);
        } else {
            return error_set(error, GOSS_E_FORMAT, "%s: model.merges[%zu] is not a pair of strings", r->file, i);
        }
    }
    return GOSS_OK;
}

static goss_status read_all(struct reading *r, goss_error *error)
{
    const json_t *model = json_object_get(r->root, "model"), *merges = json_object_get(model, "merges");
    const json_t *added = json_object_get(r->root, "added_tokens");
    r->vocab = json_object_get(model, "vocab");
    if (!json_is_object(r->vocab) || !json_is_array(merges) || (added && !json_is_array(added)))
        return error_set(error, GOSS_E_FORMAT, "%s: model.vocab, model.merges or added_tokens is missing or misshapen",
                         r->file);
    if (json_array_size(merges) > TABLES_MAX_TOKEN)
        return error_set(error, GOSS_E_LIMIT, "%s: model.merges: %zu merges, at most %d are read", r->file,
                         json_array_size(merges), TABLES_MAX_TOKEN);
    goss_status status = count_tokens(r, added, error);
    if (status)
        return status;
    r->vocabulary.n_merge = (uint32_t)json_array_size(merges);
    r->vocabulary.token = r->token = calloc((size_t)r->vocabulary.n_token + 1, sizeof *r->token);
    r->vocabulary.merge = r->merge = calloc((size_t)r->vocabulary.n_merge + 1, sizeof *r->merge);
    if (!r->token || !r->merge)
        return error_memory(error, r->vocabulary.n_token * sizeof *r->token + r->vocabulary.n_merge * sizeof *r->merge,
                            "a tokenizer");
    status = read_vocab(r, error);
    if (!status)
        status = read_added(r, added, error);
    return status ? status : read_merges(r, merges, error);
}

goss_status tokenizer_open_json(struct tokenizer **tokenizer, const uint8_t *json, size_t size, const char *file,
                                goss_error *error)
{
    struct reading r = {.file = file, .vocabulary = {.file = file}};
    json_error_t fault;
    *tokenizer = NULL;
    r.root = json_loadb((const char *)json, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &fault);
    if (!r.root && fault.line < 0) /* it did not begin to read */
        return error_memory(error, size, file);
    if (!json_is_object(r.root)) {
        goss_status status = error_set(error, GOSS_E_FORMAT, "%s: line %d: %s", file, r.root ? 1 : fault.line,
                                       r.root ? "not a JSON object" : fault.text);
        json_decref(r.root);
        return status;
    }
    goss_status status = check_settings(&r, error);
    if (!status)
        status = choose_pattern(&r, error);
    if (!status)
        status = read_all(&r, error);
    if (!status)
        status = tokenizer_build_spelled(tokenizer, &r.vocabulary, error);
    free(r.token);
    free(r.merge);
    json_decref(r.root);
    return status;
}
