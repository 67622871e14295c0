/* How fast this machine is, measured: what the speed of a model is compared with. */
#ifndef APPS_RATES_H
#define APPS_RATES_H

#include "base/error.h"
#include "base/pool.h"
#include "cpu/peak.h"

/* One figure measured several times. */
struct figure {
    double median, least, most;
};
enum { FIGURE_REPEATS = 1000 };
struct figure figure_of(double *value, int n); /* sorts value; all 0 without any */

enum { RATE_SAMPLES = 5 };

/* Bytes a second that all threads together read from memory: sums over a buffer, in large pages where the system has
 * them, that is larger than any cache but a giant's. */
goss_status rate_read(struct pool *pool, const struct peak *peak, double value[RATE_SAMPLES], goss_error *error);

/* The same of memory that holds something, `size` bytes from a page's begin: of all of it, or of at most 1 GiB in
 * stretches spread evenly over it. */
void rate_read_of(struct pool *pool, const struct peak *peak, const uint8_t *memory, uint64_t size,
                  double value[RATE_SAMPLES]);

/* Multiplications and additions of int8 a second, of all threads, on registers alone. */
void rate_int8(struct pool *pool, const struct peak *peak, double value[RATE_SAMPLES]);

#endif
