#include "weights/checkpoint.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "weights/safetensors.h"

/* ---- files */

/* Maps DIR/NAME, or PATH alone if dir is NULL. */
static goss_status add_file(struct checkpoint *c, const char *dir, const char *name, const struct file_map **map,
                            goss_error *error)
{
    *map = NULL;
    if (c->n_file == CHECKPOINT_MAX_FILES)
        return error_set(error, GOSS_E_LIMIT, "%s: one more than %d files", name, CHECKPOINT_MAX_FILES);
    char *path = dir ? file_join(dir, name) : strdup(name);
    if (!path)
        return error_memory(error, strlen(name), "a path");
    goss_status status = file_map_open(&c->file[c->n_file], path, error);
    free(path);
    if (status == GOSS_OK)
        *map = &c->file[c->n_file++];
    return status;
}

/* Needs no memory: what cannot be asked for must not pass for missing. */
static bool has_file(const char *dir, const char *name)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    return n > 0 && (size_t)n < sizeof path && file_exists(path);
}

static goss_status add_json(struct checkpoint *c, const char *dir, const char *name, json_t **json, const char **file,
                            goss_error *error)
{
    const struct file_map *map;
    goss_status status = add_file(c, dir, name, &map, error);
    if (!map)
        return status;
    *file = map->path;
    if (map->size > CHECKPOINT_MAX_JSON)
        return error_set(error, GOSS_E_LIMIT, "%s: %llu bytes, at most %d are read", map->path,
                         (unsigned long long)map->size, CHECKPOINT_MAX_JSON);
    status = json_parse(json, map->data ? (const char *)map->data : "", map->size, map->path, error);
    if (status == GOSS_OK && !json_is_object(*json))
        status = error_set(error, GOSS_E_FORMAT, "%s: no JSON object", map->path);
    return status;
}

static goss_status add_safetensors(struct checkpoint *c, const char *dir, const char *name, goss_error *error)
{
    const struct file_map *map;
    goss_status status = add_file(c, dir, name, &map, error);
    if (map)
        status = safetensors_read(map->data, map->size, map->path, &c->arena, &c->tensors, error);
    return status;
}

/* ---- the files of a folder */

struct names {
    const char *name[CHECKPOINT_MAX_FILES]; /* in the checkpoint's arena */
    int n;
};

static goss_status add_name(struct names *names, struct checkpoint *c, const char *name, const char *where,
                            goss_error *error)
{
    size_t length = strlen(name), ending = strlen(".safetensors");
    if (length <= ending || strcmp(name + length - ending, ".safetensors") != 0 || strchr(name, '/') || *name == '.')
        return error_set(error, GOSS_E_FORMAT, "%s: '%.64s' is no plain name of a safetensors file", where, name);
    for (int i = 0; i < names->n; i++)
        if (strcmp(names->name[i], name) == 0)
            return GOSS_OK;
    if (names->n == CHECKPOINT_MAX_FILES)
        return error_set(error, GOSS_E_LIMIT, "%s: more than %d files", where, CHECKPOINT_MAX_FILES);
    names->name[names->n] = arena_copy(&c->arena, name, length);
    return names->name[names->n++] ? GOSS_OK : error_memory(error, length, "a file name");
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Without an index, the names must tell that no part is missing: ..-I-of-N, where I runs from 1 to N or, as in the
 * published folders, from 0 to N. */
static goss_status check_complete(const struct names *names, const char *dir, goss_error *error)
{
    unsigned first = 2, count = 0, part, of;
    for (int i = 0; i < names->n; i++) {
        const char *number = strstr(names->name[i], "-of-");
        while (number && number > names->name[i] && number[-1] >= '0' && number[-1] <= '9')
            number--;
        if (!number || sscanf(number, "%6u-of-%6u.safetensors", &part, &of) != 2 || (count && of != count))
            return error_set(error, GOSS_E_FORMAT, "%s: no model.safetensors.index.json, and '%s' is not numbered", dir,
                             names->name[i]);
        count = of;
        first = i == 0 && part < first ? part : first;
        if (first > 1 || part != first + (unsigned)i)
            return error_set(error, GOSS_E_IO, "%s: part %u of %u is missing before '%s'", dir, first % 2 + (unsigned)i,
                             of, names->name[i]);
    }
    if (first + (unsigned)names->n != count + 1)
        return error_set(error, GOSS_E_IO, "%s: part %u of %u is missing", dir, first + (unsigned)names->n, count);
    return GOSS_OK;
}

static goss_status list_folder(struct checkpoint *c, const char *dir, struct names *names, goss_error *error)
{
    goss_status status = GOSS_OK;
    DIR *folder = opendir(dir);
    if (!folder)
        return error_errno(error, dir, "cannot list");
    for (struct dirent *entry; status == GOSS_OK && (entry = readdir(folder));) {
        const char *dot = strrchr(entry->d_name, '.');
        if (dot && dot != entry->d_name && *entry->d_name != '.' && strcmp(dot, ".safetensors") == 0)
            status = add_name(names, c, entry->d_name, dir, error);
    }
    closedir(folder);
    if (status)
        return status;
    if (names->n == 0)
        return error_set(error, GOSS_E_IO, "%s: no safetensors file in this folder", dir);
    qsort(names->name, (size_t)names->n, sizeof *names->name, by_text);
    return check_complete(names, dir, error);
}

/* Every tensor that the index names must be in the file it says. */
static goss_status check_index(const struct checkpoint *c, const json_t *map, const char *index, goss_error *error)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)map, name, value)
    {
        const struct tensor *t = tensor_find(&c->tensors, name);
        const char *base = t ? strrchr(t->file, '/') : NULL;
        if (!t || strcmp(base ? base + 1 : t->file, json_string_value(value)) != 0)
            return error_set(error, GOSS_E_FORMAT, "%s: tensor '%.255s' is not in '%.64s'", index, name,
                             json_string_value(value));
    }
    return GOSS_OK;
}

static goss_status read_by_index(struct checkpoint *c, const char *dir, struct names *names, goss_error *error)
{
    json_t *index = NULL, *value;
    const char *file = "", *name;
    goss_status status = add_json(c, dir, "model.safetensors.index.json", &index, &file, error);
    const json_t *map = json_object_get(index, "weight_map");
    if (status == GOSS_OK && (!json_is_object(map) || json_object_size(map) == 0))
        status = error_set(error, GOSS_E_FORMAT, "%s: 'weight_map' is missing or empty", file);
    json_object_foreach((json_t *)(uintptr_t)map, name, value)
    {
        if (status == GOSS_OK && !json_is_string(value))
            status = error_set(error, GOSS_E_FORMAT, "%s: 'weight_map' gives no file for '%.255s'", file, name);
        if (status == GOSS_OK)
            status = add_name(names, c, json_string_value(value), file, error);
    }
    for (int i = 0; status == GOSS_OK && i < names->n; i++)
        status = add_safetensors(c, dir, names->name[i], error);
    if (status == GOSS_OK)
        status = tensor_list_sort(&c->tensors, error);
    if (status == GOSS_OK)
        status = check_index(c, map, file, error);
    json_decref(index);
    return status;
}

static goss_status read_weights(struct checkpoint *c, const char *dir, goss_error *error)
{
    struct names *names = arena_alloc(&c->arena, sizeof *names);
    if (!names)
        return error_memory(error, sizeof *names, "file names");
    if (has_file(dir, "model.safetensors.index.json"))
        return read_by_index(c, dir, names, error);
    goss_status status = has_file(dir, "model.safetensors") ? add_name(names, c, "model.safetensors", dir, error)
                                                            : list_folder(c, dir, names, error);
    for (int i = 0; status == GOSS_OK && i < names->n; i++)
        status = add_safetensors(c, dir, names->name[i], error);
    return status ? status : tensor_list_sort(&c->tensors, error);
}

static goss_status read_folder(struct checkpoint *c, const char *dir, goss_error *error)
{
    goss_status status = add_json(c, dir, "config.json", &c->config, &c->config_file, error);
    if (status)
        return status;
    if (json_object_get(c->config, "model_type") || json_object_get(c->config, "architectures"))
        c->format = CHECKPOINT_HF;
    else if (json_object_get(c->config, "num_experts"))
        c->format = CHECKPOINT_ORIGINAL;
    else
        return error_set(error, GOSS_E_UNSUPPORTED, "%s: neither 'model_type' nor 'num_experts' is there",
                         c->config_file);
    if (has_file(dir, "generation_config.json"))
        status = add_json(c, dir, "generation_config.json", &c->generation, &c->generation_file, error);
    if (status == GOSS_OK && has_file(dir, "tokenizer.json"))
        status = add_file(c, dir, "tokenizer.json", &c->tokenizer, error);
    if (status == GOSS_OK && c->tokenizer && c->tokenizer->size > CHECKPOINT_MAX_TOKENIZER)
        status = error_set(error, GOSS_E_LIMIT, "%s: %llu bytes, at most %d are read", c->tokenizer->path,
                           (unsigned long long)c->tokenizer->size, CHECKPOINT_MAX_TOKENIZER);
    return status ? status : read_weights(c, dir, error);
}

/* The parent of original/ often holds a config.json, but then weights as well. */
static bool holds_weights(const char *dir)
{
    bool found = false;
    DIR *folder = has_file(dir, "config.json") ? opendir(dir) : NULL;
    for (struct dirent *entry; !found && folder && (entry = readdir(folder));) {
        const char *dot = strrchr(entry->d_name, '.');
        found = (dot && strcmp(dot, ".safetensors") == 0) || strcmp(entry->d_name, "model.safetensors.index.json") == 0;
    }
    if (folder)
        closedir(folder);
    return found;
}

/* ---- GGUF */

/* Turns .._PART-of-COUNT.gguf into the name of another part. `name` is changed in place. */
static bool name_part(char *name, unsigned part, unsigned count)
{
    char expected[32];
    size_t n = strlen(name), tail = strlen("-00001-of-00003.gguf");
    (void)snprintf(expected, sizeof expected, "-of-%05u.gguf", count);
    if (n < tail || name[n - tail] != '-' || strcmp(name + n - tail + 6, expected) != 0)
        return false;
    (void)snprintf(expected, sizeof expected, "-%05u", part);
    memcpy(name + n - tail, expected, 6);
    return true;
}

static goss_status split_value(const struct gguf *gguf, const char *key, int64_t expected, goss_error *error)
{
    int64_t value = 0;
    goss_status status = gguf_integer(gguf, key, &value, error);
    if (status == GOSS_OK && value != expected)
        status = error_set(error, GOSS_E_FORMAT, "%s: %s is %lld, not %lld", gguf->file, key, (long long)value,
                           (long long)expected);
    return status;
}

/* The first part has the metadata of the model; `gguf` is the one opened already, of whatever part. */
static goss_status read_split(struct checkpoint *c, const char *path, int64_t count, goss_error *error)
{
    char *name = arena_copy(&c->arena, path, strlen(path));
    goss_status status = GOSS_OK;
    if (!name)
        return error_memory(error, strlen(path), "a path");
    if (count > CHECKPOINT_MAX_FILES || !name_part(name, 1, (unsigned)count))
        return error_set(error, GOSS_E_FORMAT,
                         "%s: split.count is %lld, but the name does not end in -00001-of-%05lld"
                         ".gguf, nor so with another part's number",
                         path, (long long)count, (long long)count);
    c->tensors.n = 0;
    for (unsigned i = 0; status == GOSS_OK && i < (unsigned)count; i++) {
        const struct file_map *map;
        struct gguf part = {0};
        (void)name_part(name, i + 1, (unsigned)count);
        status = add_file(c, NULL, name, &map, error);
        if (map)
            status = gguf_read(map->data, map->size, map->path, &c->arena, &part, &c->tensors, error);
        if (status == GOSS_OK)
            status = split_value(&part, "split.no", i, error);
        if (status == GOSS_OK)
            status = split_value(&part, "split.count", count, error);
        if (status == GOSS_OK && i == 0)
            c->gguf = part;
    }
    return status ? status : split_value(&c->gguf, "split.tensors.count", (int64_t)c->tensors.n, error);
}

static goss_status read_gguf(struct checkpoint *c, const char *path, goss_error *error)
{
    const struct file_map *map;
    int64_t count = 1;
    c->format = CHECKPOINT_GGUF;
    goss_status status = add_file(c, NULL, path, &map, error);
    if (!map)
        return status;
    if (map->size < 4 || memcmp(map->data, "GGUF", 4) != 0)
        return error_set(error, GOSS_E_UNSUPPORTED, "%s: neither a folder nor a packed file nor a GGUF", path);
    status = gguf_read(map->data, map->size, map->path, &c->arena, &c->gguf, &c->tensors, error);
    if (status == GOSS_OK && gguf_find(&c->gguf, "split.count"))
        status = gguf_integer(&c->gguf, "split.count", &count, error);
    if (status == GOSS_OK && count > 1) {
        file_map_close(&c->file[--c->n_file]);
        status = read_split(c, path, count, error);
    }
    return status ? status : tensor_list_sort(&c->tensors, error);
}

/* ---- */

goss_status checkpoint_open(struct checkpoint **out, const char *path, goss_error *error)
{
    *out = NULL;
    struct checkpoint *c = calloc(1, sizeof *c);
    if (c)
        c->file = calloc(CHECKPOINT_MAX_FILES, sizeof *c->file);
    if (!c || !c->file) {
        free(c);
        return error_memory(error, sizeof *c, path);
    }
    goss_status status;
    char *original = file_join(path, "original");
    if (!original)
        status = error_memory(error, strlen(path), "a path");
    else if (!file_is_directory(path))
        status = read_gguf(c, path, error);
    else if (!holds_weights(path) && holds_weights(original))
        status = read_folder(c, original, error);
    else
        status = read_folder(c, path, error);
    free(original);
    if (status) {
        checkpoint_close(c);
        return status;
    }
    *out = c;
    return GOSS_OK;
}

void checkpoint_close(struct checkpoint *c)
{
    if (!c)
        return;
    for (int i = 0; i < c->n_file; i++)
        file_map_close(&c->file[i]);
    free(c->file);
    tensor_list_free(&c->tensors);
    json_decref(c->config);
    json_decref(c->generation);
    arena_free(&c->arena);
    free(c);
}

goss_status checkpoint_identity(const struct checkpoint *c, uint8_t digest[SHA256_BYTES], goss_error *error)
{
    struct sha256 *hash;
    goss_status status = sha256_open(&hash, error);
    for (int i = 0; status == GOSS_OK && i < c->n_file; i++) {
        struct stat st;
        char *path = realpath(c->file[i].path, NULL);
        if (!path || stat(path, &st) != 0) {
            status = error_errno(error, c->file[i].path, "cannot stat");
        } else {
            int64_t facts[] = {st.st_size, st.st_mtim.tv_sec, st.st_mtim.tv_nsec};
            sha256_add(hash, path, strlen(path) + 1);
            sha256_add(hash, facts, sizeof facts);
        }
        free(path);
    }
    sha256_close(hash, status ? NULL : digest);
    return status;
}
