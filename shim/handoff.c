#include "handoff.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

#define EVENTS EPOLLIN
#define RETRY_HELD_MS  100  /* between two attempts while somebody waits */
#define RETRY_IDLE_MS  1000
#define REFS_PAUSE_MS  20   /* until the receiver has taken some of the fds in flight */
#define LATER_PAUSE_MS 500  /* after the receiver said "not now" */

struct handoff {
	struct loop *loop;
	struct addr_endpoint path;
	unsigned max_held;
	struct handoff_counts *counts;
	handoff_changed changed;
	void *arg;
	struct loop_watch watch; /* fd -1 while the receiver is away */
	struct loop_timer timer; /* away: the next attempt; up: the end of a pause */
	int error;               /* last reported state: 0 up, 1 nothing reported yet, else negative errno */
	bool blocked;            /* the socket is full: EPOLLOUT will tell */
	uint64_t up_at;          /* loop_now() when the channel came up */
	uint64_t last_id;
	struct list held, sent;
	unsigned n_held;
};

static void flush(struct handoff *h);
static void on_control(struct loop_watch *w, uint32_t events);
static void on_timer(struct loop_timer *t);

static struct handoff_item *first_of(struct list *l)
{
	return container_of(l->next, struct handoff_item, link);
}

void handoff_forget(struct handoff_item *item)
{
	struct handoff *h = item->handoff;

	switch (item->state) {
	case HANDOFF_ITEM_IDLE:
		return;
	case HANDOFF_ITEM_HELD:
		item->left_ms = item->expiry.at > loop_now(h->loop) ? item->expiry.at - loop_now(h->loop) : 0;
		loop_del(h->loop, &item->watch);
		loop_timer_unset(h->loop, &item->expiry);
		list_remove(&item->link);
		h->n_held--;
		counter_sub(&h->counts->held_now, 1);
		break;
	case HANDOFF_ITEM_SENT:
		list_remove(&item->link);
		break;
	}
	item->state = HANDOFF_ITEM_IDLE;
}

static void finish(struct handoff_item *item, enum handoff_result result)
{
	handoff_forget(item);
	item->done(item, result);
}

static void on_held_client(struct loop_watch *w, uint32_t events)
{
	/* Only the end is watched for. A client that stops sending after its hello has given up. */
	(void)events;
	finish(container_of(w, struct handoff_item, watch), HANDOFF_CLIENT_GONE);
}

static void on_expiry(struct loop_timer *t)
{
	finish(container_of(t, struct handoff_item, expiry), HANDOFF_EXPIRED);
}

/* Puts an idle item into the queue of those that wait. */
static void hold(struct handoff *h, struct handoff_item *item, bool first)
{
	(first ? list_add_first : list_add_last)(&h->held, &item->link);
	h->n_held++;
	counter_add(&h->counts->held_now, 1);
	if (!item->waited)
		counter_add(&h->counts->held, 1);
	item->waited = true;
	item->state = HANDOFF_ITEM_HELD;
	item->watch = (struct loop_watch){.fd = item->fd, .ready = on_held_client};
	item->expiry.expired = on_expiry;
	if (loop_timer_set(h->loop, &item->expiry, item->left_ms) < 0 ||
	    loop_add(h->loop, &item->watch, EPOLLRDHUP | EPOLLET) < 0)
		finish(item, HANDOFF_FULL);
}

/* 1: none any more, or not yet. */
static void count_state(struct handoff *h, int error)
{
	struct handoff_counts *c = h->counts;

	if (h->error <= 0)
		counter_sub(h->error == 0 ? &c->up_now : &c->away_now, 1);
	h->error = error;
	if (error <= 0)
		counter_add(error == 0 ? &c->up_now : &c->away_now, 1);
}

static void report(struct handoff *h, int error)
{
	if (h->error == error)
		return;
	count_state(h, error);
	h->changed(h->arg, h, error);
}

static void retry_later(struct handoff *h)
{
	loop_timer_set(h->loop, &h->timer, h->n_held > 0 ? RETRY_HELD_MS : RETRY_IDLE_MS);
}

static void try_connect(struct handoff *h)
{
	int err = control_connect(&h->path, &h->watch.fd);

	if (err == 0) {
		err = loop_add(h->loop, &h->watch, EVENTS);
		if (err < 0) {
			close(h->watch.fd);
			h->watch.fd = -1;
		}
	}
	if (err < 0)
		retry_later(h);
	else
		loop_timer_unset(h->loop, &h->timer);
	h->blocked = false;
	h->up_at = loop_now(h->loop);
	report(h, err);
}

/* The channel has ended and every verdict on it was read: what has none is to be sent again. */
static void channel_ended(struct handoff *h, int error)
{
	loop_del(h->loop, &h->watch);
	close(h->watch.fd);
	h->watch.fd = -1;
	loop_timer_unset(h->loop, &h->timer);
	report(h, error);

	/* They have waited longest: in front of those that are held already. */
	while (!list_empty(&h->sent)) {
		struct handoff_item *item = container_of(h->sent.prev, struct handoff_item, link);

		handoff_forget(item);
		item->left_ms = item->hold_ms;
		hold(h, item, true);
	}
	/* A receiver that hangs up on us at once, as one that we may not use does, would keep us busy for ever. */
	if (loop_now(h->loop) < h->up_at + RETRY_HELD_MS)
		retry_later(h);
	else
		try_connect(h);
	flush(h);
}

/* 0 or -EPROTO */
static int take_verdict(struct handoff *h, const uint8_t *record)
{
	struct list *link = h->sent.next;
	struct handoff_item *item;

	/* Verdicts come nearly in the order of sending, so this is short. */
	while (link != &h->sent &&
	       memcmp(container_of(link, struct handoff_item, link)->id, record + 1, CONTROL_ID_LEN) != 0)
		link = link->next;
	if (link == &h->sent)
		return 0;
	item = container_of(link, struct handoff_item, link);

	switch (record[0]) {
	case 'A':
		counter_add(&h->counts->adopted, 1);
		finish(item, HANDOFF_ADOPTED);
		return 0;
	case 'N':
		counter_add(&h->counts->refused, 1);
		finish(item, HANDOFF_REFUSED);
		return 0;
	case 'R':
		counter_add(&h->counts->later, 1);
		handoff_forget(item);
		hold(h, item, false);
		loop_timer_set(h->loop, &h->timer, LATER_PAUSE_MS);
		return 0;
	default:
		return -EPROTO;
	}
}

/* 0: no more verdicts for now. Negative errno: the channel is at its end. */
static int read_verdicts(struct handoff *h)
{
	uint8_t buf[CONTROL_PACKET_MAX];
	ssize_t n;

	/* When all have their verdict there can be no more, and a call in vain is saved. */
	do {
		n = control_recv(h->watch.fd, buf);
		for (ssize_t i = 0; i < n; i += CONTROL_RECORD_LEN)
			if (take_verdict(h, buf + i) < 0)
				return -EPROTO;
	} while (n > 0 && !list_empty(&h->sent));
	if (n == 0)
		return -ECONNRESET;
	return n > 0 || n == -EAGAIN ? 0 : (int)n;
}

static void on_control(struct loop_watch *w, uint32_t events)
{
	struct handoff *h = container_of(w, struct handoff, watch);
	int err = read_verdicts(h);

	if (err < 0) {
		channel_ended(h, err);
		return;
	}
	if (h->blocked && (events & EPOLLOUT)) {
		h->blocked = false;
		loop_again(h->loop, &h->watch, EVENTS);
	}
	flush(h);
}

static bool can_send(const struct handoff *h)
{
	return h->watch.fd >= 0 && !h->blocked && h->timer.place == 0;
}

/* Sends an item that is idle; if that cannot be now, holds it. */
static void send_or_hold(struct handoff *h, struct handoff_item *item)
{
	int err = control_send(h->watch.fd, item->header, item->header_len, item->fd);

	switch (err) {
	case 0:
		item->state = HANDOFF_ITEM_SENT;
		list_add_last(&h->sent, &item->link);
		return;
	case -EAGAIN:     /* full: EPOLLOUT comes */
	case -EPIPE:      /* at its end: EPOLLHUP comes */
	case -ECONNRESET:
		h->blocked = true;
		loop_again(h->loop, &h->watch, EVENTS | EPOLLOUT);
		hold(h, item, true);
		return;
	case -ETOOMANYREFS: /* the socket itself stays writable, so nothing would wake us */
	case -ENOMEM:
	case -ENOBUFS:
		loop_timer_set(h->loop, &h->timer, REFS_PAUSE_MS);
		hold(h, item, true);
		return;
	default:
		item->done(item, HANDOFF_REFUSED);
	}
}

static void flush(struct handoff *h)
{
	while (!list_empty(&h->held) && can_send(h)) {
		struct handoff_item *item = first_of(&h->held);

		/* Out of our epoll set first: the receiver's copy would keep firing here. */
		handoff_forget(item);
		send_or_hold(h, item);
	}
}

static void on_timer(struct loop_timer *t)
{
	struct handoff *h = container_of(t, struct handoff, timer);

	if (h->watch.fd < 0)
		try_connect(h);
	flush(h);
}

void handoff_submit(struct handoff *h, struct handoff_item *item)
{
	item->handoff = h;
	item->state = HANDOFF_ITEM_IDLE;
	item->waited = false;
	item->left_ms = item->hold_ms;

	/* Nobody waited so far: look again now rather than in a second. */
	if (h->watch.fd < 0 && (h->n_held == 0 || h->timer.place == 0))
		try_connect(h);

	if (h->n_held == 0 && can_send(h))
		send_or_hold(h, item);
	else if (h->n_held < h->max_held)
		hold(h, item, false);
	else
		finish(item, HANDOFF_FULL);
}

void handoff_next_id(struct handoff *h, uint8_t id[CONTROL_ID_LEN])
{
	h->last_id++;
	for (int i = 0; i < CONTROL_ID_LEN; i++)
		id[i] = (uint8_t)(h->last_id >> (8 * (CONTROL_ID_LEN - 1 - i)));
}

int handoff_new(struct loop *loop, const struct addr_endpoint *path, unsigned max_held,
		struct handoff_counts *counts, handoff_changed changed, void *arg, struct handoff **ret)
{
	struct handoff *h = malloc(sizeof(*h));
	int err;

	if (h == NULL)
		return -ENOMEM;
	*h = (struct handoff){
		.loop = loop,
		.path = *path,
		.max_held = max_held,
		.counts = counts,
		.changed = changed,
		.arg = arg,
		.watch = {.fd = -1, .ready = on_control},
		.timer = {.expired = on_timer},
		.error = 1,
	};
	list_init(&h->held);
	list_init(&h->sent);
	/* Random, since the receiver remembers ids of other workers and of earlier lives of ours. */
	if (getrandom(&h->last_id, sizeof(h->last_id), 0) < 0) {
		err = -errno;
		handoff_free(h);
		return err;
	}
	try_connect(h);
	*ret = h;
	return 0;
}

void handoff_free(struct handoff *h)
{
	if (h == NULL)
		return;
	while (!list_empty(&h->held))
		handoff_forget(first_of(&h->held));
	while (!list_empty(&h->sent))
		handoff_forget(first_of(&h->sent));
	count_state(h, 1);
	loop_timer_unset(h->loop, &h->timer);
	loop_del(h->loop, &h->watch);
	if (h->watch.fd >= 0)
		close(h->watch.fd);
	free(h);
}

const struct addr_endpoint *handoff_path(const struct handoff *h)
{
	return &h->path;
}

int handoff_state(const struct handoff *h)
{
	return h->error;
}

void handoff_set_max_held(struct handoff *h, unsigned max_held)
{
	h->max_held = max_held;
}

bool handoff_is_idle(const struct handoff *h)
{
	return h->n_held == 0 && list_empty(&h->sent);
}
