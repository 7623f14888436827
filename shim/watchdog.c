#include "watchdog.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define USEC_PER_MSEC 1000
#define PARTS         4

/* A whole number and nothing else; 0 also if it is none. */
static uint64_t number(const char *text)
{
	unsigned long long n;
	char *end;

	if (text == NULL || text[0] < '0' || text[0] > '9')
		return 0;
	errno = 0;
	n = strtoull(text, &end, 10);
	return errno != 0 || *end != '\0' ? 0 : n;
}

unsigned watchdog_interval_ms(void)
{
	const char *pid = getenv("WATCHDOG_PID");
	uint64_t ms = number(getenv("WATCHDOG_USEC")) / USEC_PER_MSEC;

	if (pid != NULL && number(pid) != (uint64_t)getpid())
		ms = 0;
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	if (ms == 0)
		return 0;
	ms /= PARTS;
	return ms == 0 ? 1 : ms > INT_MAX ? INT_MAX : (unsigned)ms;
}

bool watchdog_ask(struct watchdog_pulse *p)
{
	return !atomic_exchange(&p->due, true);
}

void watchdog_answer(struct watchdog_pulse *p)
{
	atomic_store(&p->due, false);
}
