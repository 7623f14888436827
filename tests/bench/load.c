/*
 * A load generator for proxies: clients, backends and a receiver of hand-offs.
 *
 * It does as little as it can, so that what is measured is the proxy: one
 * thread, epoll, bytes are neither made nor looked at.
 */
#include "load.h"

#include "net.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static const struct option long_options[] = {
	{"listen", required_argument, NULL, 'a'},
	{"connect", required_argument, NULL, 'a'},
	{"path", required_argument, NULL, 'p'},
	{"mode", required_argument, NULL, 'm'},
	{"bytes", required_argument, NULL, 'b'},
	{"hello", required_argument, NULL, 'h'},
	{"conns", required_argument, NULL, 'n'},
	{"opening", required_argument, NULL, 'o'},
	{"seconds", required_argument, NULL, 's'},
	{"count", required_argument, NULL, 'c'},
	{"sendfile", no_argument, NULL, 'f'},
	{0},
};

_Noreturn static void usage(void)
{
	fputs("usage: load backend --listen ADDR --mode MODE --hello FILE [--bytes N] [--sendfile]\n"
	      "       load receiver --path SOCK --mode MODE --hello FILE [--bytes N] [--sendfile]\n"
	      "       load client --connect ADDR --mode MODE --hello FILE [--bytes N] [--conns N]\n"
	      "            [--opening N] [--seconds S | --count N]\n"
	      "\n"
	      "MODE is connect, visit, pingpong, resp64k, bulk or upload, the same on both sides.\n"
	      "Without --seconds and --count a client reads lines from standard input, \"seconds S\"\n"
	      "or \"count N\", and keeps its connections until the end of it.\n",
	      stderr);
	exit(2);
}

static uint64_t number(const char *text)
{
	char *end;
	uint64_t n = strtoull(text, &end, 10);

	if (*text == '\0' || *end != '\0')
		die(0, "not a number:", text);
	return n;
}

/* As many descriptors as may be. */
static void raise_limit(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
}

int main(int argc, char **argv)
{
	static char unix_addr[128];
	struct load_options o = {.conns = 1, .opening = 64};
	const char *mode = NULL, *hello = NULL;
	size_t bytes = 0;
	int opt;

	if (argc < 2)
		usage();
	while ((opt = getopt_long(argc - 1, argv + 1, "", long_options, NULL)) != -1) {
		switch (opt) {
		case 'a':
			o.addr = optarg;
			break;
		case 'p':
			snprintf(unix_addr, sizeof(unix_addr), "unix:%s", optarg);
			o.addr = unix_addr;
			break;
		case 'm':
			mode = optarg;
			break;
		case 'b':
			bytes = number(optarg);
			break;
		case 'h':
			hello = optarg;
			break;
		case 'n':
			o.conns = number(optarg);
			break;
		case 'o':
			o.opening = number(optarg);
			break;
		case 's':
			o.nanoseconds = (uint64_t)(strtod(optarg, NULL) * 1e9);
			break;
		case 'c':
			o.count = number(optarg);
			break;
		case 'f':
			o.sendfile = true;
			break;
		default:
			usage();
		}
	}
	if (optind != argc - 1 || o.addr == NULL || mode == NULL || hello == NULL || o.conns == 0 || o.opening == 0)
		usage();
	o.script = script_find(mode, bytes);
	o.hello = hello_load(hello);
	signal(SIGPIPE, SIG_IGN);
	raise_limit();

	if (strcmp(argv[1], "backend") == 0)
		backend_run(&o);
	if (strcmp(argv[1], "receiver") == 0)
		receiver_run(&o);
	if (strcmp(argv[1], "client") == 0)
		client_run(&o);
	usage();
}
