#ifndef XMPP443_CONF_VALUE_H
#define XMPP443_CONF_VALUE_H

/*
 * conf_value: the values of settings, from text. Each function returns 0, or
 * -EINVAL with a sentence for the user in *err, or -ENOMEM; the output is
 * untouched on failure.
 */

#include "addr.h"
#include "log.h"
#include "pp2.h"
#include "route.h"
#include "sandbox.h"

struct conf_error {
	unsigned line; /* 0: not about one line */
	char text[200];
};

/* Writes the sentence. Returns -EINVAL. */
int conf_fail(struct conf_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

int conf_number(const char *value, unsigned min, unsigned max, unsigned *ret, struct conf_error *err);

/* "500ms", "10s", "2m", "1h", a day at most; in milliseconds. */
int conf_duration(const char *value, unsigned min_ms, unsigned *ret, struct conf_error *err);

/* As addr_parse_endpoint(). */
int conf_endpoint(const char *value, struct addr_endpoint *ret, struct conf_error *err);

/* "v1", "v2", "none" */
int conf_proxy_protocol(const char *value, enum pp2_version *ret, struct conf_error *err);

/* "failures", "handoffs", "decisions" */
int conf_log_about(const char *value, enum log_about *ret, struct conf_error *err);

/* "error" to "debug" */
int conf_log_level(const char *value, enum log_level *ret, struct conf_error *err);

/* "on", "off", "log" */
int conf_sandbox(const char *value, enum sandbox_mode *ret, struct conf_error *err);

/* Calls add() with arg for each item of a list, which commas and blanks part. add() may change the text. */
int conf_list(void *arg, const char *value, int (*add)(void *arg, char *item, struct conf_error *err),
	      struct conf_error *err);

/* Adds a copy of name to names. */
int conf_add_name(struct route_names *names, const char *name, struct conf_error *err);

#endif
