#ifndef XMPP443_CONN_H
#define XMPP443_CONN_H

/*
 * conn: a connection that was accepted and has no verdict yet. It is peeked
 * at, until its ClientHello tells the route; then it is passed or relayed.
 */

#include "env.h"

#include <stdbool.h>

#define CONN_GRACE_MS 100 /* nobody is evicted sooner, since the hello may be on its way */

/*
 * Takes ownership of fd, an accepted non-blocking socket. local is its own
 * address, or AF_UNSPEC if that is to be asked for. The deadline of the hello,
 * and of the PROXY header in front of it if peer is a trusted proxy, starts now.
 */
void conn_new(struct env *env, int fd, const struct addr *peer, const struct addr *local);

/*
 * How many milliseconds the one that has waited longest for its verdict still
 * has to itself; 0: it may be evicted. -1: there is none.
 */
int conn_evictable_in(const struct env *env);

/* Ends the one that has waited longest, to make room. False: there is none. */
bool conn_evict_oldest(struct env *env);

/*
 * Goes on with one that another process or worker had, decided or not. Takes
 * over the record's descriptors. It is ended if bytes of it have been taken by
 * somebody else since: the receiver to which it was sent has it.
 */
void conn_restore(struct env *env, struct record *r, const struct env_life *life);

/* Gives all of them away. */
void conn_give_all(struct env *env, env_take take, void *arg);

/* Stores those that are older than so many milliseconds. False: it makes no sense to try more now; *ret_err is why. */
bool conn_store_old(struct env *env, unsigned ms, int *ret_err);

/* Ends all of them. */
void conn_end_all(struct env *env);

#endif
