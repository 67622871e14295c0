#include "places.h"

#include <dirent.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

static const char user_models[] = ".local/share/gossamer/models", local_models[] = "models";

goss_status home_path(const char *path, char **full, goss_error *error)
{
    const char *home = getenv("HOME");
    const struct passwd *user = home && *home ? NULL : getpwuid(getuid());
    *full = NULL;
    if (!home || !*home)
        home = user ? user->pw_dir : NULL;
    if (!home)
        return error_set(error, GOSS_E_IO, "this user has no home folder for %s", path);
    *full = file_join(home, path);
    return *full ? GOSS_OK : error_memory(error, strlen(home) + strlen(path), "a path");
}

static goss_status folder_each(const char *folder,
                               goss_status (*each)(void *argument, const char *name, const char *path,
                                                   goss_error *error),
                               void *argument, goss_error *error)
{
    struct dirent **entry = NULL;
    goss_status status = GOSS_OK;
    int n = scandir(folder, &entry, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        if (!status && entry[i]->d_name[0] != '.') {
            char *path = file_join(folder, entry[i]->d_name);
            status = path ? each(argument, entry[i]->d_name, path, error) : error_memory(error, 0, "a path");
            free(path);
        }
        free(entry[i]);
    }
    free(entry);
    return status;
}

goss_status models_each(goss_status (*each)(void *argument, const char *name, const char *path, goss_error *error),
                        void *argument, goss_error *error)
{
    char *folder;
    goss_status status = home_path(user_models, &folder, error);
    if (folder)
        status = folder_each(folder, each, argument, error);
    free(folder);
    return status ? status : folder_each(local_models, each, argument, error);
}

/* What model_find has seen so far. */
struct search {
    const char *name; /* NULL: any */
    char *path;       /* of the first that fits */
    int n;            /* that fit */
    struct buffer names;
};

static bool name_fits(const char *name, const char *entry)
{
    size_t length = strlen(name);
    if (strncmp(name, entry, length) != 0)
        return false;
    return !entry[length] || strcmp(entry + length, ".goss") == 0 || strcmp(entry + length, ".gguf") == 0;
}

static goss_status search_add(void *argument, const char *name, const char *path, goss_error *error)
{
    struct search *search = argument;
    if (!search->name || name_fits(search->name, name)) {
        search->n++;
        if (!search->path && !(search->path = strdup(path)))
            return error_memory(error, strlen(path), "a path");
    }
    return buffer_append_format(&search->names, error, "%s%s", search->names.size ? ", " : "", name);
}

goss_status model_find(const char *name, char **path, goss_error *error)
{
    struct search search = {.name = name};
    *path = NULL;
    if (name && file_exists(name)) {
        *path = strdup(name);
        return *path ? GOSS_OK : error_memory(error, strlen(name), "a path");
    }
    buffer_init(&search.names, 1 << 16);
    goss_status status = models_each(search_add, &search, error);
    const char *known = search.names.size ? (const char *)search.names.data : "none";
    if (!status && name && !search.n)
        status =
            error_set(error, GOSS_E_IO, "model '%.200s': no such file or folder, and no such name in ~/%s or ./%s (%s)",
                      name, user_models, local_models, known);
    else if (!status && !name && search.n != 1)
        status = error_set(error, GOSS_E_ARGUMENT, "--model is missing; models in ~/%s and ./%s: %s", user_models,
                           local_models, known);
    buffer_free(&search.names);
    if (status)
        free(search.path);
    else
        *path = search.path;
    return status;
}
