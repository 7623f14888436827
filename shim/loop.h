#ifndef XMPP443_LOOP_H
#define XMPP443_LOOP_H

/*
 * loop: epoll(7) and timers for one thread.
 *
 * Watches and timers are embedded in their owner's struct; the loop only
 * links them. A callback may remove and free any watch or timer, its own
 * included: one that was removed is never called again, even if its event had
 * been fetched from the kernel already.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;

struct loop_watch {
	void (*ready)(struct loop_watch *w, uint32_t events); /* EPOLL* bits */
	int fd;       /* not owned */
	bool watched; /* set by the loop */
};

struct loop_timer {
	void (*expired)(struct loop_timer *t); /* the timer is unset by then */
	uint64_t at;  /* loop_now() time */
	size_t place; /* in the heap, from 1; 0: not set. Zero-initialise. */
};

/* -ENOMEM, -EMFILE, -ENFILE */
int loop_new(struct loop **ret);

/* Takes NULL. Watches and timers that are left are forgotten, not called. */
void loop_free(struct loop *l);

/* Negative errno of epoll_ctl(2). w->fd and w->ready are set by the caller. */
int loop_add(struct loop *l, struct loop_watch *w, uint32_t events);

/*
 * Asks for the events anew. Under EPOLLET whatever is ready now is reported
 * again: this is how a handler that stops early for fairness comes back.
 */
int loop_again(struct loop *l, struct loop_watch *w, uint32_t events);

/* Takes a watch that is not watched. Must come before close(w->fd) and before w->fd is sent away. */
void loop_del(struct loop *l, struct loop_watch *w);

/*
 * The same for a descriptor that is closed next and that no other process has,
 * so that the kernel takes it out itself, epoll(7).
 */
void loop_forget(struct loop *l, struct loop_watch *w);

/* Sets or moves the timer to ms milliseconds from now. -ENOMEM: it is left as it was. */
int loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t ms);

/* Takes a timer that is not set. */
void loop_timer_unset(struct loop *l, struct loop_timer *t);

/* Milliseconds on CLOCK_MONOTONIC, as of the last wake-up. */
uint64_t loop_now(const struct loop *l);

/* Runs until loop_stop(). 0, or a negative errno of epoll_wait(2). */
int loop_run(struct loop *l);

/* From a callback only. */
void loop_stop(struct loop *l);

#endif
