#ifndef XMPP443_PENDING_H
#define XMPP443_PENDING_H

/*
 * pending: how many connections of one client have no verdict yet.
 *
 * One client is one IPv4 address or one IPv6 /64, since a /64 is what a
 * single customer gets and can use freely. Safe to use from several threads.
 */

#include "addr.h"

#include <stdbool.h>
#include <stddef.h>

struct pending;

/* Room for max connections without a verdict at a time. -ENOMEM, or a negative errno of getrandom(2). */
int pending_new(size_t max, struct pending **ret);

/* Takes NULL. */
void pending_free(struct pending *p);

/* Counts one more of the client's and gives true; false if it has limit already, or if there is no room. */
bool pending_add(struct pending *p, const struct addr *client, unsigned limit);

/* Counts one less. Each call belongs to one successful pending_add(). */
void pending_remove(struct pending *p, const struct addr *client);

#endif
