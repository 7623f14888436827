#include "channels.h"

#include "list.h"
#include "log.h"
#include "support.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct fixture {
	struct conf *conf;
	struct channels channels;
	int receiver;
	int log, saved; /* a file, and what standard error was */
};

static void set_up(struct fixture *f)
{
	struct conf_error err;

	*f = (struct fixture){.conf = conf_new()};
	assert_non_null(f->conf);
	dir_make();
	f->receiver = unix_listen("s", SOCK_SEQPACKET, 4);
	assert_int_equal(conf_set(f->conf, "route x", "fdpass", dir_path("s"), &err), 0);
	assert_int_equal(loop_new(&f->channels.loop), 0);
	f->log = open(dir_path("log"), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	assert_true(f->log >= 0);
	f->saved = dup(STDERR_FILENO);
	assert_true(f->saved >= 0);
	log_init(LOG_LEVEL_INFO);
	assert_int_equal(dup2(f->log, STDERR_FILENO), STDERR_FILENO);
}

static void tear_down(struct fixture *f)
{
	channels_close(&f->channels);
	loop_free(f->channels.loop);
	conf_unref(f->conf);
	close(f->receiver);
	assert_int_equal(dup2(f->saved, STDERR_FILENO), STDERR_FILENO);
	close(f->saved);
	close(f->log);
	unlink(dir_path("log"));
	dir_remove();
}

/* How often the log has that so far. */
static int logged(const struct fixture *f, const char *text)
{
	static char buf[65536];
	ssize_t n = pread(f->log, buf, sizeof(buf) - 1, 0);
	int count = 0;

	assert_true(n >= 0);
	buf[n] = '\0';
	for (const char *p = buf; (p = strstr(p, text)) != NULL; p++)
		count++;
	return count;
}

static void a_channel_is_told_about_when_it_comes_and_when_it_goes(void **state)
{
	struct fixture f;
	int fd;

	(void)state;
	set_up(&f);
	channels_use_conf(&f.channels, f.conf);
	assert_int_equal(logged(&f, "event=receiver-up worker=0 receiver=unix:"), 1);
	run_for(f.channels.loop, 150); /* so that it is called again at once */
	fd = accept_one(f.receiver);
	close(fd);

	run_for(f.channels.loop, 50);
	assert_int_equal(logged(&f, "event=receiver-away"), 1);
	assert_int_equal(logged(&f, "event=receiver-up"), 2);
	tear_down(&f);
}

static void a_receiver_that_keeps_hanging_up_does_not_fill_the_log(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	channels_use_conf(&f.channels, f.conf);
	for (int i = 0; i < 10; i++) {
		run_for(f.channels.loop, 110);
		close(accept_one(f.receiver));
		run_for(f.channels.loop, 10);
	}
	assert_int_equal(logged(&f, "event=receiver-up"), 2);
	assert_int_equal(logged(&f, "event=receiver-away"), 2);
	assert_int_equal(logged(&f, "event=receiver-unsteady"), 1);
	run_for(f.channels.loop, 110);

	/* The minute is over: how it is now, if that is something else. */
	assert_int_not_equal(f.channels.minute.place, 0);
	assert_int_equal(handoff_state(f.channels.v[0].handoff), 0);
	loop_timer_set(f.channels.loop, &f.channels.minute, 0);
	run_for(f.channels.loop, 10);
	assert_int_equal(logged(&f, "event=receiver-up"), 3);
	assert_int_equal(f.channels.minute.place, 0);

	/* And a new one begins. */
	close(accept_one(f.receiver));
	run_for(f.channels.loop, 20);
	assert_int_equal(logged(&f, "event=receiver-away"), 3);
	tear_down(&f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_channel_is_told_about_when_it_comes_and_when_it_goes),
		TEST(a_receiver_that_keeps_hanging_up_does_not_fill_the_log),
	};

	return cmocka_run_group_tests_name("channels", tests, group_begin, NULL);
}
