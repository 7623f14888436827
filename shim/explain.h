#ifndef XMPP443_EXPLAIN_H
#define XMPP443_EXPLAIN_H

/* explain: tells what would become of a recorded ClientHello. */

#include "conf.h"

/*
 * Reads the bytes of a connection's beginning, or a recording of packets (pcap,
 * pcapng), from the file, "-" for standard input. For each client in it prints
 * verdict, SNI, ALPN list and route to standard output, then an empty line,
 * the structure of the hello, and rule by rule why it matched or not. 0, or a
 * negative errno of reading the file: -ENOMSG: nobody says anything in the
 * recording; -ENOTSUP: it is of a network that is not known here.
 */
int explain(const struct conf *conf, const char *path);

#endif
