/* One hand-off message: a PROXY protocol v2 header with TLVs, as doc/protocol.md
 * specifies it. Pure: bytes in, struct out; no allocation, no I/O, no log. */
#ifndef FDPASS_MESSAGE_H
#define FDPASS_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "v2.h"

#define MESSAGE_MAX 1024 /* bytes in one packet, in both directions */
#define MESSAGE_ID_LEN 8

enum message_status {
	MESSAGE_OK,
	MESSAGE_BAD_HEADER,    /* no PROXY v2 signature, or shorter than a header */
	MESSAGE_BAD_COMMAND,   /* not version 2 and command PROXY */
	MESSAGE_BAD_FAMILY,    /* not TCP over IPv4 or IPv6 */
	MESSAGE_SHORT,         /* ends before the length it announces */
	MESSAGE_TRAILING,      /* goes on after the length it announces */
	MESSAGE_BAD_TLV,       /* a TLV does not fit in what is left */
	MESSAGE_BAD_ALPN,      /* empty, over 255 bytes, or there twice */
	MESSAGE_BAD_AUTHORITY, /* not a plain host name, or there twice */
	MESSAGE_BAD_ID,        /* not 8 bytes, missing, or there twice */
};

struct message {
	bool has_id;
	uint8_t id[MESSAGE_ID_LEN];
	struct v2_addr source;
	struct v2_addr dest;
	const uint8_t *alpn; /* view into the packet, NULL if absent */
	size_t alpn_len;
	const uint8_t *authority; /* the same */
	size_t authority_len;
};

/* Reads the packet of len bytes at p. Always fills *ret. When the result is not
 * MESSAGE_OK only has_id and id mean anything: has_id says that the packet, bad
 * as it is, carries exactly one readable id and can be answered by it. */
enum message_status message_parse(const uint8_t *p, size_t len, struct message *ret);

/* What is wrong, in words for a log. */
const char *message_strerror(enum message_status status);

#endif
