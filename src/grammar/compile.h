/* JSON Schema -> nodes. The place of a value is described by all schemas that apply to it at once (an element of allOf,
 * the target of a $ref, a property that two schemas name): such a row of schemas is a `place`, and each different place
 * becomes one node. Places are worked off from a list, so nothing recurses however schemas refer to each other.
 *
 * These are the parts of the compiler that its files share; nobody else includes it. */
#ifndef GRAMMAR_COMPILE_H
#define GRAMMAR_COMPILE_H

#include "grammar/node.h"
#include "text/json_tree.h"

/* What of a schema no longer counts, since the place is one of its alternatives; VALUE: the json is no schema but the
 * very value that must stand there. */
enum { SKIP_ANY_OF = 1, SKIP_ONE_OF = 2, ITEM_VALUE = 4 };
struct item {
    struct json_node *json;
    uint8_t flags;
};

enum { PLACE_ITEMS = 64 };
struct place {
    struct item *item;
    int32_t n_item;
    int32_t node;
};

struct compiler {
    struct grammar *grammar;
    struct arena scratch; /* the schema's tree and all places */
    struct json_node *root;
    bool in_order;
    struct place *place; /* [n_place], those from `next` on have no node's content yet */
    int32_t n_place, place_capacity, next;
    int32_t *slot; /* [n_slot] places by hash, or -1 */
    int32_t n_slot;
    int32_t number[2]; /* dfas of any number and any integer, or -1 */
    goss_error *error;
};

/* A growing row of items. */
struct items {
    struct item item[PLACE_ITEMS];
    int32_t n;
};

/* Types, as a set. A number is an integer or it has a fraction. */
enum {
    TYPE_NULL = 1,
    TYPE_BOOLEAN = 2,
    TYPE_INTEGER = 4,
    TYPE_FRACTION = 8,
    TYPE_STRING = 16,
    TYPE_ARRAY = 32,
    TYPE_OBJECT = 64,
    TYPE_NUMBER = TYPE_INTEGER | TYPE_FRACTION,
    TYPE_ANY = 127
};

/* The error, with the place of `json` (and `keyword` inside it, or NULL) before the sentence. */
goss_status compile_error(struct compiler *c, const struct json_node *json, const char *keyword, goss_status status,
                          const char *format, ...) __attribute__((format(printf, 5, 6)));
/* The same for an error that some part reported without a place. */
goss_status compile_error_at(struct compiler *c, const struct json_node *json, const char *keyword,
                             const goss_error *inner);

/* Counts work that may grow with more than the schema's size; GOSS_E_LIMIT if it gets too much. A step is about as long
 * as an automaton's, and these are what looking at a schema and at one member is worth. */
enum { STEPS_ITEM = 16, STEPS_MEMBER = 64 };
goss_status spend(struct compiler *c, uint64_t steps);

/* keyword.c: the members of one schema. */
goss_status check_keywords(struct compiler *c, struct json_node *schema);
bool constrains(const struct item *item);             /* whether it says anything but what it refers to */
bool constrains_beyond_type(const struct item *item); /* .. and but its type and its values */
goss_status types_of(struct compiler *c, const struct item *item, int *types);
int type_of_value(const struct json_node *value);
/* A count such as minItems; *value stays if it is absent. */
goss_status read_count(struct compiler *c, const struct json_node *schema, const char *keyword, uint32_t *value);
goss_status find_reference(struct compiler *c, struct json_node *schema, struct json_node **target);

/* disjoint.c: whether no value can satisfy both; false when in doubt. */
bool disjoint(struct compiler *c, struct json_node *a, struct json_node *b);

/* compile.c */
goss_status add_item(struct compiler *c, struct items *items, struct json_node *json, uint8_t flags);
/* The node of a place, new or known; NODE_NEVER if nothing can stand there. */
goss_status node_of(struct compiler *c, struct items *items, int32_t *node);
goss_status new_node(struct compiler *c, enum node_kind kind, int32_t *node);
goss_status new_dfa(struct compiler *c, const struct dfa *dfa, int32_t *index);
void *compile_alloc(struct compiler *c, size_t n, goss_status *status); /* in the grammar's arena */
goss_status add_leaf(struct compiler *c, int32_t choice, int32_t leaf);

/* leaf.c: what a place without alternatives can be, added to the choice `node`. */
goss_status add_values(struct compiler *c, int32_t node, const struct place *place, const struct item *values);
goss_status add_scalars(struct compiler *c, int32_t node, const struct place *place, int types);
goss_status add_array(struct compiler *c, int32_t node, const struct place *place);
/* The dfa of the strings, without quotes, that the items ask for. *plain: only lengths count, there is no dfa. */
goss_status build_string(struct compiler *c, const struct item *item, int32_t n, struct dfa *dfa, bool *plain,
                         uint32_t *least, uint32_t *most);
/* object.c */
goss_status add_object(struct compiler *c, int32_t node, const struct place *place);

/* format.c: the regular expression of a format, or NULL. */
const char *format_regex(const char *name, size_t size);

/* finish.c: what nodes need, choices resolved, impossible things dropped. */
goss_status finish_nodes(struct grammar *grammar, goss_error *error);

#endif
