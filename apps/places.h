/* Where things lie on this machine. */
#ifndef APPS_PLACES_H
#define APPS_PLACES_H

#include "base/buffer.h"

/* "HOME/PATH"; *full is malloc'd. */
goss_status home_path(const char *path, char **full, goss_error *error);

/* The path that a MODEL stands for: itself if there is such a file or folder, else a name in
 * ~/.local/share/gossamer/models or ./models, with or without its .goss or .gguf. NULL stands for the only model there
 * is. *path is malloc'd. */
goss_status model_find(const char *name, char **path, goss_error *error);

/* Calls each with the name and path of every model in those folders. */
goss_status models_each(goss_status (*each)(void *argument, const char *name, const char *path, goss_error *error),
                        void *argument, goss_error *error);

#endif
