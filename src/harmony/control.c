#include "harmony/control.h"

#include "base/error.h"

goss_status harmony_open(struct harmony *harmony, const struct tokenizer *tokenizer, goss_error *error)
{
    *harmony = (struct harmony){.tokenizer = tokenizer};
    const struct {
        const char *literal;
        int32_t *id;
    } controls[] = {{"<|start|>", &harmony->start},         {"<|end|>", &harmony->end},
                    {"<|message|>", &harmony->message},     {"<|channel|>", &harmony->channel},
                    {"<|constrain|>", &harmony->constrain}, {"<|call|>", &harmony->call},
                    {"<|return|>", &harmony->ret},          {"<|endoftext|>", &harmony->endoftext}};
    for (size_t i = 0; i < sizeof controls / sizeof controls[0]; i++) {
        *controls[i].id = tokenizer_control(tokenizer, controls[i].literal);
        if (*controls[i].id < 0)
            return error_set(error, GOSS_E_UNSUPPORTED,
                             "the tokenizer has no control token %s: this model does not speak Harmony",
                             controls[i].literal);
    }
    return GOSS_OK;
}
