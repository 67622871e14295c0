/* The clock that only goes forward, for durations. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

double clock_seconds(void);
int64_t clock_ms(void);

#endif
