/* An engine on the CPU over a toy model. */
#ifndef SUPPORT_TOY_ENGINE_H
#define SUPPORT_TOY_ENGINE_H

#include "engine/engine.h"

/* Asserts that it works. */
struct engine *toy_engine_open(const struct model *model, struct engine_options options);

/* An instruction set below the best that processors of this architecture have. */
#if defined(__x86_64__)
#define LESSER_ISA "avx2"
#elif defined(__aarch64__)
#define LESSER_ISA "neon"
#else
#define LESSER_ISA "scalar"
#endif

#endif
