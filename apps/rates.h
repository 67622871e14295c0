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

/* What the rate of reading is measured with: larger than any cache but a giant's, in large pages where the system has
 * them. Kept from one measurement to the next, because giving back so much makes work for the system (a virtual machine
 * may hand it to its host) just when something else is timed. */
struct rate_memory {
    uint8_t *bytes;
    uint64_t size;
};
void rate_memory_free(struct rate_memory *memory); /* harmless on a zeroed struct */

/* Bytes a second that all threads together read from memory; fills a zeroed one in first. */
goss_status rate_read(struct pool *pool, const struct peak *peak, struct rate_memory *memory,
                      double value[RATE_SAMPLES], goss_error *error);

/* The same of memory that holds something, `size` bytes from a page's begin: of all of it, or of at most 1 GiB in
 * stretches spread evenly over it. */
void rate_read_of(struct pool *pool, const struct peak *peak, const uint8_t *memory, uint64_t size,
                  double value[RATE_SAMPLES]);

/* Multiplications and additions of int8 a second, of all threads, on registers alone. */
void rate_int8(struct pool *pool, const struct peak *peak, double value[RATE_SAMPLES]);

#endif
