#ifndef XMPP443_PP2_H
#define XMPP443_PP2_H

/*
 * pp2: writes PROXY protocol headers, version 1 (text) and 2 (binary).
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

#endif
