/* The bare rate of the instruction that products are made of. */
#ifndef BENCH_PEAK_H
#define BENCH_PEAK_H

/* Runs `rounds` times 12 independent vpdpbusd on 512-bit registers; returns their sum so that they are not removed.
 * One instruction is 64 multiply-adds. */
int peak_dpbusd(long rounds);

#endif
