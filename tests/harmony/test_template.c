/* The models' own chat template as a second witness: where it and openai-harmony agree, so must we. */
#include <string.h>

#include "harmony/content.h"
#include "harmony/message_json.h"
#include "harmony/render.h"
#include "support/harmony.h"

/* Where the template says something else than the library; docs/harmony.md has the reasons. */
static const char *const differing[] = {
    "developer first",                          /* blank line after instructions */
    "training without thinking",                /* no generation prompt: another mode */
    "tool call string args are double encoded", /* JSON encoded twice */
    "tool call content_type",
    "tool call then final drops analysis",
    "tool content dict", /* tool answers in quotes */
    "tool schema: no properties",
    "tool schema: empty", /* () => any */
    "tool schema: enum",
    "tool schema: defaults",  /* default before the comma */
    "tool schema: nullable",  /* a nullable number */
    "tool schema: arrays",    /* any[], nested objects */
    "tool schema: type list", /* integer in a list of one */
    "two tools",              /* second line of a description; instructions */
};

static bool differs(const char *name)
{
    for (size_t i = 0; i < sizeof differing / sizeof differing[0]; i++)
        if (strcmp(name, differing[i]) == 0)
            return true;
    return false;
}

static void add_part(struct conversation *conversation, enum role role, const struct part *part)
{
    struct message message = {.role = role, .part = part, .n_part = 1};
    assert_int_equal(conversation_add(conversation, &message, NULL), GOSS_OK);
}

static void add_system(struct conversation *conversation, const struct json_node *input)
{
    struct part part = system_part(EFFORT_MEDIUM, "2025-06-28");
    struct tool_namespace builtin[2];
    const struct json_node *effort = json_tree_get(input, "reasoning_effort");
    const struct json_node *names = json_tree_get(input, "builtin_tools");
    if (effort)
        assert_true(effort_find(effort->text, &part.effort));
    for (const struct json_node *name = names ? names->child : NULL; name; name = name->next)
        builtin[part.n_tools++] = strcmp(name->text, "browser") == 0 ? tools_browser : tools_python;
    part.tools = builtin;
    add_part(conversation, ROLE_SYSTEM, &part);
}

static void add_tools(struct conversation *conversation, const struct json_node *tools)
{
    struct arena arena = {0};
    struct tool tool[8];
    struct tool_namespace functions = {.name = "functions", .tool = tool};
    struct part part = {.kind = PART_DEVELOPER, .tools = &functions, .n_tools = 1};
    for (const struct json_node *node = tools->child; node; node = node->next) {
        const struct json_node *function = json_tree_get(node, "function");
        const struct json_node *schema = json_tree_get(function, "parameters");
        tool[functions.n_tool++] =
            (struct tool){json_tree_get(function, "name")->text, json_tree_get(function, "description")->text,
                          schema ? arena_copy(&arena, schema->source, schema->source_size) : NULL};
    }
    add_part(conversation, ROLE_DEVELOPER, &part);
    arena_free(&arena);
}

static void where_template_and_library_agree_so_do_we(void **state)
{
    (void)state;
    struct vectors vectors;
    int same = 0;
    vectors_open(&vectors, "harmony/vectors/chat_template.json");
    for (const struct json_node *node = json_tree_get(vectors.root, "cases")->child; node; node = node->next) {
        const struct json_node *input = json_tree_get(node, "input"), *tools = json_tree_get(input, "tools");
        if (!json_tree_get(node, "text") || differs(json_tree_get(node, "name")->text))
            continue;
        struct conversation conversation = {0};
        struct token_list got = {0}, wanted = {0};
        struct render_options options = {.next_role = ROLE_ASSISTANT};
        add_system(&conversation, input);
        if (tools)
            add_tools(&conversation, tools);
        for (const struct json_node *m = json_tree_get(input, "messages")->child; m; m = m->next) {
            bool user = strcmp(json_tree_get(m, "role")->text, "user") == 0;
            const struct json_node *text = json_tree_get(m, "content"), *thought = json_tree_get(m, "thinking");
            if (thought)
                assert_int_equal(conversation_add_text(&conversation, ROLE_ASSISTANT, "analysis", thought->text,
                                                       thought->size, NULL),
                                 GOSS_OK);
            assert_int_equal(conversation_add_text(&conversation, user ? ROLE_USER : ROLE_ASSISTANT,
                                                   user ? NULL : "final", text->text, text->size, NULL),
                             GOSS_OK);
        }
        assert_int_equal(render(&support_harmony, &conversation, &options, &got, NULL), GOSS_OK);
        support_encode(json_tree_get(node, "text")->text, &wanted);
        assert_int_equal(got.size, wanted.size);
        assert_memory_equal(got.id, wanted.id, wanted.size * sizeof *wanted.id);
        conversation_free(&conversation);
        token_list_free(&got);
        token_list_free(&wanted);
        same++;
    }
    assert_true(same >= 6);
    vectors_close(&vectors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(where_template_and_library_agree_so_do_we)};
    return cmocka_run_group_tests(tests, support_open, support_close);
}
