#include "conf_value.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_MAX 256
#define DAY_MS    86400000u

int conf_fail(struct conf_error *err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);
	return -EINVAL;
}

/* Plain digits up to max; -EINVAL. *ret_rest is what follows them. */
static int parse_digits(const char *text, unsigned max, unsigned *ret, const char **ret_rest)
{
	unsigned long value = 0;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	for (; isdigit((unsigned char)*text); text++) {
		value = value * 10 + (unsigned long)(*text - '0');
		if (value > max)
			return -EINVAL;
	}
	*ret = (unsigned)value;
	*ret_rest = text;
	return 0;
}

int conf_number(const char *value, unsigned min, unsigned max, unsigned *ret, struct conf_error *err)
{
	const char *rest;
	unsigned n;

	if (parse_digits(value, max, &n, &rest) < 0 || *rest != '\0' || n < min)
		return conf_fail(err, "'%.40s' is not a number from %u to %u", value, min, max);
	*ret = n;
	return 0;
}

int conf_duration(const char *value, unsigned min_ms, unsigned *ret, struct conf_error *err)
{
	static const struct {
		const char *name;
		unsigned ms;
	} units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
	const char *rest;
	unsigned n;

	if (parse_digits(value, DAY_MS, &n, &rest) == 0)
		for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
			if (strcmp(rest, units[i].name) == 0 && n <= DAY_MS / units[i].ms &&
			    n * units[i].ms >= min_ms) {
				*ret = n * units[i].ms;
				return 0;
			}
	return conf_fail(err, "'%.40s' is not a time such as 500ms, 10s, 2m or 1h, %u ms at least and a day at most",
		    value, min_ms);
}

int conf_endpoint(const char *value, struct addr_endpoint *ret, struct conf_error *err)
{
	int r = addr_parse_endpoint(value, ret);

	if (r == -ENAMETOOLONG)
		return conf_fail(err, "'%.80s' is too long for a Unix socket (107 bytes at most)", value);
	if (r < 0)
		return conf_fail(err, "'%.80s' is not a numeric address with a port, such as 127.0.0.1:8443 or [::1]:8443, "
			    "nor unix:/path; names are never looked up", value);
	return 0;
}

int conf_add_name(struct route_names *names, const char *name, struct conf_error *err)
{
	char **v;

	if (names->n >= NAMES_MAX)
		return conf_fail(err, "more than %d names", NAMES_MAX);
	v = realloc(names->v, (names->n + 1) * sizeof(*v));
	if (v == NULL)
		return -ENOMEM;
	names->v = v;
	v[names->n] = strdup(name);
	if (v[names->n] == NULL)
		return -ENOMEM;
	names->n++;
	return 0;
}

/* Commas and blanks part the items of a list; each goes to add() with arg. */
int conf_list(void *arg, const char *value, int (*add)(void *, char *, struct conf_error *), struct conf_error *err)
{
	char *copy = strdup(value), *rest = copy, *item;
	int n = 0, ret = 0;

	if (copy == NULL)
		return -ENOMEM;
	while (ret == 0 && (item = strsep(&rest, ", \t")) != NULL)
		if (*item != '\0') {
			ret = add(arg, item, err);
			n++;
		}
	free(copy);
	return ret == 0 && n == 0 ? conf_fail(err, "the list is empty") : ret;
}

int conf_proxy_protocol(const char *value, enum pp2_version *ret, struct conf_error *err)
{
	if (strcmp(value, "v1") == 0)
		*ret = PP2_V1;
	else if (strcmp(value, "v2") == 0)
		*ret = PP2_V2;
	else if (strcmp(value, "none") == 0)
		*ret = PP2_NONE;
	else
		return conf_fail(err, "'%.40s' is not v1, v2 or none", value);
	return 0;
}

int conf_sandbox(const char *value, enum sandbox_mode *ret, struct conf_error *err)
{
	if (strcmp(value, "on") == 0)
		*ret = SANDBOX_ON;
	else if (strcmp(value, "off") == 0)
		*ret = SANDBOX_OFF;
	else if (strcmp(value, "log") == 0)
		*ret = SANDBOX_LOG;
	else
		return conf_fail(err, "'%.40s' is not on, off or log", value);
	return 0;
}

int conf_log_about(const char *value, enum log_about *ret, struct conf_error *err)
{
	static const char *const names[] = {
		[LOG_FAILURES] = "failures", [LOG_HANDOFFS] = "handoffs", [LOG_DECISIONS] = "decisions",
	};

	for (int i = 0; i < LOG_ABOUT_N; i++)
		if (strcmp(value, names[i]) == 0) {
			*ret = (enum log_about)i;
			return 0;
		}
	return conf_fail(err, "'%.40s' is not failures, handoffs or decisions", value);
}

int conf_log_level(const char *value, enum log_level *ret, struct conf_error *err)
{
	static const char *const names[] = {
		[LOG_LEVEL_ERROR] = "error", [LOG_LEVEL_WARNING] = "warning", [LOG_LEVEL_NOTICE] = "notice",
		[LOG_LEVEL_INFO] = "info",   [LOG_LEVEL_DEBUG] = "debug",
	};

	for (int i = LOG_LEVEL_ERROR; i <= LOG_LEVEL_DEBUG; i++)
		if (strcmp(value, names[i]) == 0) {
			*ret = (enum log_level)i;
			return 0;
		}
	return conf_fail(err, "'%.40s' is not error, warning, notice, info or debug", value);
}
