#include "loop.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define BATCH     64
#define HEAP_STEP 256

struct loop {
	int epfd;
	bool stop;
	uint64_t now;
	struct epoll_event batch[BATCH];
	int batch_next, batch_end; /* events fetched and not yet delivered */
	struct loop_timer **heap;  /* binary min-heap in [1..heap_len] */
	size_t heap_len, heap_cap;
};

static void update_now(struct loop *l)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	l->now = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

int loop_new(struct loop **ret)
{
	struct loop *l = malloc(sizeof(*l));
	int err;

	if (l == NULL)
		return -ENOMEM;
	*l = (struct loop){.epfd = epoll_create1(EPOLL_CLOEXEC)};
	if (l->epfd < 0) {
		err = -errno;
		loop_free(l);
		return err;
	}
	update_now(l);
	*ret = l;
	return 0;
}

void loop_free(struct loop *l)
{
	if (l == NULL)
		return;
	if (l->epfd >= 0)
		close(l->epfd);
	free(l->heap);
	free(l);
}

int loop_add(struct loop *l, struct loop_watch *w, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = w};

	if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, w->fd, &ev) < 0)
		return -errno;
	w->watched = true;
	return 0;
}

int loop_again(struct loop *l, struct loop_watch *w, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = w};

	return epoll_ctl(l->epfd, EPOLL_CTL_MOD, w->fd, &ev) < 0 ? -errno : 0;
}

void loop_forget(struct loop *l, struct loop_watch *w)
{
	if (!w->watched)
		return;
	w->watched = false;
	for (int i = l->batch_next; i < l->batch_end; i++)
		if (l->batch[i].data.ptr == w)
			l->batch[i].data.ptr = NULL;
}

void loop_del(struct loop *l, struct loop_watch *w)
{
	if (w->watched)
		epoll_ctl(l->epfd, EPOLL_CTL_DEL, w->fd, NULL);
	loop_forget(l, w);
}

static void heap_put(struct loop *l, size_t place, struct loop_timer *t)
{
	l->heap[place] = t;
	t->place = place;
}

static void heap_up(struct loop *l, struct loop_timer *t)
{
	size_t i = t->place;

	for (; i > 1 && l->heap[i / 2]->at > t->at; i /= 2)
		heap_put(l, i, l->heap[i / 2]);
	heap_put(l, i, t);
}

static void heap_down(struct loop *l, struct loop_timer *t)
{
	size_t i = t->place;

	for (;;) {
		size_t child = 2 * i;

		if (child > l->heap_len)
			break;
		if (child < l->heap_len && l->heap[child + 1]->at < l->heap[child]->at)
			child++;
		if (l->heap[child]->at >= t->at)
			break;
		heap_put(l, i, l->heap[child]);
		i = child;
	}
	heap_put(l, i, t);
}

int loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t ms)
{
	if (t->place == 0) {
		if (l->heap_len + 1 >= l->heap_cap) {
			size_t cap = l->heap_cap * 2 + HEAP_STEP;
			struct loop_timer **heap = realloc(l->heap, cap * sizeof(struct loop_timer *));

			if (heap == NULL)
				return -ENOMEM;
			l->heap = heap;
			l->heap_cap = cap;
		}
		heap_put(l, ++l->heap_len, t);
	}
	t->at = l->now + ms;
	heap_up(l, t);
	heap_down(l, t);
	return 0;
}

void loop_timer_unset(struct loop *l, struct loop_timer *t)
{
	struct loop_timer *last;
	size_t place = t->place;

	if (place == 0)
		return;
	t->place = 0;
	last = l->heap[l->heap_len--];
	if (last == t)
		return;
	heap_put(l, place, last);
	heap_up(l, last);
	heap_down(l, last);
}

static void run_timers(struct loop *l)
{
	/* A timer set to 0 ms by a callback waits for the next round: no starvation. */
	uint64_t until = l->now;

	while (l->heap_len > 0 && l->heap[1]->at <= until && !l->stop) {
		struct loop_timer *t = l->heap[1];

		loop_timer_unset(l, t);
		l->now = until + 1;
		t->expired(t);
	}
}

static int wait_ms(const struct loop *l)
{
	if (l->heap_len == 0)
		return -1;
	if (l->heap[1]->at <= l->now)
		return 0;
	return l->heap[1]->at - l->now > INT_MAX ? INT_MAX : (int)(l->heap[1]->at - l->now);
}

uint64_t loop_now(const struct loop *l)
{
	return l->now;
}

int loop_run(struct loop *l)
{
	l->stop = false;
	while (!l->stop) {
		int n = epoll_wait(l->epfd, l->batch, BATCH, wait_ms(l));

		if (n < 0 && errno != EINTR)
			return -errno;
		update_now(l);
		l->batch_end = n < 0 ? 0 : n;
		for (l->batch_next = 0; l->batch_next < l->batch_end && !l->stop;) {
			struct epoll_event *ev = &l->batch[l->batch_next++];
			struct loop_watch *w = ev->data.ptr;

			if (w != NULL)
				w->ready(w, ev->events);
		}
		l->batch_end = 0;
		run_timers(l);
	}
	return 0;
}

void loop_stop(struct loop *l)
{
	l->stop = true;
}
