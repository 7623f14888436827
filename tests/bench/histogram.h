/* Counts times, to within one part in 128. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEPS 128 /* per power of two */
#define HISTOGRAM_SIZE  (64 * HISTOGRAM_STEPS)

struct histogram {
	uint64_t n, max;
	uint64_t count[HISTOGRAM_SIZE];
};

void histogram_add(struct histogram *h, uint64_t value);

/* The value that this part (0 to 1) of all values do not exceed; 0 if there are none. */
uint64_t histogram_quantile(const struct histogram *h, double part);

#endif
