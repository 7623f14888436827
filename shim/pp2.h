#ifndef XMPP443_PP2_H
#define XMPP443_PP2_H

/*
 * pp2: writes and reads PROXY protocol headers, version 1 (text) and 2 (binary).
 *
 * Source: "The PROXY protocol", HAProxy's doc/proxy-protocol.txt, sections 2.1 to 2.2.
 */

#include "addr.h"

#include <stddef.h>
#include <stdint.h>

#define PP2_V1_MAX   107 /* without a terminating 0, section 2.1 */
#define PP2_ID_LEN   8   /* our UNIQUE_ID */
#define PP2_V2_MAX   (16 + 36 + 3 * 3 + 255 + 255 + PP2_ID_LEN)

enum pp2_version {
	PP2_NONE,
	PP2_V1,
	PP2_V2,
};

/* What a version 2 header says besides the addresses; a NULL part is left out. */
struct pp2_tlvs {
	const uint8_t *alpn;      /* PP2_TYPE_ALPN, 1..255 bytes */
	size_t alpn_len;
	const uint8_t *authority; /* PP2_TYPE_AUTHORITY, 1..255 bytes */
	size_t authority_len;
	const uint8_t *id;        /* PP2_TYPE_UNIQUE_ID, PP2_ID_LEN bytes */
};

/*
 * Writes the header of the given version into buf and returns its length, 0
 * for PP2_NONE. buf has PP2_V2_MAX bytes. tlvs may be NULL; version 1 has no
 * room for them. Addresses of different or unknown families, which one header
 * cannot say, give UNKNOWN (version 1) or UNSPEC (version 2).
 */
size_t pp2_write(enum pp2_version version, const struct addr *src, const struct addr *dst,
		 const struct pp2_tlvs *tlvs, uint8_t *buf);

#define PP2_READ_MAX 4096 /* longest header that is read; what is known to be sent in TLVs has some hundred bytes */

enum pp2_status {
	PP2_OK,
	PP2_NEED_MORE, /* so far the beginning of a header */
	PP2_MALFORMED, /* no header, of no use to us (UDP), or longer than PP2_READ_MAX */
};

/*
 * Reads the header at the beginning of buf. On PP2_OK *ret_len is its length,
 * and *ret_src and *ret_dst are the addresses, mapped ones as IPv4, or of
 * family AF_UNSPEC: the header says that the connection is the proxy's own
 * (LOCAL), or does not say whose it is (UNKNOWN, UNSPEC, Unix sockets).
 */
enum pp2_status pp2_read(const uint8_t *buf, size_t len, size_t *ret_len, struct addr *ret_src, struct addr *ret_dst);

#endif
