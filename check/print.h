#ifndef XMPP443_CHECK_PRINT_H
#define XMPP443_CHECK_PRINT_H

/* print: the report for people, the report for machines, and a sign of life while they wait. */

#include "options.h"
#include "report.h"

#include <stdio.h>
#include <time.h>

/* The width of the terminal behind f, or 100. */
unsigned print_width(FILE *f);

/* Are colours wanted? On a terminal, unless NO_COLOR (no-color.org) is set and not empty, or TERM is dumb. */
bool print_wants_colour(FILE *f);

void print_report(FILE *f, const struct report *r, const struct options *o, time_t now, int took_ms, bool colour, unsigned width);

/* The same as one JSON object: doc/xmpp443-check.schema.json. */
void print_json(FILE *f, const struct report *r, const struct options *o, time_t now, int took_ms);

/* A line on standard error, if it is a terminal, that is replaced by the next one; NULL removes it. */
void print_progress(const char *what, size_t done, size_t of);

#endif
