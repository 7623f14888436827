/* The header that a proxy puts ahead of a connection's first byte: PROXY protocol
 * version 1 (text) or 2 (binary). Pure: bytes in, struct out; no allocation, no
 * I/O, no log.
 *
 * Source: "The PROXY protocol", HAProxy's doc/proxy-protocol.txt, sections 2.1 to 2.2. */
#ifndef FDPASS_PROXY_H
#define FDPASS_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "v2.h"

#define PROXY_V1_MAX 107  /* bytes, with the end of the line: section 2.1 */
#define PROXY_MAX 4096    /* longest header that is read; what is known to be sent has some hundred bytes */

enum proxy_status {
	PROXY_OK,
	PROXY_NEED_MORE,   /* so far the beginning of a header, every byte of it */
	PROXY_NO_HEADER,   /* something else, such as TLS without a header */
	PROXY_BAD_TEXT,    /* version 1, and the line is not as it should be */
	PROXY_BAD_COMMAND, /* neither PROXY nor LOCAL, or not version 2 */
	PROXY_BAD_FAMILY,  /* not a stream: UDP, or unknown */
	PROXY_BAD_TLV,     /* the addresses or a TLV do not fit in what is left, or a bad ALPN */
	PROXY_TOO_LONG,    /* over PROXY_MAX */
};

struct proxy {
	size_t len;          /* of the header; the client's first byte comes right after it */
	bool has_addrs;      /* false: the connection is the proxy's own (LOCAL), or it does not say
	                      * whose it is (UNKNOWN, UNSPEC, Unix): the kernel's addresses count */
	struct v2_addr source;
	struct v2_addr dest;
	const uint8_t *alpn; /* view into the bytes, NULL if absent; 1 to 255 bytes */
	size_t alpn_len;
};

/* Reads the header at the beginning of the len bytes at p. *ret means something
 * on PROXY_OK only. A verdict is final: more bytes change PROXY_NEED_MORE only. */
enum proxy_status proxy_parse(const uint8_t *p, size_t len, struct proxy *ret);

/* What is wrong, in words for a log. */
const char *proxy_strerror(enum proxy_status status);

#endif
