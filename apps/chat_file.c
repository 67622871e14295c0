#include "chat_file.h"

#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "harmony/message_json.h"
#include "places.h"

enum { CHAT_LIMIT = 1 << 28 };

static int is_chat(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);
    return entry->d_name[0] != '.' && length > 5 && strcmp(entry->d_name + length - 5, ".json") == 0;
}

static goss_status latest_name(const char *folder, char **path, goss_error *error)
{
    struct dirent **entry = NULL;
    int n = scandir(folder, &entry, is_chat, alphasort);
    if (n > 0)
        *path = file_join(folder, entry[n - 1]->d_name);
    for (int i = 0; i < n; i++)
        free(entry[i]);
    free(entry);
    if (n <= 0)
        return error_set(error, GOSS_E_IO, "%s: no conversation to continue", folder);
    return *path ? GOSS_OK : error_memory(error, 0, "a path");
}

goss_status chat_file_name(bool latest, char **path, goss_error *error)
{
    char name[96], stamp[32];
    struct tm day;
    struct timespec now;
    char *folder;
    *path = NULL;
    goss_status status = home_path(".local/share/gossamer/chats", &folder, error);
    if (status)
        return status;
    if (latest) {
        status = latest_name(folder, path, error);
    } else {
        status = file_make_directories(folder, error);
        /* to the nanosecond: two conversations of one second are two files, and names sort by time */
        (void)clock_gettime(CLOCK_REALTIME, &now);
        (void)strftime(stamp, sizeof stamp, "%Y-%m-%d-%H%M%S", gmtime_r(&now.tv_sec, &day));
        (void)snprintf(name, sizeof name, "%s-%09ld-%ld.json", stamp, now.tv_nsec, (long)getpid());
        if (!status && !(*path = file_join(folder, name)))
            status = error_memory(error, 0, "a path");
    }
    free(folder);
    return status;
}

/* {"gossamer", "model", "effort", "system", "messages"} */
static goss_status chat_json(struct buffer *text, const char *model, const char *effort, const char *instructions,
                             const struct conversation *conversation, goss_error *error)
{
    json_t *path = json_string(model); /* NULL if the path is not UTF-8 */
    json_t *head = json_pack("{s:s, s:o, s:s, s:s?}", "gossamer", GOSS_VERSION, "model", path ? path : json_null(),
                             "effort", effort, "system", instructions);
    char *dump = head ? json_dumps(head, JSON_COMPACT) : NULL;
    goss_status status = dump ? buffer_append(text, dump, strlen(dump) - 1, error) /* without its brace */
                              : error_memory(error, 0, "the conversation as JSON");
    free(dump);
    json_decref(head);
    if (!status)
        status = buffer_append_text(text, ",\n\"messages\":", error);
    if (!status)
        status = conversation_to_json(conversation, NULL, text, error);
    return status ? status : buffer_append_text(text, "}\n", error);
}

goss_status chat_file_save(const char *path, const char *model, const char *effort, const char *instructions,
                           const struct conversation *conversation, goss_error *error)
{
    struct file_writer writer;
    struct buffer text;
    buffer_init(&text, CHAT_LIMIT);
    goss_status status = chat_json(&text, model, effort, instructions, conversation, error);
    if (!status)
        status = file_writer_open(&writer, path, error);
    if (!status) {
        status = file_writer_write(&writer, text.data, text.size, error);
        if (!status)
            status = file_writer_commit(&writer, error);
        else
            file_writer_abort(&writer);
    }
    buffer_free(&text);
    return status;
}

goss_status chat_file_load(const char *path, struct conversation *conversation, char **instructions, goss_error *error)
{
    struct arena arena = {0};
    struct json_node *root = NULL;
    uint8_t *bytes = NULL;
    size_t size;
    *instructions = NULL;
    goss_status status = file_read(path, CHAT_LIMIT, &bytes, &size, error);
    if (!status)
        status = json_tree_read(&arena, (const char *)bytes, size, path, &root, error);
    const struct json_node *messages = json_tree_get(root, "messages"), *system = json_tree_get(root, "system");
    if (!status && !json_tree_is(messages, JSON_TREE_ARRAY))
        status = error_set(error, GOSS_E_FORMAT, "%s: no array 'messages'", path);
    if (!status && json_tree_is(system, JSON_TREE_STRING) && !(*instructions = strdup(system->text)))
        status = error_memory(error, system->size, "the instructions");
    if (!status)
        status = conversation_from_json(conversation, messages, path, NULL, error);
    arena_free(&arena);
    free(bytes);
    return status;
}
