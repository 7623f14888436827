#ifndef XMPP443_CHECK_RDATA_H
#define XMPP443_CHECK_RDATA_H

/*
 * rdata: the data of DNS records, from wire format (RFC 1035 section 3), with
 * names that are not compressed. Pure. Each function gives false, and leaves
 * the output alone, if the bytes are not exactly one such record.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RDATA_NAME_MAX 1024 /* 253 characters, each of which may need an escape "\123", and a 0 */

struct rdata_srv { /* RFC 2782 */
	uint16_t priority, weight, port;
	char target[RDATA_NAME_MAX]; /* no dot at the end; "" is the record "." */
};

struct rdata_caa { /* RFC 8659 section 4.1 */
	bool critical;
	char tag[16];
	char value[256]; /* cleaned */
};

struct rdata_tlsa { /* RFC 6698 section 2.1 */
	uint8_t usage, selector, matching;
	const uint8_t *data; /* a view of the input */
	size_t len;
};

bool rdata_srv(const uint8_t *data, size_t len, struct rdata_srv *ret);
bool rdata_caa(const uint8_t *data, size_t len, struct rdata_caa *ret);
bool rdata_tlsa(const uint8_t *data, size_t len, struct rdata_tlsa *ret);

#endif
