#include "report.h"

#include "mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const char *verdict_name(enum verdict v)
{
	switch (v) {
	case VERDICT_OK:
		return "ok";
	case VERDICT_NOTE:
		return "note";
	case VERDICT_WARNING:
		return "warning";
	case VERDICT_ERROR:
		return "error";
	}
	return "?";
}

static char *print(const char *format, va_list args)
{
	char buf[4096];

	vsnprintf(buf, sizeof(buf), format, args);
	return mem_copy(buf);
}

void report_group(struct report *r, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	r->groups = mem_grow(r->groups, r->n_groups + 1, sizeof(*r->groups));
	r->groups[r->n_groups++] = print(format, args);
	va_end(args);
}

struct check *report_add(struct report *r, enum verdict v, const char *id, const char *label, const char *format, ...)
{
	struct check *c;
	va_list args;

	if (r->n_groups == 0)
		report_group(r, "General");
	r->checks = mem_grow(r->checks, r->n + 1, sizeof(*r->checks));
	c = &r->checks[r->n++];
	*c = (struct check){.id = id, .label = label, .verdict = v, .group = r->n_groups - 1, .ms = -1};
	va_start(args, format);
	c->text = print(format, args);
	va_end(args);
	return c;
}

void check_advise(struct check *c, const char *format, ...)
{
	va_list args;

	free(c->advice);
	va_start(args, format);
	c->advice = print(format, args);
	va_end(args);
}

size_t report_count(const struct report *r, enum verdict v)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n; i++)
		n += r->checks[i].verdict == v;
	return n;
}

enum verdict report_verdict(const struct report *r)
{
	enum verdict worst = VERDICT_OK;

	for (size_t i = 0; i < r->n; i++)
		if (r->checks[i].verdict > worst)
			worst = r->checks[i].verdict;
	return worst;
}

int report_exit_code(const struct report *r)
{
	switch (report_verdict(r)) {
	case VERDICT_OK:
	case VERDICT_NOTE:
		return 0;
	case VERDICT_WARNING:
		return 1;
	case VERDICT_ERROR:
		break;
	}
	return 2;
}

void report_free(struct report *r)
{
	for (size_t i = 0; i < r->n; i++) {
		free(r->checks[i].text);
		free(r->checks[i].advice);
		json_decref(r->checks[i].data);
	}
	for (size_t i = 0; i < r->n_groups; i++)
		free(r->groups[i]);
	free(r->checks);
	free(r->groups);
	*r = (struct report){0};
}
