#include "handoff.h"

#include "support.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define MANY    1500 /* more than fit into the channel's buffer, at that length of the headers */
#define HEADER  16384
#define HOLD_MS 60000 /* longer than any test waits */

struct fixture {
	struct loop *loop;
	struct handoff *h;
	struct handoff_counts counts;
	struct addr_endpoint path;
	int listener;       /* the receiver's; -1 */
	int ups, downs;     /* news of the channel */
	int last_error;
	unsigned ended;     /* items */
	unsigned wanted;    /* set reached when so many have ended */
	bool reached;
	bool changed;       /* since it was last reset by a test */
};

/* A connection on its way, and the client's side of it. */
struct passenger {
	struct handoff_item item; /* first */
	struct fixture *f;
	int client, fd;
	uint8_t header[HEADER];
	enum handoff_result result;
	int calls;          /* of done() */
};

/* What a receiver got. */
struct parcel {
	uint8_t header[HEADER + 1];
	size_t len;
	int fd;
};

static void on_changed(void *arg, const struct handoff *h, int error)
{
	struct fixture *f = arg;

	assert_string_equal(handoff_path(h)->u.un.sun_path, f->path.u.un.sun_path);
	f->changed = true;
	f->last_error = error;
	if (error == 0)
		f->ups++;
	else
		f->downs++;
}

static void on_done(struct handoff_item *item, enum handoff_result result)
{
	struct passenger *p = (struct passenger *)(void *)item;

	assert_int_equal(item->state, HANDOFF_ITEM_IDLE);
	p->result = result;
	p->calls++;
	p->f->ended++;
	p->f->reached = p->f->ended >= p->f->wanted;
}

static void set_up(struct fixture *f, bool listening, unsigned max_held)
{
	*f = (struct fixture){.listener = -1};
	dir_make();
	f->path = dir_endpoint("s");
	if (listening)
		f->listener = unix_listen("s", SOCK_SEQPACKET, 16);
	assert_int_equal(loop_new(&f->loop), 0);
	assert_int_equal(handoff_new(f->loop, &f->path, max_held, &f->counts, on_changed, f, &f->h), 0);
}

static void tear_down(struct fixture *f)
{
	handoff_free(f->h);
	assert_int_equal(counter_get(&f->counts.held_now), 0);
	assert_int_equal(counter_get(&f->counts.up_now), 0);
	assert_int_equal(counter_get(&f->counts.away_now), 0);
	loop_free(f->loop);
	if (f->listener >= 0)
		close(f->listener);
	dir_remove();
}

static void passenger_init(struct passenger *p, struct fixture *f, unsigned hold_ms)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	memset(p, 0, sizeof(*p));
	p->f = f;
	p->client = pair[0];
	p->fd = pair[1];
	p->item = (struct handoff_item){
		.done = on_done, .fd = p->fd, .hold_ms = hold_ms, .header = p->header, .header_len = sizeof(p->header)};
	handoff_next_id(f->h, p->item.id);
	memset(p->header, 'h', sizeof(p->header));
	memcpy(p->header + sizeof(p->header) - CONTROL_ID_LEN, p->item.id, CONTROL_ID_LEN);
}

static void passenger_close(struct passenger *p)
{
	if (p->client >= 0)
		close(p->client);
	close(p->fd);
}

static void submit(struct passenger *p, struct fixture *f, unsigned hold_ms)
{
	passenger_init(p, f, hold_ms);
	handoff_submit(f->h, &p->item);
}

static void run_until_ended(struct fixture *f, unsigned n)
{
	f->wanted = n;
	f->reached = f->ended >= n;
	run_until(f->loop, &f->reached);
	assert_int_equal(f->ended, n);
}

/* False: nothing has come. */
static bool receive(int conn, struct parcel *ret)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = ret->header, .iov_len = sizeof(ret->header)};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf)};
	ssize_t n = recvmsg(conn, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *cmsg;

	if (n < 0) {
		assert_int_equal(errno, EAGAIN);
		return false;
	}
	assert_true(n > 0);
	assert_int_equal(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC), 0);
	cmsg = CMSG_FIRSTHDR(&msg);
	assert_non_null(cmsg);
	memcpy(&ret->fd, CMSG_DATA(cmsg), sizeof(int));
	ret->len = (size_t)n;
	return true;
}

/* Runs the loop until a parcel has come, and takes it. */
static void await_parcel(struct fixture *f, int conn, struct parcel *ret)
{
	for (int i = 0; i < WAIT_MS / 5; i++) {
		if (receive(conn, ret))
			return;
		run_for(f->loop, 5);
	}
	fail_msg("no packet came");
}

static int await_channel(struct fixture *f)
{
	for (int i = 0; i < WAIT_MS / 5; i++) {
		int conn = accept4(f->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (conn >= 0)
			return conn;
		run_for(f->loop, 5);
	}
	fail_msg("no channel came");
	return -1;
}

static void answer(int conn, char verdict, const uint8_t *id)
{
	uint8_t record[CONTROL_RECORD_LEN] = {(uint8_t)verdict};

	memcpy(record + 1, id, CONTROL_ID_LEN);
	assert_int_equal(send(conn, record, sizeof(record), 0), (ssize_t)sizeof(record));
}

static void assert_is(const struct parcel *got, const struct passenger *p)
{
	assert_int_equal(got->len, sizeof(p->header));
	assert_memory_equal(got->header, p->header, sizeof(p->header));
	assert_true(same_socket(got->fd, p->fd));
}

static void an_adopted_connection_is_ours_to_close(void **state)
{
	struct fixture f;
	struct passenger p;
	struct parcel got;
	char byte;
	int conn;

	(void)state;
	set_up(&f, true, 10);
	assert_int_equal(f.ups, 1);
	conn = await_channel(&f);
	submit(&p, &f, HOLD_MS);
	assert_int_equal(p.calls, 0);
	assert_false(handoff_is_idle(f.h));
	assert_true(receive(conn, &got));
	assert_is(&got, &p);
	answer(conn, 'A', p.item.id);
	run_until_ended(&f, 1);
	assert_int_equal(p.result, HANDOFF_ADOPTED);
	assert_true(handoff_is_idle(f.h));
	assert_int_equal(counter_get(&f.counts.adopted), 1);
	assert_int_equal(counter_get(&f.counts.held), 0);
	assert_int_equal(counter_get(&f.counts.up_now), 1);
	/* It lives on with the receiver. */
	close(p.fd);
	assert_int_equal(write(p.client, "x", 1), 1);
	assert_int_equal(read(got.fd, &byte, 1), 1);
	close(got.fd);
	close(p.client);
	close(conn);
	tear_down(&f);
}

static void a_refused_connection_comes_back_once(void **state)
{
	struct fixture f;
	struct passenger p;
	struct parcel got;
	int conn;

	(void)state;
	set_up(&f, true, 10);
	conn = await_channel(&f);
	submit(&p, &f, HOLD_MS);
	await_parcel(&f, conn, &got);
	answer(conn, 'N', p.item.id);
	answer(conn, 'A', p.item.id);
	run_until_ended(&f, 1);
	run_for(f.loop, 20);
	assert_int_equal(p.result, HANDOFF_REFUSED);
	assert_int_equal(p.calls, 1);
	assert_int_equal(counter_get(&f.counts.refused), 1);
	close(got.fd);
	passenger_close(&p);
	close(conn);
	tear_down(&f);
}

static void a_connection_for_later_is_sent_again_as_it_was(void **state)
{
	struct fixture f;
	struct passenger p[3];
	struct parcel got;
	int conn;

	(void)state;
	set_up(&f, true, 10);
	conn = await_channel(&f);
	submit(&p[0], &f, HOLD_MS);
	await_parcel(&f, conn, &got);
	close(got.fd);
	answer(conn, 'R', p[0].item.id);
	run_for(f.loop, 30);
	assert_int_equal(p[0].item.state, HANDOFF_ITEM_HELD);
	/* What comes meanwhile waits too. */
	submit(&p[1], &f, HOLD_MS);
	submit(&p[2], &f, HOLD_MS);
	assert_false(receive(conn, &got));
	for (int i = 0; i < 3; i++) {
		await_parcel(&f, conn, &got);
		assert_is(&got, &p[i]);
		close(got.fd);
		answer(conn, 'A', p[i].item.id);
	}
	run_until_ended(&f, 3);
	assert_int_equal(counter_get(&f.counts.later), 1);
	assert_int_equal(counter_get(&f.counts.adopted), 3);
	assert_int_equal(counter_get(&f.counts.held), 3);
	for (int i = 0; i < 3; i++)
		passenger_close(&p[i]);
	close(conn);
	tear_down(&f);
}

static void connections_are_held_while_the_receiver_is_away_and_delivered_in_order(void **state)
{
	struct fixture f;
	struct passenger p[5];
	struct parcel got;
	int conn;

	(void)state;
	set_up(&f, false, 10);
	assert_int_equal(f.ups, 0);
	assert_int_equal(f.downs, 1);
	assert_int_equal(f.last_error, -ENOENT);
	for (int i = 0; i < 5; i++) {
		submit(&p[i], &f, HOLD_MS);
		assert_int_equal(p[i].item.state, HANDOFF_ITEM_HELD);
	}
	run_for(f.loop, 250);
	assert_int_equal(f.downs, 1);
	assert_int_equal(counter_get(&f.counts.held_now), 5);
	assert_int_equal(counter_get(&f.counts.away_now), 1);
	assert_int_equal(counter_get(&f.counts.up_now), 0);
	f.listener = unix_listen("s", SOCK_SEQPACKET, 16);
	conn = await_channel(&f);
	for (int i = 0; i < 5; i++) {
		await_parcel(&f, conn, &got);
		assert_is(&got, &p[i]);
		close(got.fd);
		answer(conn, 'A', p[i].item.id);
	}
	run_until_ended(&f, 5);
	assert_int_equal(f.ups, 1);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(p[i].result, HANDOFF_ADOPTED);
		passenger_close(&p[i]);
	}
	close(conn);
	tear_down(&f);
}

static void a_receiver_that_comes_back_unnoticed_is_found_by_the_next_connection(void **state)
{
	struct fixture f;
	struct passenger p;
	struct parcel got;
	int conn;

	(void)state;
	set_up(&f, false, 10);
	f.listener = unix_listen("s", SOCK_SEQPACKET, 16);
	submit(&p, &f, 0); /* with no time to be held */
	conn = await_channel(&f);
	assert_true(receive(conn, &got));
	assert_is(&got, &p);
	close(got.fd);
	close(conn);
	handoff_forget(&p.item);
	passenger_close(&p);
	tear_down(&f);
}

static void a_held_connection_whose_time_is_over_comes_back(void **state)
{
	struct fixture f;
	struct passenger p[3];

	(void)state;
	set_up(&f, false, 10);
	submit(&p[0], &f, HOLD_MS);
	submit(&p[1], &f, 30);
	submit(&p[2], &f, 0);
	run_until_ended(&f, 2);
	assert_int_equal(p[0].calls, 0);
	assert_int_equal(p[1].result, HANDOFF_EXPIRED);
	assert_int_equal(p[2].result, HANDOFF_EXPIRED);
	for (int i = 0; i < 3; i++) {
		handoff_forget(&p[i].item);
		passenger_close(&p[i]);
	}
	assert_true(handoff_is_idle(f.h));
	tear_down(&f);
}

static void a_client_that_gives_up_while_held_comes_back(void **state)
{
	struct fixture f;
	struct passenger p[3];

	(void)state;
	set_up(&f, false, 10);
	for (int i = 0; i < 3; i++)
		submit(&p[i], &f, HOLD_MS);
	/* Bytes alone are no reason. */
	assert_int_equal(write(p[0].client, "x", 1), 1);
	close(p[1].client);
	p[1].client = -1;
	shutdown(p[2].client, SHUT_WR);
	run_until_ended(&f, 2);
	run_for(f.loop, 20);
	assert_int_equal(p[0].calls, 0);
	assert_int_equal(p[1].result, HANDOFF_CLIENT_GONE);
	assert_int_equal(p[2].result, HANDOFF_CLIENT_GONE);
	handoff_forget(&p[0].item);
	for (int i = 0; i < 3; i++)
		passenger_close(&p[i]);
	tear_down(&f);
}

static void a_client_that_had_gone_before_comes_back_too(void **state)
{
	struct fixture f;
	struct passenger p;

	(void)state;
	set_up(&f, false, 10);
	passenger_init(&p, &f, HOLD_MS);
	close(p.client);
	p.client = -1;
	handoff_submit(f.h, &p.item);
	run_until_ended(&f, 1);
	assert_int_equal(p.result, HANDOFF_CLIENT_GONE);
	passenger_close(&p);
	tear_down(&f);
}

static void a_client_that_leaves_after_it_was_sent_is_the_receivers_business(void **state)
{
	struct fixture f;
	struct passenger p;
	struct parcel got;
	int conn;

	(void)state;
	set_up(&f, true, 10);
	conn = await_channel(&f);
	submit(&p, &f, 10);
	await_parcel(&f, conn, &got);
	assert_int_equal(write(p.client, "x", 1), 1);
	close(p.client);
	p.client = -1;
	run_for(f.loop, 50); /* longer than it might be held */
	assert_int_equal(p.calls, 0);
	answer(conn, 'A', p.item.id);
	run_until_ended(&f, 1);
	close(got.fd);
	passenger_close(&p);
	close(conn);
	tear_down(&f);
}

static void no_more_than_max_held_wait(void **state)
{
	struct fixture f;
	struct passenger p[5];

	(void)state;
	set_up(&f, false, 2);
	for (int i = 0; i < 3; i++)
		submit(&p[i], &f, HOLD_MS);
	assert_int_equal(p[0].calls + p[1].calls, 0);
	assert_int_equal(p[2].calls, 1);
	assert_int_equal(p[2].result, HANDOFF_FULL);
	handoff_set_max_held(f.h, 3);
	submit(&p[3], &f, HOLD_MS);
	assert_int_equal(p[3].calls, 0);
	submit(&p[4], &f, HOLD_MS);
	assert_int_equal(p[4].result, HANDOFF_FULL);
	for (int i = 0; i < 5; i++) {
		handoff_forget(&p[i].item);
		passenger_close(&p[i]);
	}
	tear_down(&f);
}

static void without_room_for_any_held_one_is_refused_at_once(void **state)
{
	struct fixture f;
	struct passenger p;

	(void)state;
	set_up(&f, false, 0);
	submit(&p, &f, HOLD_MS);
	assert_int_equal(p.calls, 1);
	assert_int_equal(p.result, HANDOFF_FULL);
	passenger_close(&p);
	tear_down(&f);
}

/* Number of the passenger with the id, which is its place counted from first's. */
static size_t number_of(const struct passenger *first, const uint8_t *id)
{
	uint64_t a = 0, b = 0;

	for (int i = 0; i < CONTROL_ID_LEN; i++) {
		a = a << 8 | first->item.id[i];
		b = b << 8 | id[i];
	}
	return (size_t)(b - a);
}

static void all_are_delivered_once_and_in_order_to_a_receiver_that_is_slow_to_read(void **state)
{
	struct passenger *p = calloc(MANY, sizeof(*p));
	uint8_t verdicts[MANY * CONTROL_RECORD_LEN];
	struct fixture f;
	struct parcel got;
	size_t n = 0, held = 0;
	int conn;

	(void)state;
	assert_non_null(p);
	set_up(&f, true, MANY);
	for (int i = 0; i < MANY; i++)
		submit(&p[i], &f, HOLD_MS);
	conn = await_channel(&f);
	run_for(f.loop, 50);
	for (int i = 0; i < MANY; i++)
		held += p[i].item.state == HANDOFF_ITEM_HELD;
	assert_true(held > 0);
	assert_true(held < MANY);

	for (int round = 0; n < MANY && round < 2000; round++) {
		while (n < MANY && receive(conn, &got)) {
			size_t number = number_of(p, got.header + sizeof(p->header) - CONTROL_ID_LEN);

			assert_int_equal(number, n);
			assert_is(&got, &p[number]);
			close(got.fd);
			verdicts[n * CONTROL_RECORD_LEN] = 'A';
			memcpy(verdicts + n * CONTROL_RECORD_LEN + 1, p[number].item.id, CONTROL_ID_LEN);
			n++;
			if (n % 100 == 0)
				break;
		}
		run_for(f.loop, 2);
	}
	assert_int_equal(n, MANY);
	for (size_t at = 0; at < sizeof(verdicts);) {
		size_t len = sizeof(verdicts) - at < CONTROL_PACKET_MAX ? sizeof(verdicts) - at : CONTROL_PACKET_MAX;

		assert_int_equal(send(conn, verdicts + at, len, 0), (ssize_t)len);
		at += len;
	}
	run_until_ended(&f, MANY);
	assert_false(receive(conn, &got));
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(p[i].calls, 1);
		assert_int_equal(p[i].result, HANDOFF_ADOPTED);
		passenger_close(&p[i]);
	}
	close(conn);
	tear_down(&f);
	free(p);
}

static void after_the_receivers_death_only_those_without_a_verdict_are_sent_again(void **state)
{
	struct fixture f;
	struct passenger p[10];
	struct parcel got;
	int conn;

	(void)state;
	set_up(&f, true, 100);
	conn = await_channel(&f);
	for (int i = 0; i < 10; i++)
		submit(&p[i], &f, HOLD_MS);
	/* Five are read and two of them adopted; then it dies with the other five unread. */
	for (int i = 0; i < 5; i++) {
		assert_true(receive(conn, &got));
		close(got.fd);
	}
	answer(conn, 'A', p[1].item.id);
	answer(conn, 'A', p[3].item.id);
	close(conn);

	conn = await_channel(&f);
	assert_int_equal(f.downs, 1);
	assert_int_equal(f.last_error, 0);
	assert_int_equal(p[1].result, HANDOFF_ADOPTED);
	assert_int_equal(p[3].result, HANDOFF_ADOPTED);
	for (int i = 0; i < 10; i++) {
		if (i == 1 || i == 3)
			continue;
		await_parcel(&f, conn, &got);
		assert_is(&got, &p[i]);
		close(got.fd);
		answer(conn, 'A', p[i].item.id);
	}
	run_until_ended(&f, 10);
	run_for(f.loop, 20);
	assert_false(receive(conn, &got));
	for (int i = 0; i < 10; i++) {
		assert_int_equal(p[i].calls, 1);
		passenger_close(&p[i]);
	}
	close(conn);
	tear_down(&f);
}

static void what_was_sent_is_held_while_a_dead_receiver_is_away(void **state)
{
	struct fixture f;
	struct passenger p[2];
	struct parcel got;
	int conn;

	(void)state;
	set_up(&f, true, 100);
	conn = await_channel(&f);
	submit(&p[0], &f, HOLD_MS);
	submit(&p[1], &f, 100);
	close(conn);
	close(f.listener);
	unlink(dir_path("s"));
	run_until_ended(&f, 1);
	assert_int_equal(p[1].result, HANDOFF_EXPIRED);
	assert_int_equal(p[0].item.state, HANDOFF_ITEM_HELD);
	f.listener = unix_listen("s", SOCK_SEQPACKET, 16);
	conn = await_channel(&f);
	await_parcel(&f, conn, &got);
	assert_is(&got, &p[0]);
	close(got.fd);
	answer(conn, 'A', p[0].item.id);
	run_until_ended(&f, 2);
	for (int i = 0; i < 2; i++)
		passenger_close(&p[i]);
	close(conn);
	tear_down(&f);
}

static void many_verdicts_may_come_in_one_packet(void **state)
{
	static const char verdicts[] = "ANAAN";
	uint8_t packet[6 * CONTROL_RECORD_LEN];
	struct fixture f;
	struct passenger p[5];
	int conn;

	(void)state;
	set_up(&f, true, 100);
	conn = await_channel(&f);
	for (int i = 0; i < 5; i++)
		submit(&p[i], &f, HOLD_MS);
	/* In another order, with one for nobody. */
	for (int i = 0; i < 5; i++) {
		packet[i * CONTROL_RECORD_LEN] = (uint8_t)verdicts[4 - i];
		memcpy(packet + i * CONTROL_RECORD_LEN + 1, p[4 - i].item.id, CONTROL_ID_LEN);
	}
	memset(packet + 5 * CONTROL_RECORD_LEN, 'A', CONTROL_RECORD_LEN);
	assert_int_equal(send(conn, packet, sizeof(packet), 0), (ssize_t)sizeof(packet));
	run_until_ended(&f, 5);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(p[i].result, verdicts[i] == 'A' ? HANDOFF_ADOPTED : HANDOFF_REFUSED);
		passenger_close(&p[i]);
	}
	close(conn);
	tear_down(&f);
}

static void verdicts_for_unknown_ids_are_ignored(void **state)
{
	struct fixture f;
	struct passenger p;
	int conn;

	(void)state;
	set_up(&f, true, 100);
	conn = await_channel(&f);
	submit(&p, &f, HOLD_MS);
	answer(conn, 'A', (const uint8_t *)"unknown!");
	answer(conn, 'N', (const uint8_t *)"unknown!");
	answer(conn, '?', (const uint8_t *)"unknown!");
	run_for(f.loop, 30);
	assert_int_equal(p.calls, 0);
	assert_int_equal(f.downs, 0);
	answer(conn, 'A', p.item.id);
	run_until_ended(&f, 1);
	passenger_close(&p);
	close(conn);
	tear_down(&f);
}

/* The receiver sends these bytes: the channel ends, and what has no verdict is sent again on another one. */
static void ends_the_channel(char verdict, size_t len)
{
	uint8_t packet[2 * CONTROL_PACKET_MAX] = {0};
	struct fixture f;
	struct passenger p;
	struct parcel got;
	int conn;

	set_up(&f, true, 100);
	conn = await_channel(&f);
	submit(&p, &f, HOLD_MS);
	assert_true(receive(conn, &got));
	close(got.fd);
	packet[0] = (uint8_t)verdict;
	memcpy(packet + 1, p.item.id, CONTROL_ID_LEN);
	assert_int_equal(send(conn, packet, len, 0), (ssize_t)len);
	f.changed = false;
	run_until(f.loop, &f.changed);
	assert_int_equal(p.calls, 0);
	assert_eof(conn);
	close(conn);
	conn = await_channel(&f);
	await_parcel(&f, conn, &got);
	assert_is(&got, &p);
	close(got.fd);
	answer(conn, 'A', p.item.id);
	run_until_ended(&f, 1);
	passenger_close(&p);
	close(conn);
	tear_down(&f);
}

static void a_receiver_that_breaks_the_protocol_is_hung_up_on(void **state)
{
	(void)state;
	ends_the_channel('A', 8);
	ends_the_channel('A', 10);
	ends_the_channel('A', CONTROL_PACKET_MAX + 9);
	ends_the_channel('A', CONTROL_PACKET_MAX + 1);
	ends_the_channel('a', 9);
	ends_the_channel('\0', 9);
}

/* Or answers would pile up while new connections keep coming. */
static void answers_in_many_packets_are_read_at_one_event(void **state)
{
	struct passenger p[20];
	struct fixture f;
	int conn;

	(void)state;
	set_up(&f, true, 10);
	conn = await_channel(&f);
	for (int i = 0; i < 20; i++)
		submit(&p[i], &f, 1000);
	for (int i = 0; i < 20; i++) {
		struct parcel parcel;

		assert_true(receive(conn, &parcel));
		close(parcel.fd);
		answer(conn, 'A', p[i].item.id);
	}
	run_for(f.loop, 0); /* a single turn */
	assert_int_equal(f.ended, 20);
	for (int i = 0; i < 20; i++)
		passenger_close(&p[i]);
	close(conn);
	tear_down(&f);
}

static void a_receiver_that_hangs_up_at_once_is_not_called_without_pause(void **state)
{
	struct fixture f;
	struct passenger p;
	int channels = 0;

	(void)state;
	set_up(&f, true, 100);
	submit(&p, &f, HOLD_MS);
	/* As one does that does not accept us: SO_PEERCRED is checked by both sides. */
	for (int i = 0; i < 100; i++) {
		int conn = accept4(f.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (conn >= 0) {
			channels++;
			close(conn);
		}
		run_for(f.loop, 3);
	}
	/* In about 300 ms: a handful, if there is any pause between two of them. */
	assert_in_range(channels, 1, 30);
	assert_int_equal(p.calls, 0);
	handoff_forget(&p.item);
	passenger_close(&p);
	tear_down(&f);
}

static void too_many_descriptors_in_flight_are_waited_for(void **state)
{
	static const int errors[] = {ETOOMANYREFS, ENOMEM, ENOBUFS};
	struct fixture f;
	int conn;

	(void)state;
	set_up(&f, true, 100);
	conn = await_channel(&f);
	run_for(f.loop, 5);
	for (unsigned i = 0; i < 3; i++) {
		struct passenger p;
		struct parcel got;

		fail_calls(CALL_SENDMSG, 0, 2, errors[i]);
		submit(&p, &f, HOLD_MS);
		assert_int_equal(p.item.state, HANDOFF_ITEM_HELD);
		await_parcel(&f, conn, &got);
		assert_is(&got, &p);
		close(got.fd);
		answer(conn, 'A', p.item.id);
		run_until_ended(&f, i + 1);
		passenger_close(&p);
	}
	close(conn);
	tear_down(&f);
}

static void a_packet_that_can_never_be_sent_is_refused(void **state)
{
	struct fixture f;
	struct passenger p;
	int conn;

	(void)state;
	set_up(&f, true, 100);
	conn = await_channel(&f);
	fail_calls(CALL_SENDMSG, 0, 1, EMSGSIZE);
	submit(&p, &f, HOLD_MS);
	assert_int_equal(p.calls, 1);
	assert_int_equal(p.result, HANDOFF_REFUSED);
	assert_true(handoff_is_idle(f.h));
	passenger_close(&p);
	close(conn);
	tear_down(&f);
}

static void a_connection_sent_into_a_channel_that_has_just_ended_is_sent_again(void **state)
{
	struct fixture f;
	struct passenger p;
	struct parcel got;
	int conn;

	(void)state;
	set_up(&f, true, 100);
	conn = await_channel(&f);
	run_for(f.loop, 5);
	close(conn); /* and the loop has not run since */
	submit(&p, &f, HOLD_MS);
	assert_int_equal(p.calls, 0);
	conn = await_channel(&f);
	await_parcel(&f, conn, &got);
	assert_is(&got, &p);
	close(got.fd);
	answer(conn, 'A', p.item.id);
	run_until_ended(&f, 1);
	passenger_close(&p);
	close(conn);
	tear_down(&f);
}

static void what_cannot_be_held_comes_back(void **state)
{
	struct fixture f;
	struct passenger p[2];

	(void)state;
	set_up(&f, false, 100);
	fail_calls(CALL_EPOLL_CTL, 0, 1, ENOMEM);
	submit(&p[0], &f, HOLD_MS);
	assert_int_equal(p[0].calls, 1);
	assert_int_equal(p[0].result, HANDOFF_FULL);
	assert_true(handoff_is_idle(f.h));
	submit(&p[1], &f, HOLD_MS);
	assert_int_equal(p[1].calls, 0);
	handoff_forget(&p[1].item);
	for (int i = 0; i < 2; i++)
		passenger_close(&p[i]);
	tear_down(&f);
}

static void a_forgotten_connection_is_never_called_again(void **state)
{
	struct fixture f;
	struct passenger p[3];
	int conn;

	(void)state;
	set_up(&f, true, 100);
	conn = await_channel(&f);
	submit(&p[0], &f, HOLD_MS);
	submit(&p[1], &f, HOLD_MS);
	passenger_init(&p[2], &f, HOLD_MS);
	p[2].item.handoff = f.h;
	handoff_forget(&p[2].item); /* idle */
	handoff_forget(&p[0].item);
	handoff_forget(&p[0].item);
	answer(conn, 'A', p[0].item.id);
	answer(conn, 'A', p[1].item.id);
	run_until_ended(&f, 1);
	assert_int_equal(p[0].calls, 0);
	for (int i = 0; i < 3; i++)
		passenger_close(&p[i]);
	close(conn);
	tear_down(&f);
}

static void freeing_the_channel_forgets_what_is_left(void **state)
{
	struct fixture f;
	struct passenger sent, held;
	int conn;

	(void)state;
	set_up(&f, true, 100);
	conn = await_channel(&f);
	submit(&sent, &f, HOLD_MS);
	fail_calls(CALL_SENDMSG, 0, 1, EAGAIN);
	submit(&held, &f, HOLD_MS);
	assert_int_equal(sent.item.state, HANDOFF_ITEM_SENT);
	assert_int_equal(held.item.state, HANDOFF_ITEM_HELD);
	handoff_free(f.h);
	f.h = NULL;
	assert_int_equal(sent.item.state, HANDOFF_ITEM_IDLE);
	assert_int_equal(held.item.state, HANDOFF_ITEM_IDLE);
	close(held.client);
	held.client = -1;
	run_for(f.loop, 20);
	assert_int_equal(sent.calls + held.calls, 0);
	passenger_close(&sent);
	passenger_close(&held);
	close(conn);
	tear_down(&f); /* frees NULL */
}

static void ids_are_never_given_twice_and_two_channels_begin_apart(void **state)
{
	uint8_t a[CONTROL_ID_LEN], b[CONTROL_ID_LEN], c[CONTROL_ID_LEN];
	struct fixture f;
	struct handoff *other;

	(void)state;
	set_up(&f, false, 1);
	assert_int_equal(handoff_new(f.loop, &f.path, 1, &f.counts, on_changed, &f, &other), 0);
	handoff_next_id(f.h, a);
	handoff_next_id(other, c);
	assert_memory_not_equal(a, c, CONTROL_ID_LEN);
	for (int i = 0; i < 1000; i++) {
		handoff_next_id(f.h, b);
		assert_memory_not_equal(a, b, CONTROL_ID_LEN);
	}
	handoff_free(other);
	tear_down(&f);
}

static void a_channel_without_memory_or_randomness_is_not_made(void **state)
{
	struct fixture f;
	struct handoff *h = (struct handoff *)state;

	set_up(&f, true, 1);
	fail_calls(CALL_MALLOC, 0, 1, ENOMEM);
	assert_int_equal(handoff_new(f.loop, &f.path, 1, &f.counts, on_changed, &f, &h), -ENOMEM);
	fail_calls(CALL_GETRANDOM, 0, 1, ENOSYS);
	assert_int_equal(handoff_new(f.loop, &f.path, 1, &f.counts, on_changed, &f, &h), -ENOSYS);
	assert_ptr_equal(h, state);
	tear_down(&f);
}

static void a_channel_that_cannot_be_watched_is_tried_again(void **state)
{
	struct fixture f = {.listener = -1};
	int conn;

	(void)state;
	dir_make();
	f.path = dir_endpoint("s");
	f.listener = unix_listen("s", SOCK_SEQPACKET, 16);
	assert_int_equal(loop_new(&f.loop), 0);
	fail_calls(CALL_EPOLL_CTL, 0, 1, ENOSPC);
	assert_int_equal(handoff_new(f.loop, &f.path, 1, &f.counts, on_changed, &f, &f.h), 0);
	assert_int_equal(f.last_error, -ENOSPC);
	conn = accept_one(f.listener);
	assert_eof(conn);
	close(conn);
	f.changed = false;
	run_until(f.loop, &f.changed);
	assert_int_equal(f.last_error, 0);
	conn = await_channel(&f);
	close(conn);
	tear_down(&f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(an_adopted_connection_is_ours_to_close),
		TEST(a_refused_connection_comes_back_once),
		TEST(a_connection_for_later_is_sent_again_as_it_was),
		TEST(connections_are_held_while_the_receiver_is_away_and_delivered_in_order),
		TEST(a_receiver_that_comes_back_unnoticed_is_found_by_the_next_connection),
		TEST(a_held_connection_whose_time_is_over_comes_back),
		TEST(a_client_that_gives_up_while_held_comes_back),
		TEST(a_client_that_had_gone_before_comes_back_too),
		TEST(a_client_that_leaves_after_it_was_sent_is_the_receivers_business),
		TEST(no_more_than_max_held_wait),
		TEST(without_room_for_any_held_one_is_refused_at_once),
		TEST(all_are_delivered_once_and_in_order_to_a_receiver_that_is_slow_to_read),
		TEST(after_the_receivers_death_only_those_without_a_verdict_are_sent_again),
		TEST(what_was_sent_is_held_while_a_dead_receiver_is_away),
		TEST(many_verdicts_may_come_in_one_packet),
		TEST(verdicts_for_unknown_ids_are_ignored),
		TEST(a_receiver_that_breaks_the_protocol_is_hung_up_on),
		TEST(answers_in_many_packets_are_read_at_one_event),
		TEST(a_receiver_that_hangs_up_at_once_is_not_called_without_pause),
		TEST(too_many_descriptors_in_flight_are_waited_for),
		TEST(a_packet_that_can_never_be_sent_is_refused),
		TEST(a_connection_sent_into_a_channel_that_has_just_ended_is_sent_again),
		TEST(what_cannot_be_held_comes_back),
		TEST(a_forgotten_connection_is_never_called_again),
		TEST(freeing_the_channel_forgets_what_is_left),
		TEST(ids_are_never_given_twice_and_two_channels_begin_apart),
		TEST(a_channel_without_memory_or_randomness_is_not_made),
		TEST(a_channel_that_cannot_be_watched_is_tried_again),
	};

	return cmocka_run_group_tests_name("handoff", tests, group_begin, NULL);
}
