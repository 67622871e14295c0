#include "cuda/load.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const places[] = {"", "../lib/gossamer/"}; /* from the program's folder */
enum { PLACES = sizeof places / sizeof places[0] };

/* The program's folder, with a slash at its end; empty if the system does not say. */
static void program_folder(char folder[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", folder, PATH_MAX - 1);
    while (n > 0 && folder[n - 1] != '/')
        n--;
    folder[n > 0 ? n : 0] = '\0';
}

static goss_status read_library(void *handle, const char *path, const struct cuda_library **library, goss_error *error)
{
    const struct cuda_library *found = dlsym(handle, CUDA_LIBRARY_SYMBOL);
    if (!found || found->abi != CUDA_LIBRARY_ABI)
        return error_set(error, GOSS_E_UNSUPPORTED, "%s: is of another version of gossamer", path);
    *library = found;
    return GOSS_OK;
}

goss_status cuda_load(const struct cuda_library **library, goss_error *error)
{
    char folder[PATH_MAX], path[PATH_MAX + 64];
    *library = NULL;
    program_folder(folder);
    for (int i = 0; i < PLACES; i++) {
        (void)snprintf(path, sizeof path, "%s%s" CUDA_LIBRARY_FILE, folder, places[i]);
        if (access(path, R_OK) != 0)
            continue;
        void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!handle)
            return error_set(error, GOSS_E_UNSUPPORTED, "%s: cannot be loaded: %s", path, dlerror());
        goss_status status = read_library(handle, path, library, error);
        if (status)
            (void)dlclose(handle);
        return status;
    }
    return error_set(error, GOSS_E_UNSUPPORTED, "there is no " CUDA_LIBRARY_FILE " in %s or in %s%s", folder, folder,
                     places[PLACES - 1]);
}
