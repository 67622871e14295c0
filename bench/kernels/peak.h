/* The bare rates of the instructions that products and attention are made of. */
#ifndef BENCH_PEAK_H
#define BENCH_PEAK_H

/* Runs `rounds` times 12 independent vpdpbusd on 512-bit registers; returns their sum so that they are not removed.
 * One instruction is 64 multiply-adds. */
int peak_dpbusd(long rounds);

/* The same with fma on floats: PEAK_FMA_PER_ROUND multiply-adds. */
enum { PEAK_FMA_PER_ROUND = 12 * 16 };
float peak_fma(long rounds);

#endif
