#ifndef XMPP443_OPTIONS_H
#define XMPP443_OPTIONS_H

/*
 * options: the command line. What is wrong with it is told on standard error,
 * as nothing is running yet that could log.
 */

#include "conf.h"

#include <stdbool.h>
#include <stddef.h>

#define OPTIONS_CONF "/etc/xmpp443/shim.conf"

/* Exit codes: 1 for what the user can mend in the configuration or the command line, 2 for the rest. */
#define EXIT_USAGE  1
#define EXIT_SYSTEM 2

struct options {
	const char *file;    /* NULL: all settings come from flags */
	const char *explain; /* a file, or "-" */
	bool check;
	bool settings;       /* some came from flags */
	struct conf *conf;   /* holds them; belongs to the caller */
};

extern const char options_version[];

/* All that is known of a flag. One that is a setting has a key; what one without does stands in options.c. */
struct flag {
	const char *name;
	char letter;         /* its short form, or 0 */
	const char *value;   /* what it takes, as --help and the manual put it; NULL: nothing */
	const char *help;
	const char *section, *key;
};

extern const struct flag option_flags[];
extern const size_t option_flags_n;

/*
 * Reads the command line. o->conf is there, with the defaults. -1: go on.
 * Otherwise the exit code; what was asked for, or what is wrong, was printed.
 */
int options_parse(int argc, char **argv, struct options *o);

/*
 * Reads a file of settings, by way of reader_open() unless reader is -1; with
 * passed sockets of the service manager's it needs no listen. 0, or a negative
 * errno, and message tells file, line and reason.
 */
int options_load(const char *file, int reader, bool passed, struct conf **ret, char *message, size_t size);

#endif
