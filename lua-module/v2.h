/* The parts of a PROXY protocol version 2 header, for those who read one.
 *
 * Source: "The PROXY protocol", HAProxy's doc/proxy-protocol.txt, section 2.2. */
#ifndef FDPASS_V2_H
#define FDPASS_V2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define V2_SIGNATURE_LEN 12
#define V2_HEADER_LEN 16 /* signature, version and command, family, length */
#define V2_LOCAL 0x20
#define V2_PROXY 0x21
#define V2_TCP4 0x11
#define V2_TCP6 0x21
#define V2_TLV_HEAD_LEN 3 /* type, length */
#define V2_TLV_ALPN 0x01
#define V2_TLV_AUTHORITY 0x02
#define V2_TLV_UNIQUE_ID 0x05

extern const uint8_t V2_SIGNATURE[V2_SIGNATURE_LEN];

/* An address as on the wire. IPv4 fills the first four bytes of ip. */
struct v2_addr {
	int family; /* AF_INET or AF_INET6; v4-mapped IPv6 is given as AF_INET */
	uint16_t port;
	uint8_t ip[16];
};

/* What has not been read yet. Only v2_take() moves it. */
struct v2_reader {
	const uint8_t *p;
	size_t left;
};

/* Returns the next n bytes, or NULL if there are fewer. */
const uint8_t *v2_take(struct v2_reader *r, size_t n);

/* The number in two bytes. */
uint16_t v2_u16(const uint8_t *p);

/* The length of the address block by the header's family byte, whatever the
 * transport; -1 if the family is unknown. */
int v2_block_len(uint8_t family);

/* Makes an address of 4 (AF_INET) or 16 bytes at ip and 2 at port. */
struct v2_addr v2_make_addr(int family, const uint8_t *ip, const uint8_t *port);

/* Reads the address block of V2_TCP4 or V2_TCP6. */
void v2_read_block(uint8_t family, const uint8_t *block, struct v2_addr *ret_source, struct v2_addr *ret_dest);

#endif
