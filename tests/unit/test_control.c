#include "control.h"

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 65534

static void seqpacket_pair(int fd[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
}

/* Takes a packet; *ret_fd is the descriptor that came with it. */
static ssize_t take(int fd, uint8_t *buf, size_t len, int *ret_fd)
{
	union {
		char buf[CMSG_SPACE(4 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = buf, .iov_len = len};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf)};
	ssize_t n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	struct cmsghdr *cmsg = n < 0 ? NULL : CMSG_FIRSTHDR(&msg);

	assert_true(n >= 0);
	assert_non_null(cmsg);
	assert_int_equal(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC), 0);
	assert_int_equal(cmsg->cmsg_type, SCM_RIGHTS);
	assert_int_equal(cmsg->cmsg_len, CMSG_LEN(sizeof(int)));
	assert_null(CMSG_NXTHDR(&msg, cmsg));
	memcpy(ret_fd, CMSG_DATA(cmsg), sizeof(int));
	return n;
}

static void a_packet_arrives_whole_with_exactly_one_descriptor(void **state)
{
	int pair[2], conn[2], got;
	uint8_t buf[64];

	(void)state;
	seqpacket_pair(pair);
	tcp_pair(conn);
	assert_int_equal(control_send(pair[0], (const uint8_t *)"header", 6, conn[1]), 0);
	assert_int_equal(take(pair[1], buf, sizeof(buf), &got), 6);
	assert_memory_equal(buf, "header", 6);
	assert_int_not_equal(got, conn[1]);
	assert_true(same_socket(got, conn[1]));
	close(got);
	for (int i = 0; i < 2; i++) {
		close(pair[i]);
		close(conn[i]);
	}
}

static void sending_to_a_full_or_closed_channel_fails(void **state)
{
	uint8_t header[100] = {0};
	int pair[2], err, n = 0;

	(void)state;
	seqpacket_pair(pair);
	while ((err = control_send(pair[0], header, sizeof(header), pair[0])) == 0)
		assert_true(++n < 100000);
	assert_int_equal(err, -EAGAIN);
	assert_true(n > 0);
	close(pair[1]);
	err = control_send(pair[0], header, sizeof(header), pair[0]);
	assert_true(err == -EPIPE || err == -ECONNRESET);
	assert_int_equal(control_send(pair[0], header, sizeof(header), pair[0]), -EPIPE);
	close(pair[0]);
	assert_int_equal(control_send(pair[0], header, sizeof(header), STDIN_FILENO), -EBADF);
}

static void sending_goes_on_after_a_signal(void **state)
{
	int pair[2], got;
	uint8_t buf[8];

	(void)state;
	seqpacket_pair(pair);
	fail_calls(CALL_SENDMSG, 0, 2, EINTR);
	assert_int_equal(control_send(pair[0], (const uint8_t *)"x", 1, pair[0]), 0);
	assert_int_equal(take(pair[1], buf, sizeof(buf), &got), 1);
	close(got);
	close(pair[0]);
	close(pair[1]);
}

static void verdicts_are_read_packet_by_packet(void **state)
{
	uint8_t packet[CONTROL_PACKET_MAX], buf[CONTROL_PACKET_MAX];
	int pair[2];

	(void)state;
	memset(packet, 'A', sizeof(packet));
	seqpacket_pair(pair);
	assert_int_equal(control_recv(pair[0], buf), -EAGAIN);
	assert_int_equal(send(pair[1], packet, 9, 0), 9);
	assert_int_equal(send(pair[1], packet, 27, 0), 27);
	assert_int_equal(send(pair[1], packet, sizeof(packet), 0), (ssize_t)sizeof(packet));
	assert_int_equal(control_recv(pair[0], buf), 9);
	assert_int_equal(control_recv(pair[0], buf), 27);
	assert_int_equal(control_recv(pair[0], buf), CONTROL_PACKET_MAX);
	assert_memory_equal(buf, packet, sizeof(packet));
	assert_int_equal(control_recv(pair[0], buf), -EAGAIN);
	close(pair[1]);
	assert_int_equal(control_recv(pair[0], buf), 0);
	assert_int_equal(control_recv(pair[0], buf), 0);
	close(pair[0]);
	assert_int_equal(control_recv(pair[0], buf), -EBADF);
}

static void packets_of_a_wrong_length_are_a_protocol_error(void **state)
{
	static const size_t lengths[] = {1, 8, 10, 17, 26, CONTROL_PACKET_MAX + 1, CONTROL_PACKET_MAX + 9, 2 * CONTROL_PACKET_MAX};
	uint8_t packet[2 * CONTROL_PACKET_MAX] = {0}, buf[CONTROL_PACKET_MAX];
	int pair[2];

	(void)state;
	seqpacket_pair(pair);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		assert_int_equal(send(pair[1], packet, lengths[i], 0), (ssize_t)lengths[i]);
		assert_int_equal(control_recv(pair[0], buf), -EPROTO);
	}
	close(pair[0]);
	close(pair[1]);
}

static void verdicts_of_a_receiver_that_died_with_packets_unread_are_read_after_the_reset(void **state)
{
	uint8_t buf[CONTROL_PACKET_MAX];
	int pair[2];

	(void)state;
	seqpacket_pair(pair);
	assert_int_equal(control_send(pair[0], (const uint8_t *)"x", 1, pair[0]), 0);
	assert_int_equal(send(pair[1], "A12345678", 9, 0), 9);
	assert_int_equal(send(pair[1], "A87654321", 9, 0), 9);
	close(pair[1]);
	assert_int_equal(control_recv(pair[0], buf), 9);
	assert_memory_equal(buf, "A12345678", 9);
	assert_int_equal(control_recv(pair[0], buf), 9);
	assert_memory_equal(buf, "A87654321", 9);
	assert_int_equal(control_recv(pair[0], buf), 0);
	close(pair[0]);
}

static void a_receiver_that_is_not_there_is_told_by_errno(void **state)
{
	struct addr_endpoint e;
	int fd = -7, listener;

	(void)state;
	dir_make();
	e = dir_endpoint("s");
	assert_int_equal(control_connect(&e, &fd), -ENOENT);
	listener = unix_listen("s", SOCK_SEQPACKET, 4);
	close(listener);
	assert_int_equal(control_connect(&e, &fd), -ECONNREFUSED);
	unlink(dir_path("s"));
	listener = unix_listen("s", SOCK_STREAM, 4);
	assert_int_equal(control_connect(&e, &fd), -EPROTOTYPE);
	close(listener);
	fail_calls(CALL_SOCKET, 0, 1, EMFILE);
	assert_int_equal(control_connect(&e, &fd), -EMFILE);
	assert_int_equal(fd, -7);
	dir_remove();
}

static void a_receiver_with_a_full_queue_does_not_block_us(void **state)
{
	struct addr_endpoint e;
	int fd[3], listener, n = 0, err = 0;

	(void)state;
	dir_make();
	e = dir_endpoint("s");
	listener = unix_listen("s", SOCK_SEQPACKET, 0);
	while (n < 3 && (err = control_connect(&e, &fd[n])) == 0)
		n++;
	assert_int_equal(err, -EAGAIN);
	while (n > 0)
		close(fd[--n]);
	close(listener);
	dir_remove();
}

static void our_own_receiver_is_connected_non_blocking(void **state)
{
	struct addr_endpoint e;
	int fd, listener;

	(void)state;
	dir_make();
	e = dir_endpoint("s");
	listener = unix_listen("s", SOCK_SEQPACKET, 4);
	assert_int_equal(control_connect(&e, &fd), 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_not_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	close(fd);
	close(listener);
	dir_remove();
}

/* What control_connect() says to a listener of the user nobody in a directory with that owner and mode. */
static int connect_to_nobodys(uid_t dir_owner, mode_t mode)
{
	struct addr_endpoint e;
	char path[160], byte;
	int ready[2], end[2], fd = -1, ret;
	pid_t child;

	dir_make();
	e = dir_endpoint("s");
	strcpy(path, dir_path("."));
	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(end), 0);
	assert_int_equal(chmod(path, 0777), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		int listener;

		close(end[1]);
		if (setuid(NOBODY) < 0)
			_exit(1);
		listener = socket(AF_UNIX, SOCK_SEQPACKET, 0);
		if (bind(listener, &e.u.sa, e.len) < 0 || listen(listener, 4) < 0 || write(ready[1], "x", 1) != 1)
			_exit(1);
		_exit(read(end[0], &byte, 1) == 0 ? 0 : 1);
	}
	close(end[0]);
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(chmod(path, mode), 0);
	assert_int_equal(chown(path, dir_owner, (gid_t)-1), 0);
	ret = control_connect(&e, &fd);
	if (ret == 0)
		close(fd);
	else
		assert_int_equal(fd, -1);
	close(ready[0]);
	close(end[1]);
	assert_int_equal(waitpid(child, NULL, 0), child);
	dir_remove();
	return ret;
}

static void a_listener_that_owns_neither_directory_nor_us_is_refused(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(connect_to_nobodys(0, 0755), -EPERM);
	assert_int_equal(connect_to_nobodys(NOBODY, 0755), 0);
}

/* NOBODY is also what all users look like that are not in our user namespace. */
static void a_listener_that_may_be_anybody_is_accepted_where_only_the_owner_can_put_it(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(connect_to_nobodys(NOBODY, 0700), 0);
	assert_int_equal(connect_to_nobodys(NOBODY, 0775), -EPERM);
	assert_int_equal(connect_to_nobodys(NOBODY, 0757), -EPERM);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_packet_arrives_whole_with_exactly_one_descriptor),
		TEST(sending_to_a_full_or_closed_channel_fails),
		TEST(sending_goes_on_after_a_signal),
		TEST(verdicts_are_read_packet_by_packet),
		TEST(packets_of_a_wrong_length_are_a_protocol_error),
		TEST(verdicts_of_a_receiver_that_died_with_packets_unread_are_read_after_the_reset),
		TEST(a_receiver_that_is_not_there_is_told_by_errno),
		TEST(a_receiver_with_a_full_queue_does_not_block_us),
		TEST(our_own_receiver_is_connected_non_blocking),
		TEST(a_listener_that_owns_neither_directory_nor_us_is_refused),
		TEST(a_listener_that_may_be_anybody_is_accepted_where_only_the_owner_can_put_it),
	};

	return cmocka_run_group_tests_name("control", tests, group_begin, NULL);
}
