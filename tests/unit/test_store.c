#include "store.h"

#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The service manager's end, and one connection to be stored. */
struct fixture {
	int manager;
	int client[2];
	struct record record;
	struct store *store;
};

static int manager(const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0 && strlen(path) < sizeof(un.sun_path));
	strcpy(un.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	return fd;
}

static void set_up(struct fixture *f, size_t max_fds)
{
	dir_make();
	f->manager = manager(dir_path("notify"));
	setenv("NOTIFY_SOCKET", dir_path("notify"), 1);
	tcp_pair(f->client);
	record_init(&f->record);
	assert_int_equal(addr_parse("192.0.2.1", "5222", &f->record.peer), 0);
	f->record.fd[RECORD_CLIENT] = f->client[1];
	assert_int_equal(store_new(max_fds, &f->store), 0);
}

static void tear_down(struct fixture *f)
{
	store_free(f->store);
	unsetenv("NOTIFY_SOCKET");
	close(f->manager);
	unlink(dir_path("notify"));
	close(f->client[0]);
	close(f->client[1]);
	dir_remove();
}

/* The next message, and the descriptor that came with it or -1. False: there is none. */
static bool message(struct fixture *f, char text[200], int *fd)
{
	union {
		char buf[CMSG_SPACE(10 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = text, .iov_len = 199};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf)};
	ssize_t n = recvmsg(f->manager, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&msg);

	*fd = -1;
	if (n < 0)
		return false;
	text[n] = '\0';
	if (c != NULL)
		memcpy(fd, CMSG_DATA(c), sizeof(*fd));
	return true;
}

static void what_is_stored_is_a_capsule_with_a_name_that_takes_it_out(void **state)
{
	struct fixture f;
	char text[200], name[100];
	struct record got;
	uint32_t number;
	int fd;

	(void)state;
	set_up(&f, 1000);
	assert_true(store_works(f.store));
	assert_int_equal(store_put(f.store, &f.record, false, &number), 0);
	assert_true(message(&f, text, &fd));
	assert_int_equal(strncmp(text, "FDSTORE=1\nFDPOLL=0\nFDNAME=" STORE_PREFIX, 29), 0);
	snprintf(name, sizeof(name), "%s", strstr(text, "FDNAME="));
	assert_null(strchr(name, ':'));
	assert_true(strlen(name) < sizeof("FDNAME=") + STORE_NAME_MAX);
	assert_int_equal(capsule_rewind(fd), 0);
	assert_int_equal(capsule_next(fd, &got), 1);
	assert_true(same_socket(got.fd[RECORD_CLIENT], f.client[1]));
	record_close(&got);
	close(fd);
	store_drop(f.store, number);
	assert_true(message(&f, text, &fd));
	assert_int_equal(strncmp(text, "FDSTOREREMOVE=1\n", 16), 0);
	assert_string_equal(strstr(text, "FDNAME="), name);
	assert_false(message(&f, text, &fd));
	tear_down(&f);
}

static void no_two_names_are_alike_nor_like_any_seen(void **state)
{
	struct fixture f;
	char text[200], first[100];
	uint32_t number;
	int fd;

	(void)state;
	set_up(&f, 1000);
	store_saw(f.store, STORE_PREFIX "fffffff0-1");
	store_saw(f.store, STORE_PREFIX "12-1");
	store_saw(f.store, "stored");
	store_saw(f.store, STORE_PREFIX);
	assert_int_equal(store_put(f.store, &f.record, false, &number), 0);
	assert_true(message(&f, text, &fd));
	close(fd);
	snprintf(first, sizeof(first), "%s", strstr(text, "FDNAME="));
	assert_int_equal(strncmp(first, "FDNAME=" STORE_PREFIX "fffffff1-", 19), 0);
	assert_int_equal(store_put(f.store, &f.record, false, &number), 0);
	assert_true(message(&f, text, &fd));
	close(fd);
	assert_string_not_equal(first, strstr(text, "FDNAME="));
	tear_down(&f);
}

static void without_a_manager_nothing_can_be_stored(void **state)
{
	struct store *s;
	struct record r;
	uint32_t number;

	(void)state;
	unsetenv("NOTIFY_SOCKET");
	record_init(&r);
	assert_int_equal(store_new(1000, &s), 0);
	assert_false(store_works(s));
	assert_int_equal(store_put(s, &r, false, &number), -ENOENT);
	store_retry(s);
	store_drop_name(s, "x");
	assert_int_equal(store_put_capsule(s, 0), -ENOENT);
	assert_int_equal(store_barrier(s), 0);
	store_free(s);
	store_free(NULL);
}

static void no_more_is_stored_than_there_may_be(void **state)
{
	struct fixture f;
	char text[200];
	uint32_t number[2], none;
	int fd;

	(void)state;
	set_up(&f, 2 * RECORD_FDS);
	assert_int_equal(store_put(f.store, &f.record, false, &number[0]), 0);
	assert_int_equal(store_put(f.store, &f.record, false, &number[1]), 0);
	assert_int_equal(store_put(f.store, &f.record, false, &none), -ENOSPC);
	store_drop(f.store, number[0]);
	assert_int_equal(store_put(f.store, &f.record, false, &number[0]), 0);
	while (message(&f, text, &fd))
		if (fd >= 0)
			close(fd);
	tear_down(&f);
}

/* unix(7): a few datagrams that nobody has read fill the queue. */
static void a_busy_manager_is_told_later(void **state)
{
	struct fixture f;
	char text[200], want[40];
	uint32_t number, last = 0;
	int fd, stored = 0, dropped = 0;
	bool found = false;

	(void)state;
	set_up(&f, 1000000);
	while (store_put(f.store, &f.record, false, &number) == 0) {
		last = number;
		stored++;
	}
	assert_int_equal(store_put(f.store, &f.record, false, &number), -EAGAIN);
	for (int i = 0; i < 100; i++)
		store_drop(f.store, last);
	store_retry(f.store);
	while (message(&f, text, &fd)) {
		if (fd >= 0) {
			close(fd);
			stored--;
		}
		store_retry(f.store);
		snprintf(want, sizeof(want), "-%x", last);
		if (strncmp(text, "FDSTOREREMOVE=1", 15) == 0) {
			dropped++;
			found = strcmp(strrchr(text, '-'), want) == 0;
		}
	}
	assert_int_equal(stored, 0);
	assert_int_equal(dropped, 100);
	assert_true(found);
	tear_down(&f);
}

static void a_failure_leaves_no_descriptor_behind(void **state)
{
	struct fixture f;
	uint32_t number;
	char text[200];
	int fd;

	(void)state;
	set_up(&f, 1000);
	for (unsigned good = 0; good < 2; good++) {
		fail_calls(CALL_SENDMSG, good, 1, ETOOMANYREFS);
		assert_int_equal(store_put(f.store, &f.record, false, &number), -ETOOMANYREFS);
	}
	assert_false(message(&f, text, &fd));
	tear_down(&f);
}

static void a_manager_that_cannot_be_reached_keeps_nothing(void **state)
{
	struct store *s;

	(void)state;
	setenv("NOTIFY_SOCKET", "/no/such/socket", 1);
	assert_int_equal(store_new(1000, &s), 0);
	assert_false(store_works(s));
	store_free(s);
	unsetenv("NOTIFY_SOCKET");
	fail_calls(CALL_CALLOC, 0, 1, ENOMEM);
	assert_int_equal(store_new(1000, &s), -ENOMEM);
	fail_calls(CALL_GETRANDOM, 0, 1, ENOSYS);
	assert_int_equal(store_new(1000, &s), -ENOSYS);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(what_is_stored_is_a_capsule_with_a_name_that_takes_it_out),
		TEST(no_two_names_are_alike_nor_like_any_seen),
		TEST(without_a_manager_nothing_can_be_stored),
		TEST(no_more_is_stored_than_there_may_be),
		TEST(a_busy_manager_is_told_later),
		TEST(a_failure_leaves_no_descriptor_behind),
		TEST(a_manager_that_cannot_be_reached_keeps_nothing),
	};

	return cmocka_run_group_tests_name("store", tests, group_begin, NULL);
}
