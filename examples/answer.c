/* answer MODEL CACHE QUESTION: asks a model one question and prints the answer as it comes. Everything is done by
 * include/gossamer.h alone.
 *
 *     cc examples/answer.c -Iinclude -Lbuild -lcore -ljansson -lcrypto -lm -lpthread -o answer */
#include <stdio.h>
#include <string.h>

#include "gossamer.h"

static goss_status answer(const char *path, const char *cache, const char *question, goss_error *error)
{
    goss_model *model = NULL;
    goss_conversation *conversation = NULL;
    goss_turn *turn = NULL;
    goss_model_options options = goss_model_options_default();
    options.cache = cache;

    goss_status status = goss_model_open(&model, path, &options, error);
    if (status == GOSS_OK)
        status = goss_conversation_open(&conversation, error);
    if (status == GOSS_OK)
        status = goss_conversation_add_system(conversation, GOSS_EFFORT_LOW, NULL, error);
    if (status == GOSS_OK)
        status = goss_conversation_add_user(conversation, question, strlen(question), error);
    if (status == GOSS_OK)
        status = goss_turn_open(&turn, model, conversation, NULL, error);

    goss_event event = {.kind = GOSS_EVENT_WAIT};
    while (status == GOSS_OK && event.kind != GOSS_EVENT_DONE) {
        goss_turn_next(turn, &event);
        if (event.kind == GOSS_EVENT_TEXT && event.part == GOSS_PART_FINAL) {
            (void)fwrite(event.text, 1, event.size, stdout);
            (void)fflush(stdout);
        }
    }
    if (status == GOSS_OK && event.finish == GOSS_FINISH_FAILED) {
        *error = *event.error;
        status = error->status;
    }
    (void)putchar('\n');
    goss_turn_close(turn);
    goss_conversation_close(conversation);
    goss_model_close(model);
    return status;
}

int main(int argc, char **argv)
{
    goss_error error;
    if (argc != 4) {
        (void)fprintf(stderr, "usage: answer MODEL CACHE QUESTION\n");
        return 2;
    }
    if (answer(argv[1], argv[2], argv[3], &error)) {
        (void)fprintf(stderr, "answer: %s\n", error.text);
        return 1;
    }
    return 0;
}
