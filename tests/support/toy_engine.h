/* An engine on the CPU over a toy model. */
#ifndef SUPPORT_TOY_ENGINE_H
#define SUPPORT_TOY_ENGINE_H

#include "engine/engine.h"

/* Asserts that it works. */
struct engine *toy_engine_open(const struct model *model, struct engine_options options);

#endif
