/* How fast this machine is, measured: what the speed of a model is compared with. */
#ifndef APPS_RATES_H
#define APPS_RATES_H

#include "base/error.h"
#include "base/pool.h"
#include "cpu/kernels.h"

/* One figure measured several times. */
struct figure {
    double median, least, most;
};
enum { FIGURE_REPEATS = 1000 };
struct figure figure_of(double *value, int n); /* sorts value */

/* Bytes a second that all threads together read from memory: sums over a buffer far larger than common caches. */
goss_status rate_read(struct pool *pool, int repeat, struct figure *rate, goss_error *error);

/* Multiplications and additions of int8 a second, of all threads: the product of an MXFP4 matrix that stays in the
 * cache with a panel of 16 columns. */
goss_status rate_int8(struct pool *pool, const struct kernels *kernels, int repeat, struct figure *rate,
                      goss_error *error);

#endif
