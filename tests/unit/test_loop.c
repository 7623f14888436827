#include "loop.h"

#include "support.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MANY 600 /* timers: more than the heap's first size */

struct fixture {
	struct loop *loop;
	int calls;
	bool done;
};

struct pipe_watch {
	struct loop_watch watch;
	struct fixture *f;
	struct pipe_watch *victim;
	int fd[2];
	int calls;
};

static void watch_init(struct pipe_watch *w, struct fixture *f, void (*ready)(struct loop_watch *, uint32_t))
{
	*w = (struct pipe_watch){.f = f};
	assert_int_equal(pipe(w->fd), 0);
	w->watch = (struct loop_watch){.fd = w->fd[0], .ready = ready};
	assert_int_equal(loop_add(f->loop, &w->watch, EPOLLIN), 0);
}

static void watch_close(struct pipe_watch *w)
{
	loop_del(w->f->loop, &w->watch);
	close(w->fd[0]);
	close(w->fd[1]);
}

static void count_and_stop(struct loop_watch *w, uint32_t events)
{
	struct pipe_watch *p = (struct pipe_watch *)(void *)w;

	assert_int_equal(events & EPOLLIN, EPOLLIN);
	p->calls++;
	p->f->calls++;
	p->f->done = true;
}

static void a_ready_watch_is_called(void **state)
{
	struct fixture f = {0};
	struct pipe_watch w;

	(void)state;
	assert_int_equal(loop_new(&f.loop), 0);
	watch_init(&w, &f, count_and_stop);
	assert_true(w.watch.watched);
	assert_int_equal(write(w.fd[1], "x", 1), 1);
	run_until(f.loop, &f.done);
	watch_close(&w);
	assert_false(w.watch.watched);
	loop_free(f.loop);
}

static void take_victim_away(struct loop_watch *w, uint32_t events)
{
	struct pipe_watch *p = (struct pipe_watch *)(void *)w;
	char c;

	(void)events;
	assert_int_equal(read(p->fd[0], &c, 1), 1);
	p->f->calls++;
	if (p->victim->watch.watched) {
		watch_close(p->victim);
		/* Freed for real in the test below: what the loop still touched would be reported. */
		p->victim->watch.ready = NULL;
	}
	p->f->done = true;
}

static void a_watch_removed_by_a_callback_is_not_called_though_its_event_was_fetched(void **state)
{
	struct fixture f = {0};
	struct pipe_watch *a = malloc(sizeof(*a)), *b = malloc(sizeof(*b));

	(void)state;
	assert_non_null(a);
	assert_non_null(b);
	assert_int_equal(loop_new(&f.loop), 0);
	watch_init(a, &f, take_victim_away);
	watch_init(b, &f, take_victim_away);
	a->victim = b;
	b->victim = a;
	/* Both are in the first batch; whichever comes first removes the other. */
	assert_int_equal(write(a->fd[1], "x", 1), 1);
	assert_int_equal(write(b->fd[1], "x", 1), 1);
	run_until(f.loop, &f.done);
	run_for(f.loop, 20);
	assert_int_equal(f.calls, 1);
	assert_int_equal(a->watch.watched + b->watch.watched, 1);
	watch_close(a->watch.watched ? a : b);
	free(a);
	free(b);
	loop_free(f.loop);
}

static void remove_and_free_itself(struct loop_watch *w, uint32_t events)
{
	struct pipe_watch *p = (struct pipe_watch *)(void *)w;

	(void)events;
	p->f->calls++;
	p->f->done = true;
	watch_close(p);
	free(p);
}

static void a_watch_may_free_itself(void **state)
{
	struct fixture f = {0};

	(void)state;
	assert_int_equal(loop_new(&f.loop), 0);
	for (int i = 0; i < 3; i++) {
		struct pipe_watch *w = malloc(sizeof(*w));

		assert_non_null(w);
		watch_init(w, &f, remove_and_free_itself);
		assert_int_equal(write(w->fd[1], "x", 1), 1);
	}
	run_until(f.loop, &f.done);
	run_for(f.loop, 10);
	assert_int_equal(f.calls, 3);
	loop_free(f.loop);
}

static void remove_and_add_again(struct loop_watch *w, uint32_t events)
{
	struct pipe_watch *p = (struct pipe_watch *)(void *)w;
	char c;

	(void)events;
	p->f->calls++;
	assert_int_equal(read(p->fd[0], &c, 1), 1);
	/* As if the memory of the one became that of another: its old event must not reach the new watch. */
	loop_del(p->f->loop, &p->victim->watch);
	assert_int_equal(read(p->victim->fd[0], &c, 1), 1);
	assert_int_equal(loop_add(p->f->loop, &p->victim->watch, EPOLLIN), 0);
	p->f->done = true;
}

static void a_watch_added_again_does_not_get_its_former_events(void **state)
{
	struct fixture f = {0};
	struct pipe_watch a, b;

	(void)state;
	assert_int_equal(loop_new(&f.loop), 0);
	watch_init(&a, &f, remove_and_add_again);
	watch_init(&b, &f, remove_and_add_again);
	a.victim = &b;
	b.victim = &a;
	assert_int_equal(write(a.fd[1], "x", 1), 1);
	assert_int_equal(write(b.fd[1], "x", 1), 1);
	run_until(f.loop, &f.done);
	run_for(f.loop, 20);
	assert_int_equal(f.calls, 1);
	watch_close(&a);
	watch_close(&b);
	loop_free(f.loop);
}

static void close_victim(struct loop_watch *w, uint32_t events)
{
	struct pipe_watch *p = (struct pipe_watch *)(void *)w;
	char c;

	(void)events;
	assert_int_equal(read(p->fd[0], &c, 1), 1);
	p->f->calls++;
	if (p->victim->watch.watched) {
		loop_forget(p->f->loop, &p->victim->watch);
		close(p->victim->fd[0]);
		close(p->victim->fd[1]);
		p->victim->fd[0] = -1;
		p->victim->watch.ready = NULL;
	}
	p->f->done = true;
}

static void a_watch_forgotten_and_closed_is_not_called_though_its_event_was_fetched(void **state)
{
	struct fixture f = {0};
	struct pipe_watch a, b, *left;

	(void)state;
	assert_int_equal(loop_new(&f.loop), 0);
	watch_init(&a, &f, close_victim);
	watch_init(&b, &f, close_victim);
	a.victim = &b;
	b.victim = &a;
	assert_int_equal(write(a.fd[1], "x", 1), 1);
	assert_int_equal(write(b.fd[1], "x", 1), 1);
	run_until(f.loop, &f.done);
	run_for(f.loop, 20);
	assert_int_equal(f.calls, 1);
	assert_int_equal(a.watch.watched + b.watch.watched, 1);
	left = a.watch.watched ? &a : &b;
	watch_close(left);
	loop_free(f.loop);
}

static void the_number_of_a_forgotten_descriptor_can_be_watched_again(void **state)
{
	struct fixture f = {0};
	struct pipe_watch old, new;
	int number;

	(void)state;
	assert_int_equal(loop_new(&f.loop), 0);
	watch_init(&old, &f, count_and_stop);
	number = old.fd[0];
	assert_int_equal(write(old.fd[1], "x", 1), 1);
	loop_forget(f.loop, &old.watch);
	assert_false(old.watch.watched);
	close(old.fd[0]);
	close(old.fd[1]);
	loop_forget(f.loop, &old.watch); /* once more does no harm */
	loop_del(f.loop, &old.watch);
	watch_init(&new, &f, count_and_stop);
	assert_int_equal(new.fd[0], number);
	run_for(f.loop, 10);
	assert_int_equal(f.calls, 0);
	assert_int_equal(write(new.fd[1], "x", 1), 1);
	run_until(f.loop, &f.done);
	assert_int_equal(old.calls, 0);
	assert_true(new.calls > 0);
	watch_close(&new);
	loop_free(f.loop);
}

static void forgetting_makes_no_call_of_the_kernel(void **state)
{
	struct fixture f = {0};
	struct pipe_watch w;

	(void)state;
	assert_int_equal(loop_new(&f.loop), 0);
	watch_init(&w, &f, count_and_stop);
	fail_calls(CALL_EPOLL_CTL, 0, 1, EIO);
	loop_forget(f.loop, &w.watch);
	assert_int_equal(fail_none(), 1);
	watch_close(&w);
	loop_free(f.loop);
}

static void yield_twice(struct loop_watch *w, uint32_t events)
{
	struct pipe_watch *p = (struct pipe_watch *)(void *)w;

	(void)events;
	p->f->done = ++p->f->calls == 3;
	if (!p->f->done)
		assert_int_equal(loop_again(p->f->loop, w, EPOLLIN | EPOLLET), 0);
}

static void asking_again_repeats_an_edge_that_is_still_there(void **state)
{
	struct fixture f = {0};
	struct pipe_watch w;

	(void)state;
	assert_int_equal(loop_new(&f.loop), 0);
	watch_init(&w, &f, yield_twice);
	loop_del(f.loop, &w.watch);
	assert_int_equal(loop_add(f.loop, &w.watch, EPOLLIN | EPOLLET), 0);
	assert_int_equal(write(w.fd[1], "x", 1), 1);
	run_until(f.loop, &f.done);
	run_for(f.loop, 20);
	assert_int_equal(f.calls, 3);
	watch_close(&w);
	loop_free(f.loop);
}

static void more_watches_than_one_batch_are_all_called(void **state)
{
	struct fixture f = {0};
	struct pipe_watch w[200];

	(void)state;
	assert_int_equal(loop_new(&f.loop), 0);
	for (int i = 0; i < 200; i++) {
		watch_init(&w[i], &f, count_and_stop);
		loop_del(f.loop, &w[i].watch);
		assert_int_equal(loop_add(f.loop, &w[i].watch, EPOLLIN | EPOLLET), 0);
		assert_int_equal(write(w[i].fd[1], "x", 1), 1);
	}
	run_for(f.loop, 50);
	assert_int_equal(f.calls, 200);
	for (int i = 0; i < 200; i++) {
		assert_int_equal(w[i].calls, 1);
		watch_close(&w[i]);
	}
	loop_free(f.loop);
}

static void adding_a_bad_descriptor_fails_and_removing_it_is_harmless(void **state)
{
	struct loop_watch w = {.fd = -1};
	struct loop *l;

	(void)state;
	assert_int_equal(loop_new(&l), 0);
	assert_int_equal(loop_add(l, &w, EPOLLIN), -EBADF);
	assert_false(w.watched);
	assert_int_equal(loop_again(l, &w, EPOLLIN), -EBADF);
	loop_del(l, &w);
	loop_free(l);
}

struct numbered {
	struct loop_timer timer;
	struct numbered_log *log;
	int number;
	uint64_t wanted;
};

struct numbered_log {
	struct loop *loop;
	struct numbered *timers;
	int order[MANY];
	int n, stop_at;
	bool done;
};

static void on_numbered(struct loop_timer *t)
{
	struct numbered *n = (struct numbered *)(void *)t;

	assert_int_equal(t->place, 0);
	n->log->order[n->log->n++] = n->number;
	n->log->done = n->log->n == n->log->stop_at;
}

static void timers_expire_in_the_order_of_their_time(void **state)
{
	struct numbered_log log = {.stop_at = MANY / 2};
	struct numbered *t = calloc(MANY, sizeof(*t));
	unsigned seed = 1;

	(void)state;
	assert_non_null(t);
	assert_int_equal(loop_new(&log.loop), 0);
	for (int i = 0; i < MANY; i++) {
		t[i] = (struct numbered){.timer = {.expired = on_numbered}, .log = &log, .number = i};
		assert_int_equal(loop_timer_set(log.loop, &t[i].timer, (unsigned)rand_r(&seed) % 100), 0);
	}
	/* Half of them are moved, the others unset. */
	for (int i = 0; i < MANY; i++) {
		if (i % 2)
			loop_timer_unset(log.loop, &t[i].timer);
		else
			assert_int_equal(loop_timer_set(log.loop, &t[i].timer, (unsigned)rand_r(&seed) % 100), 0);
		t[i].wanted = t[i].timer.at;
	}
	run_until(log.loop, &log.done);
	run_for(log.loop, 120);
	assert_int_equal(log.n, MANY / 2);
	for (int i = 0; i < log.n; i++) {
		assert_int_equal(log.order[i] % 2, 0);
		if (i > 0)
			assert_true(t[log.order[i - 1]].wanted <= t[log.order[i]].wanted);
	}
	free(t);
	loop_free(log.loop);
}

static void on_first_unsets_second_and_moves_third(struct loop_timer *t)
{
	struct numbered *n = (struct numbered *)(void *)t;
	struct numbered *all = n->log->timers;

	on_numbered(t);
	loop_timer_unset(n->log->loop, &all[1].timer);
	assert_int_equal(loop_timer_set(n->log->loop, &all[2].timer, 30), 0);
	assert_int_equal(loop_timer_set(n->log->loop, &all[3].timer, 0), 0);
}

static void a_timer_may_unset_and_move_others_that_are_due_too(void **state)
{
	struct numbered t[5];
	struct numbered_log log = {.stop_at = 4, .timers = t};

	(void)state;
	assert_int_equal(loop_new(&log.loop), 0);
	for (int i = 0; i < 5; i++) {
		t[i] = (struct numbered){.timer = {.expired = on_numbered}, .log = &log, .number = i};
		assert_int_equal(loop_timer_set(log.loop, &t[i].timer, i == 3 ? 500 : (unsigned)i), 0);
	}
	t[0].timer.expired = on_first_unsets_second_and_moves_third;
	usleep(10000); /* all but number 3 are due in the same round */
	run_until(log.loop, &log.done);
	assert_int_equal(log.order[0], 0);
	assert_int_equal(log.order[1], 4);
	assert_int_equal(log.order[2], 3);
	assert_int_equal(log.order[3], 2);
	loop_free(log.loop);
}

struct again {
	struct loop_timer timer;
	struct loop *loop;
	int fd, n;
};

static void on_again(struct loop_timer *t)
{
	struct again *a = (struct again *)(void *)t;

	/* What is written now can be seen in the next round only, if there is one. */
	if (++a->n == 3)
		assert_int_equal(write(a->fd, "x", 1), 1);
	assert_true(a->n < 1000);
	assert_int_equal(loop_timer_set(a->loop, t, 0), 0);
}

static void a_timer_that_sets_itself_to_zero_does_not_starve_watches(void **state)
{
	struct again again = {.timer = {.expired = on_again}};
	struct fixture f = {0};
	struct pipe_watch w;

	(void)state;
	assert_int_equal(loop_new(&f.loop), 0);
	watch_init(&w, &f, count_and_stop);
	again.loop = f.loop;
	again.fd = w.fd[1];
	assert_int_equal(loop_timer_set(f.loop, &again.timer, 0), 0);
	run_until(f.loop, &f.done);
	assert_true(again.n >= 3);
	loop_timer_unset(f.loop, &again.timer);
	watch_close(&w);
	loop_free(f.loop);
}

static void unsetting_an_unset_timer_is_harmless(void **state)
{
	struct loop_timer t = {0};
	struct loop *l;

	(void)state;
	assert_int_equal(loop_new(&l), 0);
	loop_timer_unset(l, &t);
	assert_int_equal(loop_timer_set(l, &t, 1000), 0);
	loop_timer_unset(l, &t);
	loop_timer_unset(l, &t);
	assert_int_equal(t.place, 0);
	loop_free(l);
}

static void a_very_long_timer_does_not_overflow_the_wait(void **state)
{
	struct loop_timer t = {0};
	struct loop *l;

	(void)state;
	assert_int_equal(loop_new(&l), 0);
	assert_int_equal(loop_timer_set(l, &t, (uint64_t)1 << 40), 0);
	run_for(l, 5);
	assert_int_not_equal(t.place, 0);
	loop_free(l);
}

static void without_memory_or_descriptors_there_is_no_loop(void **state)
{
	struct loop *l = (struct loop *)state;

	fail_calls(CALL_MALLOC, 0, 1, ENOMEM);
	assert_int_equal(loop_new(&l), -ENOMEM);
	fail_calls(CALL_EPOLL_CREATE, 0, 1, EMFILE);
	assert_int_equal(loop_new(&l), -EMFILE);
	assert_ptr_equal(l, state);
	loop_free(NULL);
}

static void a_timer_that_cannot_be_set_for_want_of_memory_stays_unset(void **state)
{
	struct loop_timer t = {0};
	struct loop *l;

	(void)state;
	assert_int_equal(loop_new(&l), 0);
	fail_calls(CALL_REALLOC, 0, 1, ENOMEM);
	assert_int_equal(loop_timer_set(l, &t, 1), -ENOMEM);
	assert_int_equal(t.place, 0);
	assert_int_equal(loop_timer_set(l, &t, 1), 0);
	loop_free(l);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_ready_watch_is_called),
		TEST(a_watch_removed_by_a_callback_is_not_called_though_its_event_was_fetched),
		TEST(a_watch_may_free_itself),
		TEST(a_watch_added_again_does_not_get_its_former_events),
		TEST(a_watch_forgotten_and_closed_is_not_called_though_its_event_was_fetched),
		TEST(the_number_of_a_forgotten_descriptor_can_be_watched_again),
		TEST(forgetting_makes_no_call_of_the_kernel),
		TEST(asking_again_repeats_an_edge_that_is_still_there),
		TEST(more_watches_than_one_batch_are_all_called),
		TEST(adding_a_bad_descriptor_fails_and_removing_it_is_harmless),
		TEST(timers_expire_in_the_order_of_their_time),
		TEST(a_timer_may_unset_and_move_others_that_are_due_too),
		TEST(a_timer_that_sets_itself_to_zero_does_not_starve_watches),
		TEST(unsetting_an_unset_timer_is_harmless),
		TEST(a_very_long_timer_does_not_overflow_the_wait),
		TEST(without_memory_or_descriptors_there_is_no_loop),
		TEST(a_timer_that_cannot_be_set_for_want_of_memory_stays_unset),
	};

	return cmocka_run_group_tests_name("loop", tests, group_begin, NULL);
}
