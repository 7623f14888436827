#ifndef XMPP443_SERVER_H
#define XMPP443_SERVER_H

/*
 * server: the workers together, the listening sockets and the limits that they share.
 */

#include "conf.h"
#include "metrics.h"

#include <stdbool.h>

struct server;

/*
 * Takes the n descriptors from first on, with these names, that the service
 * manager passed, and opens the listeners if they are not among those. From
 * here on connections queue up. Takes a reference of conf. 0, or a negative
 * errno, which was logged.
 */
int server_new(struct conf *conf, int first, int n, const char *names, struct server **ret);

/*
 * Starts the workers, which go on with the connections of an earlier process. In between the process may give up what they do not
 * need. 0, or a negative errno, which was logged; the caller calls server_stop().
 */
int server_start(struct server *s);

/*
 * Goes over to another configuration. 0, or a negative errno, which was
 * logged, and everything is as it was.
 */
int server_reload(struct server *s, struct conf *conf);

/* Fills in the routes, the workers' counts and the limit. They stay valid until the next reload or the end. */
void server_count(const struct server *s, struct metrics *ret);

/*
 * Does every worker's loop turn? Asks each for a sign of life. False: one has
 * not given the one that it was asked for in the call before.
 */
bool server_alive(struct server *s);

/*
 * Ends all workers, gives the connections to the service manager for the next
 * process or else ends them too, logs how many ended in which way, and frees.
 * Takes NULL, and one that was not started.
 */
void server_stop(struct server *s);

#endif
