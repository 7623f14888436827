#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

static atomic_int log_max = LOG_LEVEL_INFO;
static bool log_prefix = true;

void log_init(enum log_level level)
{
	log_prefix = isatty(STDERR_FILENO) != 1;
	log_set_level(level);
}

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&log_max, (int)level, memory_order_relaxed);
}

int log_wants(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&log_max, memory_order_relaxed);
}

void log_line(enum log_level level, const char *format, ...)
{
	char line[1024];
	int saved = errno, n = 0, m;
	va_list args;

	if (!log_wants(level))
		return;
	if (log_prefix)
		n = snprintf(line, sizeof(line), "<%d>", (int)level);
	va_start(args, format);
	m = vsnprintf(line + n, sizeof(line) - (size_t)n, format, args);
	va_end(args);
	if (m > 0)
		n += m;
	if ((size_t)n > sizeof(line) - 1)
		n = sizeof(line) - 1;
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, (size_t)n) < 0) {
		/* nowhere to report it to */
	}
	errno = saved;
}
