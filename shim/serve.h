#ifndef XMPP443_SERVE_H
#define XMPP443_SERVE_H

/*
 * serve: the life of the daemon's main thread: start, signals, reloads,
 * metrics, end. Everything that moves connections is in the workers.
 */

#include "options.h"

/*
 * Serves by o->conf, with n_passed descriptors of the service manager's, which have these names, until a
 * signal ends it. The exit code; what went wrong was logged.
 */
int serve(const struct options *o, int n_passed, const char *names);

#endif
