#include "keep.h"

#include "conn.h"
#include "log.h"
#include "notify.h"
#include "passed.h"
#include "relayed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STEP 256

void keep_take(void *list, struct record *r)
{
	struct keep_list *l = list;

	if (l->n == l->size) {
		struct record *more = realloc(l->v, (l->size * 2 + STEP) * sizeof(*more));

		if (more == NULL) {
			record_close(r);
			return;
		}
		l->v = more;
		l->size = l->size * 2 + STEP;
	}
	l->v[l->n++] = *r;
}

void keep_list_free(struct keep_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		record_close(&list->v[i]);
	free(list->v);
	*list = (struct keep_list){0};
}

void keep_give_all(struct env *env, env_take take, void *arg)
{
	conn_give_all(env, take, arg);
	passed_give_all(env, take, arg);
	relayed_give_all(env, take, arg);
}

void keep_restore(struct env *env, struct record *r, bool store)
{
	if (r->relay) {
		relayed_restore(env, r, store);
	} else {
		struct env_life life = {
			.id = r->id,
			.born = r->born,
			.used = r->used,
			.sent = r->sent,
			.stored = r->stored,
			.number = r->number,
		};

		conn_restore(env, r, &life);
	}
}

void keep_store_old(struct env *env, unsigned ms, bool *said)
{
	int err = -EAGAIN;
	bool all;

	store_retry(env->store);
	all = relayed_store_old(env, ms, &err) && passed_store_old(env, ms, &err) && conn_store_old(env, ms, &err);
	if (!all && err != -EAGAIN && !*said)
		log_line(LOG_LEVEL_WARNING, "event=keep-full error=\"%s; further connections would not outlive a crash\"",
			 strerror(-err));
	*said = !all && err != -EAGAIN;
}

/* Fills capsules, each as far as it goes, and stores them. */
void keep_store(struct store *s, struct keep_list *list)
{
	size_t stored = 0, lost = 0;
	int pair[2], err = 0;

	for (size_t i = 0; i < list->n;) {
		size_t before = i;

		err = capsule_open(pair);
		if (err < 0)
			break;
		for (; i < list->n; i++) {
			int e = list->v[i].stored ? 0 : capsule_put(pair[1], &list->v[i]);

			if (e == -EAGAIN && i > before) /* full */
				break;
			lost += e < 0;
			err = e < 0 ? e : err;
		}
		close(pair[1]);
		if (i > before) {
			int e = store_put_capsule(s, pair[0]);

			stored += i - before;
			err = e < 0 ? e : err;
		}
		close(pair[0]);
	}
	if (err < 0)
		log_line(LOG_LEVEL_ERROR, "event=keep-failed connections=%zu error=\"%s\"", list->n - stored + lost, strerror(-err));
	if (stored > 0)
		log_line(LOG_LEVEL_INFO, "event=kept connections=%zu", stored - lost);
	keep_list_free(list);
}

static bool is_capsule(const char *name)
{
	return strncmp(name, STORE_PREFIX, sizeof(STORE_PREFIX) - 1) == 0;
}

static bool is_own(const char *name)
{
	return is_capsule(name) || strcmp(name, STORE_LISTENER) == 0;
}

int keep_count_passed(int n, const char *names)
{
	int count = 0;

	for (; n > 0; n--, names = notify_next_name(names))
		count += !is_own(names);
	return count;
}

/* Tells sockets apart, those of one connection not. */
static uint64_t identity(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 ? 0 : st.st_ino;
}

static int compare(const void *left, const void *right)
{
	const struct record *a = left, *b = right;
	uint64_t x = identity(a->fd[RECORD_CLIENT]), y = identity(b->fd[RECORD_CLIENT]);

	return x < y ? -1 : x > y;
}

/*
 * A process that died while it stored a connection anew may have left it there
 * twice. A relay knows more than its beginning, and one with a broken side more than one without.
 */
static void drop_repeats(struct keep_list *list)
{
	size_t n = 0;

	if (list->n > 0)
		qsort(list->v, list->n, sizeof(list->v[0]), compare);
	for (size_t i = 0; i < list->n; i++) {
		struct record *last = n > 0 ? &list->v[n - 1] : NULL, *r = &list->v[i], swap;

		if (last == NULL || compare(last, r) != 0) {
			list->v[n++] = *r;
			continue;
		}
		if (r->relay && (!last->relay || r->broken[0] || r->broken[1])) {
			swap = *last;
			*last = *r;
			*r = swap;
		}
		record_close(r);
	}
	list->n = n;
}

static void open_capsule(int fd, const char *name, struct keep_list *list)
{
	struct record r;
	int ret = capsule_rewind(fd);

	for (; ret == 0 || ret == -EPROTONOSUPPORT || ret == -EBADMSG; ret = 0) {
		ret = capsule_next(fd, &r);
		if (ret == 0)
			break;
		if (ret > 0)
			keep_take(list, &r);
		else
			log_line(LOG_LEVEL_WARNING, "event=stored-refused name=%s error=\"%s\"", name,
				 ret == -EPROTONOSUPPORT ? "another version wrote it" :
				 ret == -EBADMSG ? "it is damaged" : strerror(-ret));
	}
	if (ret < 0)
		log_line(LOG_LEVEL_WARNING, "event=stored-refused name=%s error=\"%s\"", name, strerror(-ret));
	close(fd);
}

int keep_inherit(struct store *s, int first, int n, const char *names, struct keep_inherited *ret)
{
	*ret = (struct keep_inherited){0};
	for (int fd = first; fd < first + n; fd++, names = notify_next_name(names)) {
		struct listen_set *set = strcmp(names, STORE_LISTENER) == 0 ? &ret->own : &ret->passed;
		int err;

		store_saw(s, names);
		if (is_capsule(names)) {
			open_capsule(fd, names, &ret->connections);
			continue;
		}
		err = listen_adopt(fd, set);
		if (err == -EINVAL) {
			log_line(LOG_LEVEL_WARNING, "event=stored-refused descriptor=%d error=\"neither a listening TCP socket nor "
				 "anything of this program's\"", fd);
			close(fd);
		} else if (err < 0) {
			return err;
		}
	}
	drop_repeats(&ret->connections);
	return 0;
}

void keep_forget_inherited(struct store *s, int n, const char *names)
{
	bool any = false;

	for (; n > 0; n--, names = notify_next_name(names)) {
		if (is_capsule(names))
			store_drop_name(s, names);
		any = any || is_capsule(names);
	}
	if (any && store_barrier(s) < 0)
		log_line(LOG_LEVEL_ERROR, "event=keep-failed error=\"the service manager does not answer\"");
}
