/* The subcommands of load; each ends by exiting. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "script.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct load_options {
	const char *addr;    /* to listen on, or to connect to */
	struct script script;
	struct hello hello;
	bool sendfile;
	size_t conns;
	size_t opening;      /* how many may be on their way to the backend at once */
	uint64_t nanoseconds, count; /* of the one phase to be run; both 0: phases come from standard input */
};

_Noreturn void backend_run(const struct load_options *o);
_Noreturn void receiver_run(const struct load_options *o);
_Noreturn void client_run(const struct load_options *o);

#endif
