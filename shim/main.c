#include "conf.h"
#include "explain.h"
#include "log.h"
#include "notify.h"
#include "options.h"
#include "reader.h"
#include "sandbox.h"
#include "server.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PASSED_FIRST 3 /* sd_listen_fds(3) */

/* Reads the file anew, through the reader unless that is -1. The message names file, line and reason. */
static int load(const char *file, int reader, bool passed, struct conf **ret, char *message, size_t size)
{
	struct conf *c = conf_new();
	struct conf_error err = {.text = "out of memory"};
	int r = -ENOMEM;

	if (c != NULL)
		r = reader < 0 ? conf_read(c, file, &err) : conf_read_fd(c, reader_open(reader), &err);
	if (r == 0)
		r = conf_check(c, passed, &err);
	if (r == 0) {
		*ret = c;
		return 0;
	}
	conf_unref(c);
	if (err.line > 0)
		snprintf(message, size, "%s:%u: %s", file, err.line, err.text);
	else
		snprintf(message, size, "%s: %s", file, err.text);
	return r;
}

static void reload(struct server *s, const char *file, int reader, enum sandbox_mode sandbox)
{
	char message[512];
	struct conf *c;
	int ret;

	notify_reloading();
	if (file == NULL) {
		log_line(LOG_LEVEL_WARNING, "event=reload-failed error=\"the settings came from flags; there is no file to read\"");
	} else if (load(file, reader, true, &c, message, sizeof(message)) != 0) {
		log_line(LOG_LEVEL_ERROR, "event=reload-failed error=\"%s; the old settings stay\"", message);
	} else {
		ret = server_reload(s, c);
		if (ret == 0) {
			log_set_level(c->log_level);
			if (c->sandbox != sandbox)
				log_line(LOG_LEVEL_WARNING, "event=reload-partial error=\"a change of sandbox needs a restart\"");
			log_line(LOG_LEVEL_INFO, "event=reloaded");
		} else {
			log_line(LOG_LEVEL_ERROR, "event=reload-failed error=\"%s; the old settings stay\"", strerror(-ret));
		}
		conf_unref(c);
	}
	notify_send("READY=1");
}

/* Gives up what is not needed any more; *ret_reader still opens the settings' file, or is -1. */
static int confine(const struct options *o, int *ret_reader)
{
	enum sandbox_mode mode = o->conf->sandbox;
	int landlock = 0, err = 0;

	if (mode != SANDBOX_OFF && o->file != NULL)
		err = reader_start(o->file, mode, ret_reader);
	if (err == 0)
		err = sandbox_daemon(mode, &landlock);
	if (err < 0)
		log_line(LOG_LEVEL_ERROR, "event=sandbox-failed error=\"%s; sandbox = off does without\"", strerror(-err));
	else if (mode != SANDBOX_OFF)
		log_line(LOG_LEVEL_INFO, "event=sandbox mode=%s landlock=%d", mode == SANDBOX_ON ? "on" : "log", landlock);
	return err;
}

static int serve(const struct options *o, int passed)
{
	struct server *s = NULL;
	sigset_t set;
	int reader = -1, err, sig;

	/* Before any thread starts, so that all of them inherit it. */
	signal(SIGPIPE, SIG_IGN); /* splice(2) has no MSG_NOSIGNAL */
	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);

	log_init(o->conf->log_level);
	err = server_new(o->conf, PASSED_FIRST, passed, &s);
	if (err == 0)
		err = confine(o, &reader);
	if (err == 0)
		err = server_start(s);
	if (err < 0) {
		server_stop(s);
		return EXIT_SYSTEM;
	}
	err = notify_send("READY=1");
	if (err < 0)
		log_line(LOG_LEVEL_WARNING, "event=notify-failed error=\"%s\"", strerror(-err));

	while (sigwait(&set, &sig) != 0 || sig == SIGHUP)
		if (sig == SIGHUP)
			reload(s, o->file, reader, o->conf->sandbox);

	notify_send("STOPPING=1");
	server_stop(s);
	if (reader >= 0)
		close(reader);
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct options o = {.conf = conf_new()};
	struct conf_error err;
	char message[512];
	int passed, ret;

	if (o.conf == NULL) {
		fputs("xmpp443-shim: out of memory\n", stderr);
		return EXIT_SYSTEM;
	}
	ret = options_parse(argc, argv, &o);
	if (ret >= 0)
		goto out;

	passed = notify_listen_fds();
	if (o.file != NULL) {
		struct conf *from_file = NULL;

		if (load(o.file, -1, passed > 0 || o.check || o.explain != NULL, &from_file, message, sizeof(message)) != 0) {
			fprintf(stderr, "xmpp443-shim: %s\n", message);
			ret = EXIT_USAGE;
			goto out;
		}
		conf_unref(o.conf);
		o.conf = from_file;
	} else if (o.explain == NULL && conf_check(o.conf, passed > 0, &err) < 0) {
		fprintf(stderr, "xmpp443-shim: %s\n", err.text);
		ret = EXIT_USAGE;
		goto out;
	}

	if (o.explain != NULL) {
		int failed = explain(o.conf, o.explain);

		if (failed < 0)
			fprintf(stderr, "xmpp443-shim: %s: %s\n", o.explain, strerror(-failed));
		ret = failed < 0 ? EXIT_USAGE : EXIT_SUCCESS;
	} else if (o.check) {
		puts("the settings are valid");
		if (o.conf->n_listen == 0)
			puts("note: there is no listen; the service manager has to pass the sockets");
		ret = EXIT_SUCCESS;
	} else {
		ret = serve(&o, passed);
	}
out:
	conf_unref(o.conf);
	return ret;
}
