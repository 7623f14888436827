#ifndef XMPP443_KEEP_H
#define XMPP443_KEEP_H

/* keep: brings connections from one process or worker to another. */

#include "env.h"
#include "listen.h"
#include "record.h"
#include "store.h"

#include <stddef.h>

/* Records in memory, which own their descriptors. A zeroed struct is an empty list. */
struct keep_list {
	struct record *v;
	size_t n, size;
};

/* An env_take: puts it into the struct keep_list that list is, or ends it for want of memory. */
void keep_take(void *list, struct record *r);

/* Ends what is left. */
void keep_list_free(struct keep_list *list);

/* Gives a worker's connections away, or goes on with one. store: one that is not in the store is put there at once. */
void keep_give_all(struct env *env, env_take take, void *arg);
void keep_restore(struct env *env, struct record *r, bool store);

/*
 * Stores a worker's connections that are older than so many milliseconds, so
 * that they outlive a crash. Those that end before, as most do, cost nothing.
 * *said, false at first: it was logged that there is no room.
 */
void keep_store_old(struct env *env, unsigned ms, bool *said);

/*
 * Puts all of the list, but those that are there already, into the store, for
 * the next process; the list is empty then. Logs what fails, and how many it was.
 */
void keep_store(struct store *s, struct keep_list *list);

/* What the service manager passed, sorted by its kind. */
struct keep_inherited {
	struct listen_set passed;  /* from a socket unit */
	struct listen_set own;     /* that an earlier process of ours opened */
	struct keep_list connections;
};

/* How many of n descriptors with these names are not of our own store. */
int keep_count_passed(int n, const char *names);

/*
 * Sorts the n descriptors from first on. What is not understood is closed with a line in
 * the log. -ENOSPC: there are too many listeners.
 */
int keep_inherit(struct store *s, int first, int n, const char *names, struct keep_inherited *ret);

/* Takes everything out of the store that came from it, and waits until that is done. */
void keep_forget_inherited(struct store *s, int n, const char *names);

#endif
