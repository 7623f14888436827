#include "histogram.h"

/* Below HISTOGRAM_STEPS one slot per value; above, the leading eight bits choose the slot. */
static unsigned slot(uint64_t value)
{
	unsigned shift = 0;

	if (value >= HISTOGRAM_STEPS)
		shift = 63 - (unsigned)__builtin_clzll(value) - 7;
	return shift * HISTOGRAM_STEPS + (unsigned)(value >> shift);
}

/* The largest value of a slot. */
static uint64_t slot_end(unsigned i)
{
	unsigned shift = i < 2 * HISTOGRAM_STEPS ? 0 : i / HISTOGRAM_STEPS - 1;

	return ((uint64_t)(i - shift * HISTOGRAM_STEPS + 1) << shift) - 1;
}

void histogram_add(struct histogram *h, uint64_t value)
{
	h->count[slot(value)]++;
	h->n++;
	if (value > h->max)
		h->max = value;
}

uint64_t histogram_quantile(const struct histogram *h, double part)
{
	uint64_t want = (uint64_t)((double)h->n * part), seen = 0;

	for (unsigned i = 0; i < HISTOGRAM_SIZE; i++) {
		seen += h->count[i];
		if (seen > 0 && seen >= want)
			return slot_end(i) < h->max ? slot_end(i) : h->max;
	}
	return 0;
}
