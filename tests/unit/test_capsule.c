#include "capsule.h"

#include "support.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct record record_of(int client)
{
	struct record r;

	record_init(&r);
	r.id = 7;
	assert_int_equal(addr_parse("192.0.2.1", "5222", &r.peer), 0);
	r.fd[RECORD_CLIENT] = client;
	return r;
}

static void assert_open(int fd)
{
	char c;

	assert_int_equal(recv(fd, &c, 1, MSG_PEEK | MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

static void what_was_put_in_comes_out_as_often_as_it_is_read(void **state)
{
	int pair[2], a[2], b[2];
	struct record r, got;

	(void)state;
	tcp_pair(a);
	tcp_pair(b);
	assert_int_equal(capsule_open(pair), 0);
	r = record_of(a[1]);
	assert_int_equal(capsule_put(pair[1], &r), 0);
	r = record_of(b[1]);
	r.id = 8;
	assert_int_equal(capsule_put(pair[1], &r), 0);
	close(pair[1]);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(capsule_rewind(pair[0]), 0);
		assert_int_equal(capsule_next(pair[0], &got), 1);
		assert_true(got.id == 7 && same_socket(got.fd[RECORD_CLIENT], a[1]));
		record_close(&got);
		assert_int_equal(capsule_next(pair[0], &got), 1);
		assert_true(got.id == 8 && same_socket(got.fd[RECORD_CLIENT], b[1]));
		record_close(&got);
		assert_int_equal(capsule_next(pair[0], &got), 0);
	}
	close(pair[0]);
	close(a[0]);
	close(a[1]);
	close(b[0]);
	close(b[1]);
}

static void a_connection_lives_as_long_as_the_capsule(void **state)
{
	int pair[2], a[2];
	struct record r, got;
	char buf[10];

	(void)state;
	tcp_pair(a);
	assert_int_equal(capsule_open(pair), 0);
	r = record_of(a[1]);
	assert_int_equal(capsule_put(pair[1], &r), 0);
	close(pair[1]);
	close(a[1]);
	assert_open(a[0]);
	assert_int_equal(send(a[0], "hello", 5, 0), 5);
	assert_int_equal(capsule_rewind(pair[0]), 0);
	assert_int_equal(capsule_next(pair[0], &got), 1);
	wait_fd(got.fd[RECORD_CLIENT], POLLIN);
	read_all(got.fd[RECORD_CLIENT], buf, 5);
	record_close(&got);
	assert_open(a[0]);
	close(pair[0]);
	assert_eof(a[0]);
	close(a[0]);
}

static void one_that_is_full_says_so_and_gives_back_all(void **state)
{
	int pair[2], a[2], n = 0, err, m = 0;
	struct record r, got;

	(void)state;
	tcp_pair(a);
	assert_int_equal(capsule_open(pair), 0);
	r = record_of(a[1]);
	while ((err = capsule_put(pair[1], &r)) == 0)
		n++;
	assert_int_equal(err, -EAGAIN);
	assert_true(n > 50);
	assert_int_equal(capsule_rewind(pair[0]), 0);
	while (capsule_next(pair[0], &got) == 1) {
		record_close(&got);
		m++;
	}
	assert_int_equal(m, n);
	close(pair[0]);
	close(pair[1]);
	close(a[0]);
	close(a[1]);
}

static void send_text(int fd, const char *text, size_t len, int passed)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {.iov_base = (char *)text, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &passed, sizeof(int));
	assert_int_equal(sendmsg(fd, &msg, 0), (ssize_t)len);
}

static void what_is_not_understood_is_closed_and_the_next_one_comes(void **state)
{
	static const char huge[5000] = "xmpp443-connection 1\n";
	int pair[2], a[2], before;
	struct record r, got;

	(void)state;
	tcp_pair(a);
	assert_int_equal(capsule_open(pair), 0);
	send_text(pair[1], "xmpp443-connection 99\nall=new\n", 30, a[1]);
	send_text(pair[1], "xmpp443-connection 1\nid=damaged\n", 32, a[1]);
	r = record_of(a[1]);
	assert_int_equal(capsule_put(pair[1], &r), 0);
	send_text(pair[1], huge, sizeof(huge), a[1]);
	before = count_fds();
	assert_int_equal(capsule_rewind(pair[0]), 0);
	assert_int_equal(capsule_next(pair[0], &got), -EPROTONOSUPPORT);
	assert_int_equal(capsule_next(pair[0], &got), -EBADMSG);
	assert_int_equal(capsule_next(pair[0], &got), 1);
	record_close(&got);
	assert_int_equal(capsule_next(pair[0], &got), -EBADMSG);
	assert_int_equal(count_fds(), before);
	close(pair[0]);
	close(pair[1]);
	close(a[0]);
	close(a[1]);
}

static void other_descriptors_are_no_capsules(void **state)
{
	int pair[2], a[2], p[2];

	(void)state;
	tcp_pair(a);
	assert_int_equal(pipe(p), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_true(capsule_rewind(a[0]) < 0);
	assert_true(capsule_rewind(p[0]) < 0);
	assert_true(capsule_rewind(pair[0]) < 0);
	assert_true(capsule_rewind(-1) < 0);
	for (int i = 0; i < 2; i++) {
		close(pair[i]);
		close(a[i]);
		close(p[i]);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(what_was_put_in_comes_out_as_often_as_it_is_read),
		TEST(a_connection_lives_as_long_as_the_capsule),
		TEST(one_that_is_full_says_so_and_gives_back_all),
		TEST(what_is_not_understood_is_closed_and_the_next_one_comes),
		TEST(other_descriptors_are_no_capsules),
	};

	return cmocka_run_group_tests_name("capsule", tests, group_begin, NULL);
}
