#ifndef XMPP443_LOG_H
#define XMPP443_LOG_H

/*
 * log: one line of text per event to standard error.
 *
 * Each line is one write(2), so lines of several threads do not mix, and it
 * starts with a priority such as "<6>" where journald reads it, sd-daemon(3).
 * Values that came from the network are never passed in raw.
 *
 * Lines about single connections are as many as strangers wish. They have a
 * limit in time; what is beyond is left out and counted.
 */

#include <stdint.h>

enum log_level {
	LOG_LEVEL_ERROR = 3, /* syslog(3) numbers */
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_NOTICE = 5,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7,
};

/* What a line about one connection is about. Each setting includes those before it. */
enum log_about {
	LOG_FAILURES,  /* it ended without success */
	LOG_HANDOFFS,  /* a receiver has it */
	LOG_DECISIONS, /* its route, and every other end */
	LOG_ABOUT_N,
};

/* Lines above level are dropped. Prefixes are left out if standard error is a terminal. */
void log_init(enum log_level level);

void log_set_level(enum log_level level);

/* For callers whose arguments cost something. */
int log_wants(enum log_level level);

/* How much is told of connections, and in how many lines a second for each kind; 0: no limit. The level "debug" has all kinds and no limit. */
void log_set_connections(enum log_about about, unsigned per_second);

/* As log_wants(). */
int log_wants_about(enum log_about about);

/* Lines about connections that were left out since the start. */
uint64_t log_left_out(void);

/* Tells how many were left out since it was last told, if any. From one thread only. */
void log_tell_left_out(void);

/* A line about one connection; as log_line(). */
void log_connection(enum log_about about, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A line is cut at about 1,000 bytes. errno is kept. */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
