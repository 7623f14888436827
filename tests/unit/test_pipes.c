#include "pipes.h"

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static struct pipe *get(struct pipes *p)
{
	struct pipe *pipe = pipes_get(p);

	assert_non_null(pipe);
	assert_int_equal(pipe->len, 0);
	return pipe;
}

static void a_pipe_is_empty_non_blocking_and_closed_on_exec(void **state)
{
	struct pipes p = {0};
	struct pipe *pipe;
	char c;

	(void)state;
	pipe = get(&p);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(fcntl(pipe->fd[i], F_GETFD), FD_CLOEXEC);
		assert_int_not_equal(fcntl(pipe->fd[i], F_GETFL) & O_NONBLOCK, 0);
	}
	assert_int_equal(read(pipe->fd[0], &c, 1), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(write(pipe->fd[1], "x", 1), 1);
	assert_int_equal(read(pipe->fd[0], &c, 1), 1);
	pipes_put(&p, pipe);
	pipes_close(&p);
}

static void an_empty_pipe_that_was_put_back_is_given_out_again(void **state)
{
	struct pipes p = {0};
	struct pipe *first;

	(void)state;
	first = get(&p);
	pipes_put(&p, first);
	assert_int_equal(p.n, 1);
	assert_ptr_equal(get(&p), first);
	assert_int_equal(p.n, 0);
	pipes_put(&p, first);
	pipes_close(&p);
	assert_int_equal(p.n, 0);
}

static void a_pipe_with_data_is_closed(void **state)
{
	struct pipes p = {0};
	int before = count_fds();
	struct pipe *pipe;

	(void)state;
	pipe = get(&p);
	assert_int_equal(write(pipe->fd[1], "x", 1), 1);
	pipe->len = 1;
	pipes_put(&p, pipe);
	assert_int_equal(p.n, 0);
	assert_null(p.first);
	assert_int_equal(count_fds(), before);
}

static void the_stock_is_bounded(void **state)
{
	struct pipes p = {0};
	struct pipe *pipe[PIPES_STOCK + 8];
	int before = count_fds();

	(void)state;
	for (int i = 0; i < PIPES_STOCK + 8; i++)
		pipe[i] = get(&p);
	for (int i = 0; i < PIPES_STOCK + 8; i++)
		pipes_put(&p, pipe[i]);
	assert_int_equal(p.n, PIPES_STOCK);
	assert_int_equal(count_fds(), before + 2 * PIPES_STOCK);
	pipes_close(&p);
	assert_int_equal(count_fds(), before);
	assert_null(p.first);
}

static void putting_back_no_pipe_is_harmless(void **state)
{
	struct pipes p = {0};

	(void)state;
	pipes_put(&p, NULL);
	assert_int_equal(p.n, 0);
	pipes_close(&p);
}

static void without_descriptors_there_is_no_pipe(void **state)
{
	struct pipes p = {0};

	(void)state;
	fail_calls(CALL_PIPE2, 0, 1, EMFILE);
	assert_null(pipes_get(&p));
	assert_int_equal(p.n, 0);
}

static void a_pipe_that_cannot_grow_is_a_pipe_all_the_same(void **state)
{
	struct pipes p = {0};
	struct pipe *pipe;

	(void)state;
	fail_calls(CALL_SETPIPE, 0, 1, EPERM);
	pipe = get(&p);
	assert_int_equal(write(pipe->fd[1], "x", 1), 1);
	pipe->len = 1;
	pipes_put(&p, pipe);
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
