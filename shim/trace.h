#ifndef XMPP443_TRACE_H
#define XMPP443_TRACE_H

/*
 * trace: the structure of a ClientHello, as the shim's own parser walks
 * through it, and each rule with the reason why it matches or not. For
 * --explain: prints to standard output. Bytes of strangers are escaped.
 */

#include "conf.h"
#include "hello.h"

#include <stddef.h>
#include <stdint.h>

/* Bytes as text: printable ASCII as it is, but \ and all else as \x5c. */
void trace_bytes(const uint8_t *bytes, size_t len);

/* Records, fields and extensions, one a line, with the place of their first byte; up to where the parser has its verdict. */
void trace_hello(const uint8_t *buf, size_t len);

/* The rules in their order, up to the one that matches. info NULL: it is no hello, so no rule was asked. */
void trace_rules(const struct conf *conf, const struct hello_info *info);

#endif
