#ifndef XMPP443_PASSED_H
#define XMPP443_PASSED_H

/* passed: a connection that is for a receiver, until it has it. */

#include "env.h"
#include "route.h"

/*
 * Takes ownership of fd, in no epoll set, and hands it off by the route of
 * env->conf; peer and local are the connection's true addresses, alpn the
 * protocol that decided, or NULL, and env->info its hello. May be over before
 * this returns.
 */
void passed_new(struct env *env, int fd, const struct route *route, const struct addr *peer,
		const struct addr *local, const char *alpn, const struct env_life *life);

/* Gives all of them away, also those of which the receiver's verdict has not come; the channels are to be closed next. */
void passed_give_all(struct env *env, env_take take, void *arg);

/* As conn_store_old(). */
bool passed_store_old(struct env *env, unsigned ms, int *ret_err);

/* Ends all of them. */
void passed_end_all(struct env *env);

#endif
