#include "pipes.h"

#include "support.h"

#include <errno.h>
#include <fcntl.h>
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

static void no_more_are_made_than_may_be(void **state)
{
	struct pipes p = {.max = 2};
	struct pipe *a, *b;
	int before = count_fds();

	(void)state;
	a = get(&p);
	b = get(&p);
	assert_false(pipes_ready(&p));
	assert_null(pipes_get(&p));
	assert_int_equal(count_fds(), before + 4);
	pipes_put(&p, a);
	assert_true(pipes_ready(&p));
	assert_ptr_equal(get(&p), a);
	p.max = 1; /* of two */
	pipes_put(&p, a);
	assert_int_equal(count_fds(), before + 2);
	assert_false(pipes_ready(&p));
	pipes_put(&p, b);
	assert_int_equal(p.n, 1);
	pipes_close(&p);
	assert_int_equal(count_fds(), before);
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

static void a_pipe_takes_a_pipe_load_at_once(void **state)
{
	static uint8_t bytes[PIPES_ROOM];
	struct pipes p = {0};

	(void)state;
	for (int small = 0; small < 2; small++) {
		struct pipe *pipe;

		if (small)
			fail_calls(CALL_SETPIPE, 0, 1, EPERM);
		pipe = get(&p);
		assert_int_equal(write(pipe->fd[1], bytes, sizeof(bytes)), (ssize_t)sizeof(bytes));
		pipe->len = sizeof(bytes);
		pipes_put(&p, pipe);
	}
}

static void what_is_ready_is_what_is_given_out(void **state)
{
	struct pipes p = {0};
	int before = count_fds();
	struct pipe *pipe;

	(void)state;
	assert_true(pipes_ready(&p));
	assert_int_equal(p.n, 1);
	assert_true(pipes_ready(&p)); /* and makes no second one */
	assert_int_equal(p.n, 1);
	assert_int_equal(count_fds(), before + 2);
	fail_calls(CALL_PIPE2, 0, 1, EMFILE);
	pipe = get(&p);
	assert_int_equal(fail_none(), 1);
	pipes_put(&p, pipe);
	pipes_close(&p);
}

/* Beyond pipe-user-pages-soft a new pipe has a page or two, and cannot be made to grow. */
static void a_pipe_that_is_too_small_is_refused(void **state)
{
	struct pipes p = {0};
	int before = count_fds();

	(void)state;
	fail_calls(CALL_SETPIPE_TINY, 0, 2, EPERM); /* a large one, and a smaller one */
	assert_false(pipes_ready(&p));
	assert_int_equal(p.n, 0);
	assert_int_equal(count_fds(), before);
}

static void after_a_failure_no_pipe_is_tried_for_a_while(void **state)
{
	static const struct {
		enum call call;
		unsigned times;
		int error;
	} cases[] = {{CALL_PIPE2, 1, EMFILE}, {CALL_MALLOC, 1, ENOMEM}, {CALL_SETPIPE_TINY, 2, EPERM}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pipes p = {0};
		unsigned tries = 0;

		fail_calls(cases[i].call, 0, cases[i].times, cases[i].error);
		assert_null(pipes_get(&p));
		assert_int_equal(fail_none(), 0);
		/* Neither of the two ways of asking makes one, though one could be made. */
		for (int j = 0; j < 10; j++) {
			assert_false(pipes_ready(&p));
			assert_null(pipes_get(&p));
			tries += 2;
		}
		while (!pipes_ready(&p))
			assert_true(++tries < 1000);
		assert_true(tries > 20);
		pipes_put(&p, get(&p));
		pipes_close(&p);
	}
}

static void a_pipe_that_comes_back_ends_the_shortage(void **state)
{
	struct pipes p = {0};
	struct pipe *pipe;

	(void)state;
	pipe = get(&p);
	fail_calls(CALL_PIPE2, 0, 1, EMFILE);
	assert_false(pipes_ready(&p));
	pipes_put(&p, pipe);
	assert_true(pipes_ready(&p));
	assert_ptr_equal(get(&p), pipe);
	pipes_put(&p, pipe);
	pipes_close(&p);
}

static void a_pipe_of_a_relays_own_never_goes_to_another(void **state)
{
	struct pipes p = {.max = 1};
	struct pipe *shared, *own, *made;
	int fd[2], before;

	(void)state;
	shared = get(&p);
	assert_null(pipes_get(&p)); /* there are max */
	made = pipes_make(&p);
	assert_non_null(made);
	assert_true(made->size < PIPES_ROOM);
	pipes_grow(made);
	assert_true(made->size > PIPES_ROOM);
	own = shared;
	pipes_single(&p, own);
	pipes_single(&p, own);
	assert_int_equal(p.singles, 2);
	shared = get(&p); /* it does not count for the others any more */
	before = count_fds();
	pipes_put(&p, own);
	assert_int_equal(count_fds(), before - 2);
	pipes_release(&p, made, fd);
	assert_int_equal(p.singles, 0);
	assert_int_equal(p.made, 1);
	assert_int_equal(write(fd[1], "abc", 3), 3);
	made = pipes_adopt(&p, fd);
	assert_int_equal(made->len, 3);
	pipes_put(&p, made);
	pipes_put(&p, shared);
	assert_int_equal(p.n, 1);
	pipes_close(&p);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_pipe_is_empty_non_blocking_and_closed_on_exec),
		TEST(an_empty_pipe_that_was_put_back_is_given_out_again),
		TEST(no_more_are_made_than_may_be),
		TEST(a_pipe_with_data_is_closed),
		TEST(the_stock_is_bounded),
		TEST(putting_back_no_pipe_is_harmless),
		TEST(without_descriptors_there_is_no_pipe),
		TEST(a_pipe_that_cannot_grow_is_a_pipe_all_the_same),
		TEST(a_pipe_takes_a_pipe_load_at_once),
		TEST(what_is_ready_is_what_is_given_out),
		TEST(a_pipe_that_is_too_small_is_refused),
		TEST(after_a_failure_no_pipe_is_tried_for_a_while),
		TEST(a_pipe_that_comes_back_ends_the_shortage),
		TEST(a_pipe_of_a_relays_own_never_goes_to_another),
	};

	return cmocka_run_group_tests_name("pipes", tests, group_begin, NULL);
}
