#include "serve.h"

#include "list.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"
#include "notify.h"
#include "privs.h"
#include "proc.h"
#include "reader.h"
#include "sandbox.h"
#include "scrape.h"
#include "server.h"
#include "watchdog.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/un.h>
#include <unistd.h>

#define TELL_MS 10000

struct daemon {
	const struct options *o;
	struct loop *loop;
	struct loop_watch signals;
	struct loop_timer watchdog;
	unsigned watchdog_ms;         /* how often the service manager is told that we live; 0: never */
	struct server *server;
	struct scrape *scrape;
	struct addr_endpoint metrics; /* where they are served; len 0: nowhere */
	struct proc proc;
	uint64_t reloads, failed_reloads;
	struct loop_timer tell;       /* what was left out of the log */
	bool confined;
	int reader;                   /* opens the settings' file; -1 */
};

static void use_log(const struct conf *c)
{
	log_set_level(c->log_level);
	log_set_connections(c->log_about, c->log_rate);
}

static void on_tell(struct loop_timer *t)
{
	struct daemon *d = container_of(t, struct daemon, tell);

	log_tell_left_out();
	loop_timer_set(d->loop, t, TELL_MS);
}

static void write_metrics(void *arg, FILE *out, bool openmetrics)
{
	const struct daemon *d = arg;
	struct metrics m = {
		.version = options_version,
		.reloads = d->reloads,
		.failed_reloads = d->failed_reloads,
		.log_lines_left_out = log_left_out(),
	};

	server_count(d->server, &m);
	proc_read(&d->proc, &m.proc);
	metrics_write(&m, out, openmetrics);
}

/* Opens the address at which metrics are to be served; *ret_fd is -1 if that is nowhere, or where they are served already. */
static int open_metrics(const struct daemon *d, const struct addr_endpoint *e, int *ret_fd)
{
	char text[ADDR_ENDPOINT_TEXT_MAX];
	int err;

	*ret_fd = -1;
	if (e->len == 0 || (d->metrics.len != 0 && addr_endpoint_equal(e, &d->metrics)))
		return 0;
	err = scrape_open(e, ret_fd);
	if (err < 0)
		log_line(LOG_LEVEL_ERROR, "event=metrics-failed address=%s error=\"%s%s\"", addr_endpoint_text(e, text), strerror(-err),
			 d->confined && e->u.sa.sa_family == AF_UNIX ? "; a socket in another directory than at the start needs a restart"
								     : "");
	return err;
}

/* fd is from open_metrics() with e. */
static void use_metrics(struct daemon *d, const struct addr_endpoint *e, int fd)
{
	char text[ADDR_ENDPOINT_TEXT_MAX];

	if (e->len != 0 && fd < 0) /* where they are already */
		return;
	scrape_use(d->scrape, fd, e);
	d->metrics = *e;
	if (fd >= 0)
		log_line(LOG_LEVEL_INFO, "event=metrics address=%s", addr_endpoint_text(e, text));
}

/* Goes over to new settings, or to none of them. */
static int use_conf(struct daemon *d, struct conf *c)
{
	int fd, err = open_metrics(d, &c->metrics, &fd);

	if (err < 0)
		return err;
	err = server_reload(d->server, c);
	if (err < 0) {
		if (fd >= 0)
			scrape_discard(&c->metrics, fd);
		return err;
	}
	use_metrics(d, &c->metrics, fd);
	use_log(c);
	return 0;
}

static int load_and_use(struct daemon *d)
{
	char message[512];
	struct conf *c;
	int err;

	if (d->o->file == NULL) {
		log_line(LOG_LEVEL_WARNING, "event=reload-failed error=\"the settings came from flags; there is no file to read\"");
		return -ENOENT;
	}
	err = options_load(d->o->file, d->reader, true, &c, message, sizeof(message));
	if (err < 0) {
		log_line(LOG_LEVEL_ERROR, "event=reload-failed error=\"%s; the old settings stay\"", message);
		return err;
	}
	err = use_conf(d, c);
	if (err < 0)
		log_line(LOG_LEVEL_ERROR, "event=reload-failed error=\"%s; the old settings stay\"", strerror(-err));
	else if (c->sandbox != d->o->conf->sandbox)
		log_line(LOG_LEVEL_WARNING, "event=reload-partial error=\"a change of sandbox needs a restart\"");
	conf_unref(c);
	return err;
}

static void reload(struct daemon *d)
{
	notify_reloading();
	if (load_and_use(d) == 0) {
		d->reloads++;
		log_line(LOG_LEVEL_INFO, "event=reloaded");
	} else {
		d->failed_reloads++;
	}
	notify_send("READY=1");
}

static void on_signal(struct loop_watch *w, uint32_t events)
{
	struct daemon *d = container_of(w, struct daemon, signals);
	struct signalfd_siginfo info;

	(void)events;
	if (read(w->fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGHUP)
		reload(d);
	else
		loop_stop(d->loop);
}

static void on_watchdog(struct loop_timer *t)
{
	struct daemon *d = container_of(t, struct daemon, watchdog);

	if (server_alive(d->server))
		notify_send("WATCHDOG=1");
	loop_timer_set(d->loop, t, d->watchdog_ms);
}

/* Before any thread starts, so that all of them inherit it. */
static int take_signals(struct daemon *d)
{
	sigset_t set;
	int err;

	signal(SIGPIPE, SIG_IGN); /* splice(2) has no MSG_NOSIGNAL */
	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	err = loop_new(&d->loop);
	if (err < 0)
		return err;
	d->signals.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return d->signals.fd < 0 ? -errno : loop_add(d->loop, &d->signals, EPOLLIN);
}

/* The directory of the metrics' Unix socket, if there is one. Else NULL. buf has room for a path. */
static const char *metrics_dir(const struct daemon *d, char *buf)
{
	const char *path = d->metrics.u.un.sun_path;

	if (d->metrics.len == 0 || d->metrics.u.sa.sa_family != AF_UNIX)
		return NULL;
	memcpy(buf, path, strlen(path) + 1);
	strrchr(buf, '/')[1] = '\0';
	return buf;
}

/* Whom to become; needed only by root. What is wrong with it was logged. */
static int find_user(const struct conf *c, struct privs *p)
{
	int err = privs_find_user(c->user, p);

	if (err == -ENOENT)
		log_line(LOG_LEVEL_ERROR, "event=start-failed error=\"started as root, and there is no user %s to become; make it, or "
			 "name another with user =\"", c->user);
	else if (err == -EPERM)
		log_line(LOG_LEVEL_ERROR, "event=start-failed error=\"user = %s is root, who has more rights than it takes\"", c->user);
	else if (err < 0)
		log_line(LOG_LEVEL_ERROR, "event=start-failed error=\"looking up user %s: %s\"", c->user, strerror(-err));
	else if (privs_find_group(c->group, p) < 0)
		log_line(LOG_LEVEL_WARNING, "event=group-missing group=%s", c->group);
	return err;
}

static int become(const struct privs *p)
{
	int err = privs_drop(p);

	if (err < 0)
		log_line(LOG_LEVEL_ERROR, "event=start-failed error=\"giving up root: %s\"", strerror(-err));
	return err;
}

/* Gives up what is not needed any more; the reader still opens the settings' file. */
static int confine(struct daemon *d)
{
	enum sandbox_mode mode = d->o->conf->sandbox;
	char dir[sizeof(d->metrics.u.un.sun_path) + 1];
	int landlock = 0, err = 0;

	if (mode != SANDBOX_OFF && d->o->file != NULL)
		err = reader_start(d->o->file, mode, &d->reader);
	if (err == 0)
		err = sandbox_daemon(mode, metrics_dir(d, dir), &landlock);
	if (err < 0)
		log_line(LOG_LEVEL_ERROR, "event=sandbox-failed error=\"%s; sandbox = off does without\"", strerror(-err));
	else if (mode != SANDBOX_OFF)
		log_line(LOG_LEVEL_INFO, "event=sandbox mode=%s landlock=%d", mode == SANDBOX_ON ? "on" : "log", landlock);
	d->confined = mode == SANDBOX_ON;
	return err;
}

/* What needs files or rights that are given up then; after it connections and scrapes queue up. */
static int open_all(struct daemon *d, int n_passed, const char *names)
{
	struct conf *c = d->o->conf;
	int fd, err = take_signals(d);

	if (err == 0)
		err = scrape_new(d->loop, write_metrics, d, &d->scrape);
	if (err < 0) {
		log_line(LOG_LEVEL_ERROR, "event=start-failed error=\"%s\"", strerror(-err));
		return err;
	}
	proc_open(&d->proc);
	err = server_new(c, NOTIFY_FDS_START, n_passed, names, &d->server);
	if (err == 0)
		err = open_metrics(d, &c->metrics, &fd);
	if (err == 0)
		use_metrics(d, &c->metrics, fd);
	return err;
}

static void close_all(struct daemon *d)
{
	scrape_free(d->scrape);
	server_stop(d->server);
	proc_close(&d->proc);
	if (d->signals.fd >= 0)
		close(d->signals.fd);
	loop_free(d->loop);
	if (d->reader >= 0)
		close(d->reader);
}

int serve(const struct options *o, int n_passed, const char *names)
{
	struct daemon d = {
		.o = o,
		.signals = {.fd = -1, .ready = on_signal},
		.watchdog = {.expired = on_watchdog},
		.proc = {.fds_fd = -1, .statm_fd = -1},
		.tell = {.expired = on_tell},
		.reader = -1,
	};
	struct privs privs = {0};
	bool root = geteuid() == 0;
	int err;

	log_init(o->conf->log_level);
	use_log(o->conf);
	if (root && find_user(o->conf, &privs) < 0)
		return EXIT_USAGE;
	err = open_all(&d, n_passed, names);
	if (err == 0 && root)
		err = become(&privs);
	if (err == 0)
		err = confine(&d);
	if (err == 0)
		err = server_start(d.server);
	if (err < 0) {
		close_all(&d);
		return EXIT_SYSTEM;
	}
	err = notify_send("READY=1");
	if (err < 0)
		log_line(LOG_LEVEL_WARNING, "event=notify-failed error=\"%s\"", strerror(-err));

	d.watchdog_ms = watchdog_interval_ms();
	if (d.watchdog_ms > 0)
		on_watchdog(&d.watchdog);
	loop_timer_set(d.loop, &d.tell, TELL_MS);
	err = loop_run(d.loop);
	if (err < 0)
		log_line(LOG_LEVEL_ERROR, "event=stopping error=\"%s\"", strerror(-err));
	notify_send("STOPPING=1");
	close_all(&d);
	log_tell_left_out();
	return err < 0 ? EXIT_SYSTEM : EXIT_SUCCESS;
}
