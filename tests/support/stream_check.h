/* The promises of src/harmony/parse.h checked on one stream of ids, for property tests and fuzzers alike. */
#ifndef SUPPORT_STREAM_CHECK_H
#define SUPPORT_STREAM_CHECK_H

#include "harmony/parse.h"

/* NULL, or the promise that was broken. The stream is read twice, the second time with other pulls. */
const char *stream_check(const struct harmony *harmony, const enum role *role, const int32_t *id, size_t n);

#endif
