#include "support/toy_engine.h"

#include "support/test.h"

struct engine *toy_engine_open(const struct model *model, struct engine_options options)
{
    struct engine *engine;
    goss_error error;
    if (engine_open(&engine, model, &cpu_backend, &options, &error))
        fail_msg("%s", error.text);
    return engine;
}

void toy_asked_alone(struct engine *engine, struct toy_asked *a)
{
    toy_asked_add(engine, a);
    while (engine_step(engine))
        while (sequence_next(a->sequence, &a->expected[a->n_expected]))
            a->n_expected++;
    assert_true(a->n_expected > 0 && sequence_finish(a->sequence) != FINISH_ERROR);
    engine_release(engine, a->sequence);
    a->sequence = NULL;
}

void toy_asked_add(struct engine *engine, struct toy_asked *a)
{
    assert_int_equal(engine_add(engine, &a->request, &a->sequence, NULL), GOSS_OK);
    a->n_found = 0;
}

void toy_asked_pull(struct toy_asked *a)
{
    while (a->sequence && sequence_next(a->sequence, &a->found[a->n_found]))
        a->n_found++;
}

void toy_asked_check(struct engine *engine, struct toy_asked *a)
{
    assert_int_equal(a->n_found, a->n_expected);
    for (int i = 0; i < a->n_found; i++) {
        const struct sampled *found = &a->found[i], *expected = &a->expected[i];
        assert_int_equal(found->id, expected->id);
        assert_memory_equal(&found->logprob, &expected->logprob, sizeof(double));
        for (int j = 0; j < found->n_top; j++) {
            assert_int_equal(found->top[j].id, expected->top[j].id);
            assert_memory_equal(&found->top[j].logprob, &expected->top[j].logprob, sizeof(double));
        }
    }
    engine_release(engine, a->sequence);
    a->sequence = NULL;
}
