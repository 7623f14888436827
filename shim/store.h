#ifndef XMPP443_STORE_H
#define XMPP443_STORE_H

/*
 * store: gives connections to the service manager for safekeeping, and takes
 * them away again. Safe to use from several threads.
 *
 * Source: sd_notify(3), FDSTORE=1, FDSTOREREMOVE=1, FDPOLL=0; our own keeper
 * (keeper.h) speaks the same. What is stored is capsules: one descriptor each,
 * with a short name. Descriptors with names that say it all would be plainer, but at the next
 * start systemd puts all names into one environment variable, which must not
 * be longer than 128 KiB, execve(2), and compares each new descriptor with all
 * that it has.
 */

#include "capsule.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STORE_MAX      4096 /* descriptors in the store: FileDescriptorStoreMax= in our unit */
#define STORE_NAME_MAX 24
#define STORE_PREFIX   "xk-"           /* of a capsule's name */
#define STORE_LISTENER "xmpp443-listener"

struct store;

/*
 * Without a service manager that can be reached every store_put() gives -ENOENT. max_fds: how many
 * descriptors may be in capsules at a time. -ENOMEM, or a negative errno of
 * getrandom(2).
 */
int store_new(size_t max_fds, struct store **ret);

/* What is stored stays so. Takes NULL. */
void store_free(struct store *s);

/* Is there anybody who could keep something? */
bool store_works(const struct store *s);

/* A name that came with a descriptor, maybe of an earlier life: no new one will be the same. Before the first store_put(). */
void store_saw(struct store *s, const char *name);

/*
 * Stores one connection. *ret_number is for store_drop(). -ENOSPC: there is no
 * room. -EAGAIN: not now, unless wait. Else a negative errno of socketpair(2) or sendmsg(2).
 */
int store_put(struct store *s, const struct record *r, bool wait, uint32_t *ret_number);

/* Takes it out again. It happens as soon as the manager comes to it, and if that cannot even be told now, with the next call. */
void store_drop(struct store *s, uint32_t number);

/* Tells what could not be told yet. */
void store_retry(struct store *s);

/* Takes out whatever has this name; waits if need be. */
void store_drop_name(struct store *s, const char *name);

/* Stores capsules that hold many connections, for the next start, or listeners under STORE_LISTENER; waits if need be. Negative errno of sendmsg(2). */
int store_put_capsule(struct store *s, int fd);
int store_put_listeners(struct store *s, const int *fds, size_t n);

/* Waits until the manager has done all of that. Negative errno. */
int store_barrier(struct store *s);

#endif
