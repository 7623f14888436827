#include "conf.h"
#include "explain.h"
#include "log.h"
#include "notify.h"
#include "server.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef XMPP443_VERSION
#define XMPP443_VERSION "scm"
#endif

#define DEFAULT_CONF "/etc/xmpp443/shim.conf"
#define DEFAULT_FDPASS "/run/prosody/fdpass.sock"
#define PASSED_FIRST 3 /* sd_listen_fds(3) */

/* Exit codes: 1 for what the user can mend in the configuration or the command line, 2 for the rest. */
#define EXIT_USAGE 1
#define EXIT_SYSTEM 2

struct options {
	const char *file;    /* NULL: all settings come from flags */
	const char *explain;
	bool check;
	bool settings;       /* some came from flags */
	struct conf *conf;   /* holds them */
};

static void print_help(void)
{
	puts("usage: xmpp443-shim [-c FILE]\n"
	     "       xmpp443-shim --listen ADDR... [--fdpass PATH] --web ADDR [--proxy-protocol V]\n"
	     "\n"
	     "XMPP and the web on one port: hands connections that offer the ALPN protocol\n"
	     "xmpp-client to an XMPP server, and relays everything else to a web server.\n"
	     "\n"
	     "  -c, --config FILE     read the settings from FILE (" DEFAULT_CONF ")\n"
	     "      --check           only check the settings\n"
	     "      --listen ADDR     listen here, such as 0.0.0.0:443 or [::]:443; repeatable\n"
	     "      --fdpass PATH     the XMPP server's hand-off socket\n"
	     "      --web ADDR        the web server: 127.0.0.1:8443, [::1]:8443 or unix:/path\n"
	     "      --proxy-protocol V  v1, v2 (the default) or none, towards the web server\n"
	     "      --log-level L     error, warning, notice, info (the default) or debug\n"
	     "      --explain FILE    tell what becomes of a recorded ClientHello; - is standard input\n"
	     "      --version, --help\n"
	     "\n"
	     "Addresses are numeric; no name is ever looked up.");
}

enum {
	OPT_CHECK = 256,
	OPT_LISTEN,
	OPT_FDPASS,
	OPT_WEB,
	OPT_PROXY_PROTOCOL,
	OPT_LOG_LEVEL,
	OPT_EXPLAIN,
	OPT_VERSION,
	OPT_HELP,
};

static const struct option long_options[] = {
	{"config", required_argument, NULL, 'c'},
	{"check", no_argument, NULL, OPT_CHECK},
	{"listen", required_argument, NULL, OPT_LISTEN},
	{"fdpass", required_argument, NULL, OPT_FDPASS},
	{"web", required_argument, NULL, OPT_WEB},
	{"proxy-protocol", required_argument, NULL, OPT_PROXY_PROTOCOL},
	{"log-level", required_argument, NULL, OPT_LOG_LEVEL},
	{"explain", required_argument, NULL, OPT_EXPLAIN},
	{"version", no_argument, NULL, OPT_VERSION},
	{"help", no_argument, NULL, OPT_HELP},
	{0},
};

static int set_fdpass(struct conf *c, const char *path, struct conf_error *err)
{
	int ret = conf_set(c, "route xmpp-client", "alpn", "xmpp-client", err);

	if (ret == 0)
		ret = conf_set(c, "route xmpp-client", "fdpass", path, err);
	if (ret == 0)
		ret = conf_set(c, "route xmpp-server", "alpn", "xmpp-server", err);
	if (ret == 0)
		ret = conf_set(c, "route xmpp-server", "fdpass", path, err);
	return ret;
}

/* One flag that is a setting; the same checks as for the file. */
static int set_flag(struct options *o, int opt, const char *value)
{
	struct conf_error err = {.text = "out of memory"};
	int ret = 0;

	o->settings = true;
	if (opt == OPT_LISTEN)
		ret = conf_set(o->conf, "shim", "listen", value, &err);
	else if (opt == OPT_FDPASS)
		ret = set_fdpass(o->conf, value, &err);
	else if (opt == OPT_WEB)
		ret = conf_set(o->conf, "web", "proxy", value, &err);
	else if (opt == OPT_PROXY_PROTOCOL)
		ret = conf_set(o->conf, "web", "proxy-protocol", value, &err);
	else if (opt == OPT_LOG_LEVEL)
		ret = conf_set(o->conf, "shim", "log-level", value, &err);
	if (ret < 0) {
		for (const struct option *l = long_options; l->name != NULL; l++)
			if (l->val == opt)
				fprintf(stderr, "xmpp443-shim: --%s: %s\n", l->name, err.text);
	}
	return ret;
}

/* -1: go on. Else the exit code. */
static int parse_options(int argc, char **argv, struct options *o)
{
	int opt;

	while ((opt = getopt_long(argc, argv, "c:", long_options, NULL)) != -1) {
		switch (opt) {
		case 'c':
			o->file = optarg;
			break;
		case OPT_CHECK:
			o->check = true;
			break;
		case OPT_EXPLAIN:
			o->explain = optarg;
			break;
		case OPT_VERSION:
			puts("xmpp443-shim " XMPP443_VERSION);
			return EXIT_SUCCESS;
		case OPT_HELP:
			print_help();
			return EXIT_SUCCESS;
		case '?':
			fputs("Try 'xmpp443-shim --help'.\n", stderr);
			return EXIT_USAGE;
		default:
			if (set_flag(o, opt, optarg) < 0)
				return EXIT_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "xmpp443-shim: '%s' is not an option\n", argv[optind]);
		return EXIT_USAGE;
	}
	if (o->file != NULL && o->settings) {
		fputs("xmpp443-shim: settings come either from a file (-c) or from flags, not from both\n", stderr);
		return EXIT_USAGE;
	}
	if (o->file == NULL && !o->settings && o->explain == NULL)
		o->file = DEFAULT_CONF;
	return -1;
}

/* Reads the file anew. The message names file, line and reason. */
static int load(const char *file, bool passed, struct conf **ret, char *message, size_t size)
{
	struct conf *c = conf_new();
	struct conf_error err = {.text = "out of memory"};
	int r = c == NULL ? -ENOMEM : conf_read(c, file, &err);

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

static void reload(struct server *s, const char *file)
{
	char message[512];
	struct conf *c;
	int ret;

	notify_reloading();
	if (file == NULL) {
		log_line(LOG_LEVEL_WARNING, "event=reload-failed error=\"the settings came from flags; there is no file to read\"");
	} else if (load(file, true, &c, message, sizeof(message)) != 0) {
		log_line(LOG_LEVEL_ERROR, "event=reload-failed error=\"%s; the old settings stay\"", message);
	} else {
		ret = server_reload(s, c);
		if (ret == 0) {
			log_set_level(c->log_level);
			log_line(LOG_LEVEL_INFO, "event=reloaded");
		} else {
			log_line(LOG_LEVEL_ERROR, "event=reload-failed error=\"%s; the old settings stay\"", strerror(-ret));
		}
		conf_unref(c);
	}
	notify_send("READY=1");
}

static int serve(const struct options *o, int passed)
{
	struct server *s = NULL;
	sigset_t set;
	int err, sig;

	/* Before any thread starts, so that all of them inherit it. */
	signal(SIGPIPE, SIG_IGN); /* splice(2) has no MSG_NOSIGNAL */
	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);

	log_init(o->conf->log_level);
	err = server_new(o->conf, PASSED_FIRST, passed, &s);
	if (err < 0)
		return EXIT_SYSTEM;
	err = notify_send("READY=1");
	if (err < 0)
		log_line(LOG_LEVEL_WARNING, "event=notify-failed error=\"%s\"", strerror(-err));

	while (sigwait(&set, &sig) != 0 || sig == SIGHUP)
		if (sig == SIGHUP)
			reload(s, o->file);

	notify_send("STOPPING=1");
	server_stop(s);
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
	ret = parse_options(argc, argv, &o);
	if (ret >= 0)
		goto out;

	if (o.explain != NULL && o.file == NULL && !o.settings) {
		if (access(DEFAULT_CONF, R_OK) == 0)
			o.file = DEFAULT_CONF;
		else
			set_fdpass(o.conf, DEFAULT_FDPASS, &err);
	}
	passed = notify_listen_fds();
	if (o.file != NULL) {
		struct conf *from_file = NULL;

		if (load(o.file, passed > 0 || o.check || o.explain != NULL, &from_file, message, sizeof(message)) != 0) {
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
