#include "relay_fixture.h"

#include <fcntl.h>
#include <poll.h>

static bool may_unkeep;
static int unkept, changed;

static bool on_unkeep(struct relay *r)
{
	unkept++;
	relay_unkeep(r);
	return may_unkeep;
}

static void on_changed(struct relay *r)
{
	(void)r;
	changed++;
}

/* What SIGKILL and the next process come to: the relay's memory is lost, its descriptors are not. */
static void relive(struct fixture *f, bool kept)
{
	struct relay_parts parts, copy;

	if (kept) {
		assert_int_equal(relay_keep(&f->relay, &parts), 0);
		copy = parts;
		for (int i = 0; i < 2; i++) {
			copy.side[i] = fcntl(parts.side[i], F_DUPFD_CLOEXEC, 0);
			for (int j = 0; j < 2; j++)
				copy.pipe[i][j] = parts.pipe[i][j] < 0 ? -1 : fcntl(parts.pipe[i][j], F_DUPFD_CLOEXEC, 0);
		}
		relay_close(&f->relay);
		parts = copy;
	} else {
		assert_true(relay_give(&f->relay, &parts));
	}
	memset(&f->relay, 0x55, sizeof(f->relay));
	assert_int_equal(relay_adopt(&f->relay, &f->env, &parts), 0);
	if (kept)
		assert_int_equal(relay_keep(&f->relay, &parts), 0);
}

static void set_up_kept(struct fixture *f)
{
	set_up_joined(f);
	f->env.unkeep = on_unkeep;
	f->env.changed = on_changed;
	may_unkeep = true;
	unkept = changed = 0;
}

/* Both ways at once, with a slow reader, while the relay moves from process to process. */
static void transfer_with_moves(struct fixture *f, size_t total, bool kept)
{
	struct stream up_w = {.state = 1, .total = total}, up_r = up_w, down_w = {.state = 99, .total = total}, down_r = down_w;
	uint64_t end = now_ms() + 4 * WAIT_MS;

	for (unsigned round = 0; up_r.at < total || down_r.at < total; round++) {
		stream_write(&up_w, f->client);
		stream_write(&down_w, f->backend);
		run_for(f->loop, 0);
		if (up_r.at < total)
			stream_read(&up_r, f->backend, 30000);
		if (down_r.at < total && round % 3 == 0)
			stream_read(&down_r, f->client, 20000);
		if (round % 7 == 0)
			relive(f, kept);
		if (now_ms() > end)
			fail_msg("%zu of %zu bytes up, %zu down", up_r.at, total, down_r.at);
	}
	assert_false(f->done);
}

static void no_byte_is_lost_when_a_relay_is_given_on(void **state)
{
	struct fixture f;

	(void)state;
	set_up_kept(&f);
	transfer_with_moves(&f, 3 * MB, false);
	tear_down(&f);
}

static void no_byte_is_lost_when_the_memory_of_a_kept_one_is(void **state)
{
	struct fixture f;
	struct relay_parts parts;

	(void)state;
	set_up_kept(&f);
	assert_int_equal(relay_keep(&f.relay, &parts), 0);
	transfer_with_moves(&f, 3 * MB, true);
	tear_down(&f);
}

static void a_kept_one_with_a_unix_backend_loses_nothing_either(void **state)
{
	struct fixture f;
	struct relay_parts parts;

	(void)state;
	set_up_joined_unix(&f);
	assert_int_equal(relay_keep(&f.relay, &parts), 0);
	transfer_with_moves(&f, MB, true);
	tear_down(&f);
}

/* The client has said all, and the answer is on its way. */
static void a_half_close_outlives_a_move(void **state)
{
	static const bool modes[] = {false, true};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct fixture f;
		char buf[10];

		set_up_kept(&f);
		assert_int_equal(send(f.client, "request", 7, 0), 7);
		shutdown(f.client, SHUT_WR);
		run_for(f.loop, 5);
		relive(&f, modes[i]);
		run_for(f.loop, 5);
		read_all(f.backend, buf, 7);
		assert_eof(f.backend);
		assert_int_equal(send(f.backend, "answer", 6, 0), 6);
		relive(&f, modes[i]);
		run_for(f.loop, 5);
		read_all(f.client, buf, 6);
		close_end(&f.backend);
		run_until(f.loop, &f.done);
		assert_int_equal(f.result, RELAY_DONE);
		assert_eof(f.client);
		tear_down(&f);
	}
}

static void the_last_bytes_of_one_that_has_ended_outlive_a_move(void **state)
{
	struct fixture f;
	struct relay_parts parts;
	struct stream w = {.state = 5, .total = 2 * MB}, r = w;
	uint64_t end = now_ms() + WAIT_MS;

	(void)state;
	set_up_kept(&f);
	assert_int_equal(relay_keep(&f.relay, &parts), 0);
	while (w.at < w.total && now_ms() < end) {
		if (stream_write(&w, f.backend) == 0)
			stream_read(&r, f.client, 50000);
		run_for(f.loop, 0);
	}
	close_end(&f.backend);
	run_for(f.loop, 5);
	while (r.at < r.total && now_ms() < end) {
		relive(&f, true);
		run_for(f.loop, 0);
		stream_read(&r, f.client, 50000);
	}
	assert_int_equal(r.at, r.total);
	run_for(f.loop, 5);
	assert_eof(f.client);
	close_end(&f.client);
	run_until(f.loop, &f.done);
	tear_down(&f);
}

static void a_reset_that_was_seen_is_told_and_not_taken_for_an_end(void **state)
{
	struct fixture f;
	struct relay_parts parts;

	(void)state;
	set_up_kept(&f);
	assert_int_equal(relay_keep(&f.relay, &parts), 0);
	assert_false(parts.broken[0] || parts.broken[1]);
	close_reset(f.backend);
	f.backend = -1;
	/* The error is taken by a write. */
	f.relay.flow[1].ended = false;
	assert_int_equal(send(f.client, "x", 1, 0), 1);
	run_until(f.loop, &f.done);
	assert_int_equal(f.result, RELAY_RESET);
	assert_reset(f.client);
	tear_down(&f);
}

static void one_with_a_broken_side_stays_so(void **state)
{
	struct fixture f;
	struct relay_parts parts;

	(void)state;
	set_up_kept(&f);
	f.relay.flow[0].broken = true; /* a write to the backend has taken its reset */
	assert_true(relay_give(&f.relay, &parts));
	assert_true(parts.broken[1]);
	assert_false(parts.broken[0]);
	assert_int_equal(relay_adopt(&f.relay, &f.env, &parts), 0);
	close_end(&f.backend); /* which reads like an end now */
	run_until(f.loop, &f.done);
	assert_int_equal(f.result, RELAY_RESET);
	tear_down(&f);
}

static void urgent_bytes_end_the_keeping_and_nothing_else(void **state)
{
	struct fixture f;
	struct relay_parts parts;
	char buf[10];

	(void)state;
	set_up_kept(&f);
	assert_int_equal(relay_keep(&f.relay, &parts), 0);
	assert_int_equal(send(f.client, "ab", 2, 0), 2);
	assert_int_equal(send(f.client, "!", 1, MSG_OOB), 1);
	assert_int_equal(send(f.client, "cd", 2, 0), 2);
	for (int i = 0; i < 100; i++)
		run_for(f.loop, 1);
	read_all(f.backend, buf, 4);
	assert_memory_equal(buf, "abcd", 4);
	assert_int_equal(unkept, 1);
	assert_false(f.done);
	tear_down(&f);

	set_up_kept(&f);
	may_unkeep = false;
	assert_int_equal(relay_keep(&f.relay, &parts), 0);
	assert_int_equal(send(f.client, "!", 1, MSG_OOB), 1);
	run_until(f.loop, &f.done);
	assert_int_equal(f.result, RELAY_RESET);
	tear_down(&f);
}

static void one_that_is_not_connected_gives_the_client_only(void **state)
{
	struct fixture f;
	struct relay_parts parts;
	int fds[600], n, client_fd = set_up(&f), same;
	char buf[10];

	(void)state;
	dir_make();
	f.target = dir_endpoint("web");
	f.listener = unix_listen("web", SOCK_STREAM, 0);
	n = fill_queue(&f.target, fds, 600);
	same = dup(client_fd);
	assert_int_equal(start(&f, client_fd, HEADER, TIMEOUT_MS), 0);
	assert_int_equal(relay_keep(&f.relay, &parts), -EAGAIN);
	assert_int_equal(send(f.client, "hello", 5, 0), 5);
	assert_false(relay_give(&f.relay, &parts));
	f.open = false;
	assert_true(same_socket(parts.side[0], same));
	read_all(parts.side[0], buf, 5);
	close(parts.side[0]);
	close(same);
	for (int i = 0; i < n; i++)
		close(fds[i]);
	dir_remove();
	tear_down(&f);
}

/* epoll(7): a socket of which there are copies stays in the set when it is closed. */
static void one_that_was_closed_is_not_called_because_of_its_copies(void **state)
{
	struct fixture f;
	struct relay_parts parts;
	int copies[2];

	(void)state;
	for (int given = 0; given < 2; given++) {
		set_up_kept(&f);
		if (given) {
			assert_true(relay_give(&f.relay, &parts));
			assert_int_equal(relay_adopt(&f.relay, &f.env, &parts), 0);
		} else {
			assert_int_equal(relay_keep(&f.relay, &parts), 0);
			relay_unkeep(&f.relay);
		}
		for (int i = 0; i < 2; i++)
			copies[i] = dup(parts.side[i]);
		relay_close(&f.relay);
		f.open = false;
		memset(&f.relay, 0x55, sizeof(f.relay));
		assert_int_equal(send(f.client, "x", 1, 0), 1);
		run_for(f.loop, 5);
		close(copies[0]);
		close(copies[1]);
		tear_down(&f);
	}
}

static void what_is_no_pipe_is_refused_and_all_is_closed(void **state)
{
	struct fixture f;
	struct relay_parts parts;
	int before;

	(void)state;
	set_up_kept(&f);
	assert_true(relay_give(&f.relay, &parts));
	before = count_fds();
	parts.pipe[1][0] = dup(f.client);
	parts.pipe[1][1] = dup(f.client);
	assert_int_equal(relay_adopt(&f.relay, &f.env, &parts), -EBADMSG);
	f.open = false;
	assert_int_equal(count_fds(), before - 2);
	tear_down(&f);
}

static void without_pipes_nothing_is_kept(void **state)
{
	struct fixture f;
	struct relay_parts parts;
	char buf[10];

	(void)state;
	set_up_kept(&f);
	for (unsigned good = 0; good < 2; good++) {
		fail_calls(CALL_PIPE2, good, 1, EMFILE);
		assert_int_equal(relay_keep(&f.relay, &parts), -ENOMEM);
	}
	assert_int_equal(send(f.client, "x", 1, 0), 1);
	run_for(f.loop, 5);
	read_all(f.backend, buf, 1);
	/* Small ones will do. */
	fail_calls(CALL_SETPIPE, 0, 1, EPERM);
	assert_int_equal(relay_keep(&f.relay, &parts), 0);
	transfer(&f, MB, MB, 50000);
	fail_none();
	tear_down(&f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(no_byte_is_lost_when_a_relay_is_given_on),
		TEST(no_byte_is_lost_when_the_memory_of_a_kept_one_is),
		TEST(a_kept_one_with_a_unix_backend_loses_nothing_either),
		TEST(a_half_close_outlives_a_move),
		TEST(the_last_bytes_of_one_that_has_ended_outlive_a_move),
		TEST(a_reset_that_was_seen_is_told_and_not_taken_for_an_end),
		TEST(one_with_a_broken_side_stays_so),
		TEST(urgent_bytes_end_the_keeping_and_nothing_else),
		TEST(one_that_is_not_connected_gives_the_client_only),
		TEST(one_that_was_closed_is_not_called_because_of_its_copies),
		TEST(what_is_no_pipe_is_refused_and_all_is_closed),
		TEST(without_pipes_nothing_is_kept),
	};

	return cmocka_run_group_tests_name("relay_keep", tests, group_begin, NULL);
}
