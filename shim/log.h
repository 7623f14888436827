#ifndef XMPP443_LOG_H
#define XMPP443_LOG_H

/*
 * log: one line of text per event to standard error.
 *
 * Each line is one write(2), so lines of several threads do not mix, and it
 * starts with a priority such as "<6>" where journald reads it, sd-daemon(3).
 * Values that came from the network are never passed in raw.
 */

enum log_level {
	LOG_LEVEL_ERROR = 3, /* syslog(3) numbers */
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_NOTICE = 5,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7,
};

/* Lines above level are dropped. Prefixes are left out if standard error is a terminal. */
void log_init(enum log_level level);

void log_set_level(enum log_level level);

/* For callers whose arguments cost something. */
int log_wants(enum log_level level);

/* A line is cut at about 1,000 bytes. errno is kept. */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
