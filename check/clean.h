#ifndef XMPP443_CHECK_CLEAN_H
#define XMPP443_CHECK_CLEAN_H

/*
 * clean: text that strangers have sent, made fit for a terminal. Nothing that
 * came from the network is shown or stored without it.
 */

#include <stddef.h>

/*
 * Writes len bytes to out, which has size bytes (at least 4): printable ASCII
 * as it is, everything else as "?", cut with "..." where there is no room.
 * Returns out.
 */
char *clean_text(char *out, size_t size, const void *bytes, size_t len);

#endif
