#include "options.h"

#include "reader.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef XMPP443_VERSION
#define XMPP443_VERSION "scm"
#endif

#define DEFAULT_FDPASS "/run/prosody/fdpass.sock"
#define FLAG_FIRST     256 /* above every letter: getopt_long(3) returns FLAG_FIRST + the flag's place in the table */
#define FLAGS_MAX      64

const char options_version[] = XMPP443_VERSION;

/* One line a flag. --help is made of it, and the manual page has to tell of each: tests/manual compares them. */
const struct flag option_flags[] = {
	{"config", 'c', "FILE", "read the settings from FILE (" OPTIONS_CONF ")", NULL, NULL},
	{"check", 0, NULL, "only check the settings", NULL, NULL},
	{"listen", 0, "ADDR", "listen here, such as 0.0.0.0:443 or [::]:443; repeatable", "shim", "listen"},
	{"fdpass", 0, "PATH", "the XMPP server's hand-off socket", NULL, NULL},
	{"web", 0, "ADDR", "the web server: 127.0.0.1:8443, [::1]:8443 or unix:/path", "web", "proxy"},
	{"proxy-protocol", 0, "V", "v1, v2 (the default) or none, towards the web server", "web", "proxy-protocol"},
	{"metrics", 0, "ADDR", "serve metrics at this loopback address or unix:/path", "shim", "metrics"},
	{"sandbox", 0, "MODE", "on (the default), off or log", "shim", "sandbox"},
	{"log", 0, "WHAT", "failures, handoffs (the default) or decisions: which connections are logged", "shim", "log"},
	{"user", 0, "NAME", "whom to become if started as root (xmpp443)", "shim", "user"},
	{"group", 0, "NAME", "and which group may write to the hand-off socket (prosody)", "shim", "group"},
	{"log-level", 0, "LEVEL", "error, warning, notice, info (the default) or debug", "shim", "log-level"},
	{"explain", 0, "FILE", "tell what becomes of a recorded ClientHello; - is standard input", NULL, NULL},
	{"version", 0, NULL, "print it", NULL, NULL},
	{"help", 0, NULL, "print this", NULL, NULL},
};
const size_t option_flags_n = sizeof(option_flags) / sizeof(option_flags[0]);

static void print_help(void)
{
	puts("usage: xmpp443-shim [-c FILE]\n"
	     "       xmpp443-shim --listen ADDR... [--fdpass PATH] --web ADDR [--proxy-protocol V]\n"
	     "\n"
	     "XMPP and the web on one port: hands connections that offer the ALPN protocol\n"
	     "xmpp-client to an XMPP server, and relays everything else to a web server.\n");
	for (size_t i = 0; i < option_flags_n; i++) {
		const struct flag *f = &option_flags[i];
		char left[40];

		snprintf(left, sizeof(left), "%c%c%c --%s %s", f->letter ? '-' : ' ', f->letter ? f->letter : ' ',
			 f->letter ? ',' : ' ', f->name, f->value != NULL ? f->value : "");
		printf("  %-24s %s\n", left, f->help);
	}
	puts("\nAddresses are numeric; no name is ever looked up.");
}

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

/* One flag that is a setting, or several; the same checks as for the file. */
static int set_flag(struct options *o, const struct flag *f, const char *value)
{
	struct conf_error err = {.text = "out of memory"};
	int ret = f->key != NULL ? conf_set(o->conf, f->section, f->key, value, &err) : set_fdpass(o->conf, value, &err);

	o->settings = true;
	if (ret < 0)
		fprintf(stderr, "xmpp443-shim: --%s: %s\n", f->name, err.text);
	return ret;
}

/* -1: go on. Else the exit code. */
static int take_flag(struct options *o, const struct flag *f, const char *value)
{
	if (strcmp(f->name, "config") == 0) {
		o->file = value;
	} else if (strcmp(f->name, "check") == 0) {
		o->check = true;
	} else if (strcmp(f->name, "explain") == 0) {
		o->explain = value;
	} else if (strcmp(f->name, "version") == 0) {
		puts("xmpp443-shim " XMPP443_VERSION);
		return EXIT_SUCCESS;
	} else if (strcmp(f->name, "help") == 0) {
		print_help();
		return EXIT_SUCCESS;
	} else if (set_flag(o, f, value) < 0) {
		return EXIT_USAGE;
	}
	return -1;
}

/* The flag that getopt_long(3) found, or NULL. */
static const struct flag *find_flag(int found)
{
	if (found >= FLAG_FIRST)
		return &option_flags[found - FLAG_FIRST];
	for (size_t i = 0; i < option_flags_n; i++)
		if (option_flags[i].letter == found)
			return &option_flags[i];
	return NULL;
}

/* getopt's own form of the table. letters has room for three characters a flag and the end. */
static void list_flags(struct option *longs, char *letters)
{
	for (size_t i = 0; i < option_flags_n; i++) {
		const struct flag *f = &option_flags[i];

		longs[i] = (struct option){
			.name = f->name,
			.has_arg = f->value != NULL ? required_argument : no_argument,
			.val = FLAG_FIRST + (int)i,
		};
		if (f->letter == 0)
			continue;
		*letters++ = f->letter;
		if (f->value != NULL)
			*letters++ = ':';
	}
	longs[option_flags_n] = (struct option){0};
	*letters = '\0';
}

int options_parse(int argc, char **argv, struct options *o)
{
	static_assert(sizeof(option_flags) / sizeof(option_flags[0]) < FLAGS_MAX, "FLAGS_MAX is too small");
	struct option longs[FLAGS_MAX];
	char letters[2 * FLAGS_MAX + 1];
	struct conf_error err;
	int opt, ret;

	list_flags(longs, letters);
	while ((opt = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
		const struct flag *f = find_flag(opt);

		if (f == NULL) {
			fputs("Try 'xmpp443-shim --help'.\n", stderr);
			return EXIT_USAGE;
		}
		ret = take_flag(o, f, optarg);
		if (ret >= 0)
			return ret;
	}
	if (optind < argc) {
		fprintf(stderr, "xmpp443-shim: '%s' is not an option\n", argv[optind]);
		return EXIT_USAGE;
	}
	if (o->file != NULL && o->settings) {
		fputs("xmpp443-shim: settings come either from a file (-c) or from flags, not from both\n", stderr);
		return EXIT_USAGE;
	}
	if (o->file != NULL || o->settings)
		return -1;
	/* --explain has an answer without any settings too. */
	if (o->explain == NULL || access(OPTIONS_CONF, R_OK) == 0)
		o->file = OPTIONS_CONF;
	else if (set_fdpass(o->conf, DEFAULT_FDPASS, &err) < 0)
		return EXIT_SYSTEM;
	return -1;
}

int options_load(const char *file, int reader, bool passed, struct conf **ret, char *message, size_t size)
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
