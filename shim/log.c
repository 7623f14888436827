#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define SECOND        1000000000ULL
#define BURST_SECONDS 10 /* as many lines as in so long may come at once */

static atomic_int log_max = LOG_LEVEL_INFO;
static bool log_prefix = true;

/* Of lines about connections. */
static atomic_int log_about = LOG_HANDOFFS;
static atomic_uint log_rate;
static _Atomic uint64_t paid_until[LOG_ABOUT_N]; /* nanoseconds on CLOCK_MONOTONIC */
static _Atomic uint64_t left_out;

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

void log_set_connections(enum log_about about, unsigned per_second)
{
	atomic_store_explicit(&log_about, (int)about, memory_order_relaxed);
	atomic_store_explicit(&log_rate, per_second, memory_order_relaxed);
}

int log_wants_about(enum log_about about)
{
	if (log_wants(LOG_LEVEL_DEBUG))
		return 1;
	return log_wants(LOG_LEVEL_INFO) && (int)about <= atomic_load_explicit(&log_about, memory_order_relaxed);
}

uint64_t log_left_out(void)
{
	return atomic_load_explicit(&left_out, memory_order_relaxed);
}

void log_tell_left_out(void)
{
	static uint64_t told;
	uint64_t n = log_left_out() - told;

	if (n > 0)
		log_line(LOG_LEVEL_WARNING, "event=log-lines-left-out lines=%llu", (unsigned long long)n);
	told += n;
}

/*
 * Is there room for one more line of this kind? Each takes its share of a
 * second; "paid" is the time up to which all of it is taken, and may run ahead of
 * the clock by the burst. The kinds do not share, so that a flood of failures
 * hides no hand-off.
 */
static bool has_room(enum log_about about)
{
	uint64_t rate = atomic_load_explicit(&log_rate, memory_order_relaxed), now, paid, start;
	struct timespec ts;

	if (rate == 0 || log_wants(LOG_LEVEL_DEBUG))
		return true;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	now = (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
	paid = atomic_load_explicit(&paid_until[about], memory_order_relaxed);
	do {
		start = paid > now ? paid : now;
		if (start - now >= BURST_SECONDS * SECOND) {
			atomic_fetch_add_explicit(&left_out, 1, memory_order_relaxed);
			return false;
		}
	} while (!atomic_compare_exchange_weak_explicit(&paid_until[about], &paid, start + SECOND / rate, memory_order_relaxed,
							 memory_order_relaxed));
	return true;
}

static void write_line(enum log_level level, const char *format, va_list args) __attribute__((format(printf, 2, 0)));

static void write_line(enum log_level level, const char *format, va_list args)
{
	char line[1024];
	int saved = errno, n = 0, m;

	if (log_prefix)
		n = snprintf(line, sizeof(line), "<%d>", (int)level);
	m = vsnprintf(line + n, sizeof(line) - (size_t)n, format, args);
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

void log_line(enum log_level level, const char *format, ...)
{
	va_list args;

	if (!log_wants(level))
		return;
	va_start(args, format);
	write_line(level, format, args);
	va_end(args);
}

void log_connection(enum log_about about, const char *format, ...)
{
	va_list args;

	if (!log_wants_about(about) || !has_room(about))
		return;
	va_start(args, format);
	write_line(about == LOG_DECISIONS ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO, format, args);
	va_end(args);
}
