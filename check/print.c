#include "print.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define WIDTH_DEFAULT 100
#define WIDTH_MIN 60
#define VERDICT_WIDTH 9
#define LABEL_WIDTH 18
#define INDENT 2
#define NO_BREAK "\1" /* a blank within a word */

unsigned print_width(FILE *f)
{
	struct winsize size;

	if (ioctl(fileno(f), TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
		return WIDTH_DEFAULT;
	return size.ws_col < WIDTH_MIN ? WIDTH_MIN : size.ws_col;
}

bool print_wants_colour(FILE *f)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(fileno(f)) && (no == NULL || no[0] == '\0') && (term == NULL || strcmp(term, "dumb") != 0);
}

/* SGR codes, ECMA-48 section 8.3.117. */
static const char *colour_of(enum verdict v)
{
	switch (v) {
	case VERDICT_OK:
		return "\033[32m";
	case VERDICT_NOTE:
		return "\033[36m";
	case VERDICT_WARNING:
		return "\033[33m";
	case VERDICT_ERROR:
		return "\033[1;31m";
	}
	return "";
}

/* Words, from column to width; further lines start at column. */
static void print_wrapped(FILE *f, const char *text, unsigned column, unsigned width)
{
	unsigned at = column;

	while (*text != '\0') {
		unsigned len = (unsigned)strcspn(text, " ");

		if (at > column && at + 1 + len > width) {
			fprintf(f, "\n%*s", (int)column, "");
			at = column;
		} else if (at > column) {
			fputc(' ', f);
			at++;
		}
		for (unsigned i = 0; i < len; i++)
			fputc(text[i] == NO_BREAK[0] ? ' ' : text[i], f);
		at += len;
		text += len;
		text += strspn(text, " ");
	}
	fputc('\n', f);
}

static void print_check(FILE *f, const struct check *c, bool colour, unsigned width)
{
	char line[5000];
	const unsigned column = INDENT + VERDICT_WIDTH + LABEL_WIDTH;

	fprintf(f, "%*s%s%-*s%s%-*s", INDENT, "", colour ? colour_of(c->verdict) : "", VERDICT_WIDTH, verdict_name(c->verdict),
		colour ? "\033[0m" : "", LABEL_WIDTH, c->label);
	if (c->steps[0] != '\0')
		snprintf(line, sizeof(line), "%s (%s)", c->text, c->steps);
	else if (c->ms >= 0)
		snprintf(line, sizeof(line), "%s (%d" NO_BREAK "ms)", c->text, c->ms);
	else
		snprintf(line, sizeof(line), "%s", c->text);
	print_wrapped(f, line, column, width);
	if (c->advice == NULL)
		return;
	colour = colour && c->verdict >= VERDICT_WARNING; /* what has to be done stands out */
	fprintf(f, "%*s%s", (int)column, "", colour ? "\033[1m" : "");
	snprintf(line, sizeof(line), "-> %s%s", c->advice, colour ? "\033[0m" : "");
	print_wrapped(f, line, column, width);
}

static void print_count(FILE *f, size_t n, const char *one, const char *many, const char *separator)
{
	fprintf(f, "%s%zu %s", separator, n, n == 1 ? one : many);
}

void print_report(FILE *f, const struct report *r, const struct options *o, time_t now, int took_ms, bool colour, unsigned width)
{
	char date[32];
	struct tm tm;
	enum verdict worst = report_verdict(r);

	gmtime_r(&now, &tm);
	strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S UTC", &tm);
	fprintf(f, "%s%s%s", colour ? "\033[1m" : "", o->domain.unicode, colour ? "\033[0m" : "");
	if (strcmp(o->domain.unicode, o->domain.ascii) != 0)
		fprintf(f, " (%s)", o->domain.ascii);
	fprintf(f, "%s, %s\n", o->local ? ", from this server" : "", date);
	for (size_t g = 0; g < r->n_groups; g++) {
		fprintf(f, "\n%s%s%s\n", colour ? "\033[1m" : "", r->groups[g], colour ? "\033[0m" : "");
		for (size_t i = 0; i < r->n; i++)
			if (r->checks[i].group == g)
				print_check(f, &r->checks[i], colour, width);
	}
	fprintf(f, "\n%s%s%s:", colour ? colour_of(worst) : "", verdict_name(worst), colour ? "\033[0m" : "");
	print_count(f, report_count(r, VERDICT_ERROR), "error", "errors", " ");
	print_count(f, report_count(r, VERDICT_WARNING), "warning", "warnings", ", ");
	print_count(f, report_count(r, VERDICT_NOTE), "note", "notes", ", ");
	fprintf(f, ", %zu ok (%.1f s)\n", report_count(r, VERDICT_OK), took_ms / 1000.0);
}

static json_t *check_json(const struct report *r, const struct check *c)
{
	json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", c->id, "verdict", verdict_name(c->verdict), "subject",
			      r->groups[c->group], "label", c->label, "summary", c->text);

	json_object_set_new(j, "advice", c->advice != NULL ? json_string(c->advice) : json_null());
	json_object_set_new(j, "ms", c->ms >= 0 ? json_integer(c->ms) : json_null());
	if (c->data != NULL)
		json_object_set(j, "data", c->data);
	return j;
}

void print_json(FILE *f, const struct report *r, const struct options *o, time_t now, int took_ms)
{
	char date[32];
	struct tm tm;
	json_t *checks = json_array(), *all;

	gmtime_r(&now, &tm);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &tm);
	for (size_t i = 0; i < r->n; i++)
		json_array_append_new(checks, check_json(r, &r->checks[i]));
	all = json_pack("{s:i, s:{s:s, s:s}, s:s, s:s, s:s, s:i, s:i, s:{s:i, s:i, s:i, s:i}, s:o}", "schema", 1, "domain", "unicode",
			o->domain.unicode, "ascii", o->domain.ascii, "mode", o->local ? "local" : "remote", "time", date, "verdict",
			verdict_name(report_verdict(r)), "exit_code", report_exit_code(r), "took_ms", took_ms, "counts", "ok",
			(int)report_count(r, VERDICT_OK), "note", (int)report_count(r, VERDICT_NOTE), "warning",
			(int)report_count(r, VERDICT_WARNING), "error", (int)report_count(r, VERDICT_ERROR), "checks", checks);
	json_dumpf(all, f, JSON_INDENT(2));
	fputc('\n', f);
	json_decref(all);
}

void print_progress(const char *what, size_t done, size_t of)
{
	if (!isatty(STDERR_FILENO))
		return;
	if (what == NULL)
		fputs("\r\033[K", stderr);
	else
		fprintf(stderr, "\r\033[K%s %zu/%zu ...", what, done, of);
	fflush(stderr);
}
