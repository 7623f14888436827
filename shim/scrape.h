#ifndef XMPP443_SCRAPE_H
#define XMPP443_SCRAPE_H

/*
 * scrape: serves one document, /metrics, over HTTP on a loopback address or a
 * Unix socket, to whoever comes to read the metrics.
 *
 * It is for a loop that has nothing urgent to do. What a client can take is
 * bounded: a few connections, some kilobytes of request, and a few seconds
 * each.
 */

#include "addr.h"
#include "loop.h"

#include <stdbool.h>
#include <stdio.h>

struct scrape;

/* Writes the document, in the OpenMetrics format or else in the older one of Prometheus. */
typedef void (*scrape_writer)(void *arg, FILE *out, bool openmetrics);

/* Serves nobody yet. -ENOMEM */
int scrape_new(struct loop *loop, scrape_writer writer, void *arg, struct scrape **ret);

/* Ends all connections, and closes the listener. Takes NULL. */
void scrape_free(struct scrape *s);

/*
 * Opens a listening socket. A Unix one is for its owner and its group; one
 * that a dead process has left behind is replaced. 0, or a negative errno:
 * -EADDRINUSE: somebody listens there; -ENOTSOCK: the path is no socket; else of socket(2),
 * bind(2), listen(2), chmod(2), unlink(2).
 */
int scrape_open(const struct addr_endpoint *e, int *ret_fd);

/* Takes back what scrape_open() with e has opened. */
void scrape_discard(const struct addr_endpoint *e, int fd);

/* Takes ownership of fd, from scrape_open() with e, and serves there instead of where it did so far; fd -1: nowhere. */
void scrape_use(struct scrape *s, int fd, const struct addr_endpoint *e);

#endif
