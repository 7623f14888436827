#ifndef XMPP443_COUNTER_H
#define XMPP443_COUNTER_H

/*
 * counter: a number that one thread changes and any thread may read.
 *
 * Relaxed, and never a read-modify-write: on the usual processors that is the
 * same add as on a plain integer, with no lock. A reader sees each counter
 * whole, and none go backwards; but two of them need not be of the same moment.
 */

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* Zero-initialise. */
struct counter {
	_Atomic uint64_t value;
};

static inline uint64_t counter_get(const struct counter *c)
{
	return atomic_load_explicit(&c->value, memory_order_relaxed);
}

/* By the one thread only. */
static inline void counter_add(struct counter *c, uint64_t n)
{
	atomic_store_explicit(&c->value, counter_get(c) + n, memory_order_relaxed);
}

/* For what goes down again. */
static inline void counter_sub(struct counter *c, uint64_t n)
{
	counter_add(c, 0 - n);
}

/* Structs that are nothing but counters: adds each to the one in its place. By the one thread only, whose the first ones are. */
static inline void counters_add(void *to, const void *from, size_t size)
{
	for (size_t i = 0; i < size / sizeof(struct counter); i++)
		counter_add((struct counter *)to + i, counter_get((const struct counter *)from + i));
}

#endif
