#ifndef XMPP443_METRICS_H
#define XMPP443_METRICS_H

/*
 * metrics: the document that a monitoring system reads, made of what the
 * workers have counted. xmpp443-shim(8) lists what is in it. Sources: the
 * OpenMetrics specification 1.0, and Prometheus' exposition format 0.0.4.
 */

#include "conf.h"
#include "proc.h"
#include "worker.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* All of it at one moment, as seen by the thread that writes the document. */
struct metrics {
	const char *version;
	const char (*routes)[ROUTE_NAME_MAX + 1]; /* by slot, see route.h */
	size_t n_routes;
	struct worker_counts workers[CONF_WORKERS_MAX];
	unsigned n_workers;
	unsigned max_connections;                 /* what is in force */
	uint64_t reloads, failed_reloads;
	uint64_t log_lines_left_out;
	struct proc_numbers proc;
};

/* In the OpenMetrics format, or else in the older one. out tells whether that failed. */
void metrics_write(const struct metrics *m, FILE *out, bool openmetrics);

#endif
