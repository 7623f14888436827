#include "pipes.h"

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static void a_pipe_is_empty_non_blocking_and_closed_on_exec(void **state)
{
	struct pipes p = {0};
	int fd[2] = {-1, -1};
	char c;

	(void)state;
	assert_int_equal(pipes_get(&p, fd), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(fcntl(fd[i], F_GETFD), FD_CLOEXEC);
		assert_int_not_equal(fcntl(fd[i], F_GETFL) & O_NONBLOCK, 0);
	}
	assert_int_equal(read(fd[0], &c, 1), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(write(fd[1], "x", 1), 1);
	assert_int_equal(read(fd[0], &c, 1), 1);
	pipes_put(&p, fd, true);
	assert_int_equal(fd[0], -1);
	assert_int_equal(fd[1], -1);
	pipes_close(&p);
}

static void an_empty_pipe_that_was_put_back_is_given_out_again(void **state)
{
	struct pipes p = {0};
	int fd[2], first;

	(void)state;
	assert_int_equal(pipes_get(&p, fd), 0);
	first = fd[0];
	pipes_put(&p, fd, true);
	assert_int_equal(p.n, 1);
	assert_int_equal(pipes_get(&p, fd), 0);
	assert_int_equal(fd[0], first);
	assert_int_equal(p.n, 0);
	pipes_put(&p, fd, true);
	pipes_close(&p);
	assert_int_equal(p.n, 0);
}

static void a_pipe_with_data_is_closed(void **state)
{
	struct pipes p = {0};
	int fd[2], before = count_fds();

	(void)state;
	assert_int_equal(pipes_get(&p, fd), 0);
	assert_int_equal(write(fd[1], "x", 1), 1);
	pipes_put(&p, fd, false);
	assert_int_equal(fd[0], -1);
	assert_int_equal(p.n, 0);
	assert_int_equal(count_fds(), before);
}

static void the_stock_is_bounded(void **state)
{
	struct pipes p = {0};
	int fd[PIPES_STOCK + 8][2], before = count_fds();

	(void)state;
	for (int i = 0; i < PIPES_STOCK + 8; i++)
		assert_int_equal(pipes_get(&p, fd[i]), 0);
	for (int i = 0; i < PIPES_STOCK + 8; i++)
		pipes_put(&p, fd[i], true);
	assert_int_equal(p.n, PIPES_STOCK);
	assert_int_equal(count_fds(), before + 2 * PIPES_STOCK);
	pipes_close(&p);
	assert_int_equal(count_fds(), before);
}

static void putting_back_no_pipe_is_harmless(void **state)
{
	struct pipes p = {0};
	int fd[2] = {-1, -1};

	(void)state;
	pipes_put(&p, fd, true);
	pipes_put(&p, fd, false);
	assert_int_equal(p.n, 0);
	pipes_close(&p);
}

static void without_descriptors_there_is_no_pipe(void **state)
{
	struct pipes p = {0};
	int fd[2] = {-7, -7};

	(void)state;
	fail_calls(CALL_PIPE2, 0, 1, EMFILE);
	assert_int_equal(pipes_get(&p, fd), -EMFILE);
	assert_int_equal(fd[0], -7);
}

static void a_pipe_that_cannot_grow_is_a_pipe_all_the_same(void **state)
{
	struct pipes p = {0};
	int fd[2];

	(void)state;
	fail_calls(CALL_FCNTL, 0, 1, EPERM);
	assert_int_equal(pipes_get(&p, fd), 0);
	assert_int_equal(write(fd[1], "x", 1), 1);
	pipes_put(&p, fd, false);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_pipe_is_empty_non_blocking_and_closed_on_exec),
		TEST(an_empty_pipe_that_was_put_back_is_given_out_again),
		TEST(a_pipe_with_data_is_closed),
		TEST(the_stock_is_bounded),
		TEST(putting_back_no_pipe_is_harmless),
		TEST(without_descriptors_there_is_no_pipe),
		TEST(a_pipe_that_cannot_grow_is_a_pipe_all_the_same),
	};

	return cmocka_run_group_tests_name("pipes", tests, group_begin, NULL);
}
