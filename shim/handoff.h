#ifndef XMPP443_HANDOFF_H
#define XMPP443_HANDOFF_H

/*
 * handoff: the channel on which connections are passed to one receiver, with
 * those that wait for it. doc/protocol.md specifies what is on the wire.
 *
 * A connection that cannot be passed on at once is held: watched for a client
 * that gives up, until the receiver takes it or its time is over. One that was
 * sent is kept open until the receiver's verdict; it is sent again only after
 * the channel has reached its end, since only then it is certain that no
 * verdict is still to come.
 */

#include "addr.h"
#include "control.h"
#include "counter.h"
#include "list.h"
#include "loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum handoff_result {
	HANDOFF_ADOPTED,     /* the receiver has it: close our copy and nothing else */
	HANDOFF_REFUSED,     /* the receiver will never take it */
	HANDOFF_EXPIRED,     /* its time was over before it was sent */
	HANDOFF_CLIENT_GONE, /* the client gave up while it was held */
	HANDOFF_FULL,        /* too many are held already, or no memory */
};

struct handoff;

/* Embedded by its owner, who fills in the first group. */
struct handoff_item {
	void (*done)(struct handoff_item *item, enum handoff_result result);
	int fd;                 /* stays the owner's; in no epoll set */
	unsigned hold_ms;
	const uint8_t *header;  /* stays the owner's, until done */
	size_t header_len;
	uint8_t id[CONTROL_ID_LEN]; /* from handoff_next_id(), and in the header */

	struct handoff *handoff;
	enum {
		HANDOFF_ITEM_IDLE,
		HANDOFF_ITEM_HELD,
		HANDOFF_ITEM_SENT,
	} state;
	struct list link;
	bool waited;            /* it was held at least once */
	uint64_t left_ms;       /* of hold_ms: only the time in which it is held counts */
	struct loop_watch watch;
	struct loop_timer expiry;
};

/* What happens on the channels of one thread; all of them counters. Zero-initialise. */
struct handoff_counts {
	struct counter adopted, refused, later; /* verdicts that came */
	struct counter held;                    /* connections that had to wait */
	struct counter held_now;
	struct counter up_now, away_now;        /* channels */
};

/* Called when the channel comes up (error 0) and when it is found away (negative errno), once each. */
typedef void (*handoff_changed)(void *arg, const struct handoff *h, int error);

/*
 * Opens a channel to the receiver that listens at path, a Unix socket, and
 * keeps trying. At most max_held connections wait. changed() may be called
 * before this returns. counts outlives the channel. 0, -ENOMEM, or a negative errno of getrandom(2).
 */
int handoff_new(struct loop *loop, const struct addr_endpoint *path, unsigned max_held,
		struct handoff_counts *counts, handoff_changed changed, void *arg, struct handoff **ret);

/* Takes NULL. The items that are left are forgotten, not called. */
void handoff_free(struct handoff *h);

/* An id that no other connection of this channel has or had. */
void handoff_next_id(struct handoff *h, uint8_t id[CONTROL_ID_LEN]);

/*
 * Passes the connection on, now or as soon as possible. done() is called
 * exactly once, maybe before this returns, and may free the item.
 */
void handoff_submit(struct handoff *h, struct handoff_item *item);

/* Takes an item back without a call of done(); takes one that is idle. */
void handoff_forget(struct handoff_item *item);

const struct addr_endpoint *handoff_path(const struct handoff *h);
int handoff_state(const struct handoff *h); /* 0: up; negative errno: away */
void handoff_set_max_held(struct handoff *h, unsigned max_held);
bool handoff_is_idle(const struct handoff *h); /* nothing held, nothing unanswered */

#endif
