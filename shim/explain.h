#ifndef XMPP443_EXPLAIN_H
#define XMPP443_EXPLAIN_H

/* explain: tells what would become of a recorded ClientHello. */

#include "conf.h"

/*
 * Reads the bytes of a connection's beginning from the file, "-" for standard
 * input, and prints verdict, SNI, ALPN list and route to standard output. 0,
 * or a negative errno of reading the file.
 */
int explain(const struct conf *conf, const char *path);

#endif
