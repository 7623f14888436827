#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef XMPP443_VERSION
#define XMPP443_VERSION "scm"
#endif

#define EXIT_TROUBLE 2
#define TIMEOUT_MAX 300

enum {
	OPT_RESOLVER = 256,
	OPT_TRUST_ANCHOR,
	OPT_CA_FILE,
	OPT_CONNECT,
	OPT_TIMEOUT,
	OPT_JSON,
	OPT_LOCAL,
	OPT_PROSODY_CONFIG,
	OPT_WEB_LOG,
	OPT_VERSION,
	OPT_HELP,
};

static const struct option long_options[] = {
	{"config", required_argument, NULL, 'c'},
	{"resolver", required_argument, NULL, OPT_RESOLVER},
	{"trust-anchor", required_argument, NULL, OPT_TRUST_ANCHOR},
	{"ca-file", required_argument, NULL, OPT_CA_FILE},
	{"connect", required_argument, NULL, OPT_CONNECT},
	{"timeout", required_argument, NULL, OPT_TIMEOUT},
	{"json", no_argument, NULL, OPT_JSON},
	{"local", no_argument, NULL, OPT_LOCAL},
	{"prosody-config", required_argument, NULL, OPT_PROSODY_CONFIG},
	{"web-log", required_argument, NULL, OPT_WEB_LOG},
	{"version", no_argument, NULL, OPT_VERSION},
	{"help", no_argument, NULL, OPT_HELP},
	{0},
};

static void print_help(void)
{
	puts("usage: xmpp443-check [OPTION...] DOMAIN\n"
	     "       xmpp443-check --local [-c FILE] [OPTION...] DOMAIN\n"
	     "\n"
	     "Tells what XMPP clients and browsers get on port 443 of DOMAIN, and what to change.\n"
	     "\n"
	     "  -4, -6                only IPv4, or only IPv6, addresses\n"
	     "      --connect HOST:PORT  go there instead of where the SRV records lead\n"
	     "      --resolver ADDR   ask this DNS resolver, not those of /etc/resolv.conf\n"
	     "      --timeout SECONDS for each step (10)\n"
	     "      --ca-file FILE    trust the certificates in FILE, not the system's\n"
	     "      --trust-anchor FILE  DNSSEC: trust the keys in FILE, not the root's\n"
	     "      --json            print JSON\n"
	     "\n"
	     "On the server itself:\n"
	     "      --local           check the shim, Prosody and the web server from inside\n"
	     "  -c, --config FILE     the shim's settings (/etc/xmpp443/shim.conf)\n"
	     "      --prosody-config FILE  for prosodyctl, if Prosody's is not where it looks\n"
	     "      --web-log FILE    the web server's access log; repeatable\n"
	     "\n"
	     "      --version, --help\n"
	     "\n"
	     "Exit code: 0 nothing worse than a note, 1 warnings, 2 errors or no check at all.");
}

/* "host:443", "[2001:db8::1]:443" */
static bool read_connect(const char *text, struct options *o)
{
	const char *colon = strrchr(text, ':');
	size_t len;
	long port;
	char *end;

	if (colon == NULL || colon == text)
		return false;
	port = strtol(colon + 1, &end, 10);
	if (end == colon + 1 || *end != '\0' || port < 1 || port > 65535)
		return false;
	len = (size_t)(colon - text);
	if (text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
	} else if (memchr(text, ':', len) != NULL) {
		return false;
	}
	if (len == 0 || len >= sizeof(o->connect_host))
		return false;
	memcpy(o->connect_host, text, len);
	o->connect_host[len] = '\0';
	o->connect_port = (uint16_t)port;
	return true;
}

static int wrong(const char *what, const char *text, const char *why)
{
	fprintf(stderr, "xmpp443-check: %s '%s': %s\n", what, text, why);
	return EXIT_TROUBLE;
}

/* As options_read(). */
static int one_option(int opt, const char *value, struct options *o)
{
	char *end;

	switch (opt) {
	case '4':
		o->v4 = true;
		break;
	case '6':
		o->v6 = true;
		break;
	case 'c':
		o->config = value;
		break;
	case OPT_RESOLVER:
		o->resolver = value;
		break;
	case OPT_TRUST_ANCHOR:
		o->trust_anchor = value;
		break;
	case OPT_CA_FILE:
		o->ca_file = value;
		break;
	case OPT_CONNECT:
		if (!read_connect(value, o))
			return wrong("--connect", value, "it has to be HOST:PORT, such as example.org:443 or [2001:db8::1]:443");
		break;
	case OPT_TIMEOUT: {
		double seconds = strtod(value, &end);

		if (end == value || *end != '\0' || !(seconds >= 0.1 && seconds <= TIMEOUT_MAX))
			return wrong("--timeout", value, "it has to be a number of seconds, 0.1 to 300");
		o->timeout_ms = (int)(seconds * 1000);
		break;
	}
	case OPT_JSON:
		o->json = true;
		break;
	case OPT_LOCAL:
		o->local = true;
		break;
	case OPT_PROSODY_CONFIG:
		o->prosodyctl_config = value;
		break;
	case OPT_WEB_LOG:
		if (o->n_logs == OPTIONS_LOGS_MAX)
			return wrong("--web-log", value, "too many of them");
		o->logs[o->n_logs++] = value;
		break;
	case OPT_VERSION:
		puts("xmpp443-check " XMPP443_VERSION);
		return EXIT_SUCCESS;
	case OPT_HELP:
		print_help();
		return EXIT_SUCCESS;
	default:
		fputs("Try 'xmpp443-check --help'.\n", stderr);
		return EXIT_TROUBLE;
	}
	return -1;
}

int options_read(int argc, char **argv, struct options *ret)
{
	struct options o = {.timeout_ms = 10000, .config = "/etc/xmpp443/shim.conf"};
	const char *why;
	int opt, code;

	while ((opt = getopt_long(argc, argv, "46c:", long_options, NULL)) != -1) {
		code = one_option(opt, optarg, &o);
		if (code >= 0)
			return code;
	}
	if (optind + 1 != argc) {
		fputs(optind == argc ? "xmpp443-check: which domain?\n" : "xmpp443-check: one domain at a time\n", stderr);
		fputs("Try 'xmpp443-check --help'.\n", stderr);
		return EXIT_TROUBLE;
	}
	if (!domain_parse(argv[optind], &o.domain, &why))
		return wrong("domain", argv[optind], why);
	if (!o.v4 && !o.v6)
		o.v4 = o.v6 = true;
	*ret = o;
	return -1;
}
