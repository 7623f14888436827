#include "store.h"

#include "notify.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define RESERVE    64    /* places for capsules that hold many, at an orderly end */
#define BARRIER_MS 10000
#define DROPS_STEP 64

struct store {
	int fd; /* to the service manager, -1: there is none */
	size_t max_fds;
	pthread_mutex_t lock; /* for what follows */
	uint32_t epoch, next; /* what names are made of */
	size_t n;             /* capsules that are stored */
	uint32_t *drops;      /* numbers that could not be told yet */
	size_t n_drops, cap_drops;
};

static void name_of(const struct store *s, uint32_t number, char name[STORE_NAME_MAX])
{
	snprintf(name, STORE_NAME_MAX, STORE_PREFIX "%" PRIx32 "-%" PRIx32, s->epoch, number);
}

int store_new(size_t max_fds, struct store **ret)
{
	struct store *s = calloc(1, sizeof(*s));
	int err = 0;

	if (s == NULL)
		return -ENOMEM;
	pthread_mutex_init(&s->lock, NULL);
	s->max_fds = max_fds;
	s->fd = notify_connect(); /* whoever is not there keeps nothing */
	if (getrandom(&s->epoch, sizeof(s->epoch), 0) < 0)
		err = -errno;
	s->epoch >>= 8; /* short names, and room above */
	if (err < 0) {
		store_free(s);
		return err;
	}
	*ret = s;
	return 0;
}

void store_free(struct store *s)
{
	if (s == NULL)
		return;
	if (s->fd >= 0)
		close(s->fd);
	pthread_mutex_destroy(&s->lock);
	free(s->drops);
	free(s);
}

bool store_works(const struct store *s)
{
	return s->fd >= 0;
}

void store_saw(struct store *s, const char *name)
{
	unsigned long epoch;

	if (strncmp(name, STORE_PREFIX, sizeof(STORE_PREFIX) - 1) != 0)
		return;
	epoch = strtoul(name + sizeof(STORE_PREFIX) - 1, NULL, 16);
	if (epoch >= s->epoch && epoch < UINT32_MAX)
		s->epoch = (uint32_t)epoch + 1;
}

static int send_name(struct store *s, const char *what, const char *name, const int *fds, size_t n, bool wait)
{
	char state[64 + STORE_NAME_MAX];

	if (s->fd < 0)
		return -ENOENT;
	snprintf(state, sizeof(state), "%s\nFDNAME=%s", what, name);
	return notify_send_fds(s->fd, state, fds, n, wait);
}

/* FDPOLL=0: else systemd would watch the capsule and drop it at once, since nobody can write into it any more. */
static int send_capsule(struct store *s, uint32_t number, int fd, bool wait)
{
	char name[STORE_NAME_MAX];

	name_of(s, number, name);
	return send_name(s, "FDSTORE=1\nFDPOLL=0", name, &fd, 1, wait);
}

static int reserve(struct store *s, uint32_t *ret_number)
{
	int err = 0;

	pthread_mutex_lock(&s->lock);
	if (s->n >= STORE_MAX - RESERVE || (s->n + 1) * RECORD_FDS > s->max_fds) {
		err = -ENOSPC;
	} else {
		s->n++;
		*ret_number = s->next++;
	}
	pthread_mutex_unlock(&s->lock);
	return err;
}

static void unreserve(struct store *s)
{
	pthread_mutex_lock(&s->lock);
	s->n--;
	pthread_mutex_unlock(&s->lock);
}

int store_put(struct store *s, const struct record *r, bool wait, uint32_t *ret_number)
{
	uint32_t number;
	int pair[2], err;

	if (s->fd < 0)
		return -ENOENT;
	err = reserve(s, &number);
	if (err < 0)
		return err;
	err = capsule_open(pair);
	if (err == 0) {
		err = capsule_put(pair[1], r);
		if (err == 0)
			err = send_capsule(s, number, pair[0], wait);
		close(pair[0]);
		close(pair[1]);
	}
	if (err < 0)
		unreserve(s);
	else
		*ret_number = number;
	return err;
}

static int tell_drop(struct store *s, uint32_t number)
{
	char name[STORE_NAME_MAX];

	name_of(s, number, name);
	return send_name(s, "FDSTOREREMOVE=1", name, NULL, 0, false);
}

/* Under the lock. What does not fit in memory is waited for instead. */
static void drop_later(struct store *s, uint32_t number)
{
	char name[STORE_NAME_MAX];

	if (s->n_drops == s->cap_drops) {
		uint32_t *more = realloc(s->drops, (s->cap_drops + DROPS_STEP) * sizeof(*more));

		if (more == NULL) {
			name_of(s, number, name);
			store_drop_name(s, name);
			return;
		}
		s->drops = more;
		s->cap_drops += DROPS_STEP;
	}
	s->drops[s->n_drops++] = number;
}

void store_drop(struct store *s, uint32_t number)
{
	pthread_mutex_lock(&s->lock);
	s->n--;
	if (s->n_drops > 0 || tell_drop(s, number) == -EAGAIN)
		drop_later(s, number);
	pthread_mutex_unlock(&s->lock);
}

void store_retry(struct store *s)
{
	pthread_mutex_lock(&s->lock);
	while (s->n_drops > 0 && tell_drop(s, s->drops[s->n_drops - 1]) != -EAGAIN)
		s->n_drops--;
	pthread_mutex_unlock(&s->lock);
}

void store_drop_name(struct store *s, const char *name)
{
	send_name(s, "FDSTOREREMOVE=1", name, NULL, 0, true);
}

int store_put_capsule(struct store *s, int fd)
{
	uint32_t number;

	pthread_mutex_lock(&s->lock);
	number = s->next++;
	pthread_mutex_unlock(&s->lock);
	return send_capsule(s, number, fd, true);
}

int store_put_listeners(struct store *s, const int *fds, size_t n)
{
	store_drop_name(s, STORE_LISTENER);
	return n == 0 ? 0 : send_name(s, "FDSTORE=1\nFDPOLL=0", STORE_LISTENER, fds, n, true);
}

int store_barrier(struct store *s)
{
	return s->fd < 0 ? 0 : notify_barrier(s->fd, BARRIER_MS);
}
