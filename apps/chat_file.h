/* A conversation kept in a file: {"gossamer", "model", "effort", "system", "messages"}, readable by its owner alone. */
#ifndef APPS_CHAT_FILE_H
#define APPS_CHAT_FILE_H

#include "harmony/conversation.h"

/* A new name under ~/.local/share/gossamer/chats, made from the time; or, with `latest`, the newest file there. */
goss_status chat_file_name(bool latest, char **path, goss_error *error);

/* Replaces the file as a whole. */
goss_status chat_file_save(const char *path, const char *model, const char *effort, const char *instructions,
                           const struct conversation *conversation, goss_error *error);

/* The messages of the file, appended to an empty conversation; *instructions is malloc'd, or NULL if the file has
 * none. */
goss_status chat_file_load(const char *path, struct conversation *conversation, char **instructions, goss_error *error);

#endif
