#ifndef XMPP443_RELAYED_H
#define XMPP443_RELAYED_H

/* relayed: a connection that is for a backend, until its end. */

#include "env.h"
#include "route.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Takes ownership of fd, in no epoll set, and relays it by the route of
 * env->conf. The rest as in passed.h; peeked are the first bytes that wait in
 * its receive queue.
 */
void relayed_new(struct env *env, int fd, const struct route *route, const struct addr *peer,
		 const struct addr *local, const char *alpn, const uint8_t *peeked, size_t peeked_len);

/* env->relay.done, .unkeep and .changed */
void relayed_done(struct relay *relay, enum relay_result result, int error);
bool relayed_unkeep(struct relay *relay);
void relayed_changed(struct relay *relay);

/* Goes on with one that another process or worker had. Takes over the record's descriptors. at_once: it is to be stored now. */
void relayed_restore(struct env *env, struct record *record, bool at_once);

/* Gives all of them away; of those that are not connected yet the client, as one without a verdict. */
void relayed_give_all(struct env *env, env_take take, void *arg);

/* Stores those that are older than so many milliseconds. False: it makes no sense to try more now; *ret_err is why. */
bool relayed_store_old(struct env *env, unsigned ms, int *ret_err);

/*
 * Ends those for which nothing has come for that many seconds, those of which
 * one side has ended after half_closed seconds. 0: never.
 */
void relayed_sweep(struct env *env, uint32_t seconds, uint32_t half_closed);

/* Ends all of them. */
void relayed_end_all(struct env *env);

#endif
