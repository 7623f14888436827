#ifndef XMPP443_CHECK_REPORT_H
#define XMPP443_CHECK_REPORT_H

/*
 * report: what was found, in the order in which it is shown.
 */

#include <jansson.h>
#include <stddef.h>

enum verdict {
	VERDICT_OK,
	VERDICT_NOTE,    /* nothing is wrong; worth knowing */
	VERDICT_WARNING, /* works, but not for everybody, or not for long */
	VERDICT_ERROR,
};

struct check {
	const char *id;    /* constant: scripts rely on it */
	const char *label; /* constant: the same for people, 16 characters at most */
	enum verdict verdict;
	size_t group;      /* index of the heading it stands below */
	char *text;        /* what was found */
	char *advice;      /* one sentence: what to change; NULL: nothing */
	int ms;            /* how long it took; -1: does not apply */
	char steps[64];    /* the same in parts, for people; "" */
	json_t *data;      /* an object, for machines; NULL: none */
};

struct report {
	struct check *checks;
	size_t n;
	char **groups;
	size_t n_groups;
};

/* "ok", "note", "warning", "error" */
const char *verdict_name(enum verdict v);

/* All that is added from here on stands below this heading. */
void report_group(struct report *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The check that was added is the last one of r; valid until the next is added. */
struct check *report_add(struct report *r, enum verdict v, const char *id, const char *label, const char *format, ...)
	__attribute__((format(printf, 5, 6)));

/* Says what to change. */
void check_advise(struct check *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The worst of all; VERDICT_OK if there is none. */
enum verdict report_verdict(const struct report *r);

size_t report_count(const struct report *r, enum verdict v);

/* 0: nothing worse than a note; 1: warnings; 2: errors. */
int report_exit_code(const struct report *r);

/* Frees what r holds, not r. */
void report_free(struct report *r);

#endif
