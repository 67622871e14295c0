/* The bare rate of the instruction that attention is made of; that of products is in cpu/peak.h. */
#ifndef BENCH_FMA_H
#define BENCH_FMA_H

/* Runs `rounds` times 12 independent fma on 512-bit registers, which are FMA_PER_ROUND multiply-adds; returns their sum
 * so that they are not removed. */
enum { FMA_PER_ROUND = 12 * 16 };
float peak_fma(long rounds);

#endif
