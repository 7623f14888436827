#ifndef XMPP443_CHECK_OPTIONS_H
#define XMPP443_CHECK_OPTIONS_H

/* options: the command line. */

#include "domain.h"

#include <stdbool.h>
#include <stdint.h>

#define OPTIONS_LOGS_MAX 8

struct options {
	struct domain domain;
	const char *resolver;      /* NULL: the system's */
	const char *trust_anchor;
	const char *ca_file;
	char connect_host[256];    /* "": look for SRV records */
	uint16_t connect_port;
	int timeout_ms;            /* of each step */
	bool v4, v6;               /* which addresses to try */
	bool json;
	bool local;
	const char *config;        /* the shim's, for --local */
	const char *prosodyctl_config; /* NULL: prosodyctl's own */
	const char *logs[OPTIONS_LOGS_MAX]; /* of the web server, for --local */
	unsigned n_logs;
};

/*
 * -1: go on with *ret. Else the exit code of a program that has said all there
 * is to say, on the right stream.
 */
int options_read(int argc, char **argv, struct options *ret);

#endif
