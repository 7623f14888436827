#include "pending.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct slot {
	uint64_t key;
	unsigned count; /* 0: free */
};

/* Open addressing with linear probing, at most half full. */
struct pending {
	pthread_mutex_t lock;
	uint64_t seed[2]; /* so that nobody can choose addresses that collide */
	size_t mask, used, max;
	struct slot slots[];
};

int pending_new(size_t max, struct pending **ret)
{
	struct pending *p;
	size_t n = 16;
	int err;

	while (n < max * 2)
		n *= 2;
	p = calloc(1, sizeof(*p) + n * sizeof(p->slots[0]));
	if (p == NULL)
		return -ENOMEM;
	if (getrandom(p->seed, sizeof(p->seed), 0) < 0) {
		err = -errno;
		free(p);
		return err;
	}
	pthread_mutex_init(&p->lock, NULL);
	p->mask = n - 1;
	p->max = max;
	*ret = p;
	return 0;
}

void pending_free(struct pending *p)
{
	if (p == NULL)
		return;
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static uint64_t key_of(const struct addr *client)
{
	uint64_t key = 0;

	if (client->family == AF_INET6) {
		memcpy(&key, client->ip, 8);
	} else {
		/* Beside IPv6: 0:ffff::/32 is in no use and never will be, RFC 4291 section 2.4. */
		memcpy((uint8_t *)&key + 2, "\xff\xff", 2);
		memcpy((uint8_t *)&key + 4, client->ip, 4);
	}
	return key;
}

static size_t home(const struct pending *p, uint64_t key)
{
	uint64_t h = key ^ p->seed[0];

	h = (h ^ h >> 32) * (p->seed[1] | 1);
	h = (h ^ h >> 29) * 0xbf58476d1ce4e5b9u;
	return (h ^ h >> 32) & p->mask;
}

/* The client's slot, or the free one where it belongs. */
static size_t find(const struct pending *p, uint64_t key)
{
	size_t i = home(p, key);

	while (p->slots[i].count > 0 && p->slots[i].key != key)
		i = (i + 1) & p->mask;
	return i;
}

bool pending_add(struct pending *p, const struct addr *client, unsigned limit)
{
	uint64_t key = key_of(client);
	struct slot *slot;
	bool added = false;

	pthread_mutex_lock(&p->lock);
	slot = &p->slots[find(p, key)];
	if (slot->count < limit && (slot->count > 0 || p->used < p->max)) {
		p->used += slot->count == 0;
		slot->key = key;
		slot->count++;
		added = true;
	}
	pthread_mutex_unlock(&p->lock);
	return added;
}

/* Empties slot i, and moves up what could not be found any more across the gap. */
static void vacate(struct pending *p, size_t i)
{
	p->slots[i].count = 0;
	p->used--;
	for (size_t j = (i + 1) & p->mask; p->slots[j].count > 0; j = (j + 1) & p->mask) {
		size_t from_home = (j - home(p, p->slots[j].key)) & p->mask;

		if (from_home < ((j - i) & p->mask))
			continue;
		p->slots[i] = p->slots[j];
		p->slots[j].count = 0;
		i = j;
	}
}

void pending_remove(struct pending *p, const struct addr *client)
{
	size_t i;

	pthread_mutex_lock(&p->lock);
	i = find(p, key_of(client));
	if (p->slots[i].count > 1)
		p->slots[i].count--;
	else if (p->slots[i].count == 1)
		vacate(p, i);
	pthread_mutex_unlock(&p->lock);
}
