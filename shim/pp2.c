#include "pp2.h"

#include <stdio.h>
#include <string.h>

#define V2_HEADER      16
#define V2_PROXY       0x21 /* version 2, command PROXY */
#define V2_UNSPEC      0x00
#define V2_TCP4        0x11
#define V2_TCP6        0x21
#define TYPE_ALPN      0x01
#define TYPE_AUTHORITY 0x02
#define TYPE_UNIQUE_ID 0x05

static const uint8_t signature[12] = {'\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};

static size_t put(uint8_t *to, const void *from, size_t len)
{
	memcpy(to, from, len);
	return len;
}

static size_t put_u16(uint8_t *to, uint16_t value)
{
	to[0] = (uint8_t)(value >> 8);
	to[1] = (uint8_t)value;
	return 2;
}

static size_t put_tlv(uint8_t *to, uint8_t type, const uint8_t *value, size_t len)
{
	if (value == NULL)
		return 0;
	to[0] = type;
	put_u16(to + 1, (uint16_t)len);
	return 3 + put(to + 3, value, len);
}

static size_t write_v1(const struct addr *src, const struct addr *dst, uint8_t *buf)
{
	char src_ip[ADDR_TEXT_MAX], dst_ip[ADDR_TEXT_MAX], line[PP2_V1_MAX + 1];
	int len;

	if (src->family == AF_UNSPEC || src->family != dst->family)
		len = snprintf(line, sizeof(line), "PROXY UNKNOWN\r\n");
	else
		len = snprintf(line, sizeof(line), "PROXY %s %s %s %u %u\r\n",
			       src->family == AF_INET6 ? "TCP6" : "TCP4",
			       addr_ip_text(src, src_ip), addr_ip_text(dst, dst_ip), src->port, dst->port);
	return put(buf, line, (size_t)len);
}

static size_t write_v2(const struct addr *src, const struct addr *dst, const struct pp2_tlvs *tlvs,
		       uint8_t *buf)
{
	size_t ip_len = src->family == AF_INET6 ? 16 : 4;
	bool known = src->family != AF_UNSPEC && src->family == dst->family;
	size_t n = put(buf, signature, sizeof(signature));

	buf[n++] = V2_PROXY;
	buf[n++] = !known ? V2_UNSPEC : src->family == AF_INET6 ? V2_TCP6 : V2_TCP4;
	n += 2; /* the length, filled in last */

	if (known) {
		n += put(buf + n, src->ip, ip_len);
		n += put(buf + n, dst->ip, ip_len);
		n += put_u16(buf + n, src->port);
		n += put_u16(buf + n, dst->port);
	}
	if (tlvs != NULL) {
		n += put_tlv(buf + n, TYPE_ALPN, tlvs->alpn, tlvs->alpn_len);
		n += put_tlv(buf + n, TYPE_AUTHORITY, tlvs->authority, tlvs->authority_len);
		n += put_tlv(buf + n, TYPE_UNIQUE_ID, tlvs->id, PP2_ID_LEN);
	}
	put_u16(buf + V2_HEADER - 2, (uint16_t)(n - V2_HEADER));
	return n;
}

size_t pp2_write(enum pp2_version version, const struct addr *src, const struct addr *dst,
		 const struct pp2_tlvs *tlvs, uint8_t *buf)
{
	switch (version) {
	case PP2_NONE:
		return 0;
	case PP2_V1:
		return write_v1(src, dst, buf);
	case PP2_V2:
		return write_v2(src, dst, tlvs, buf);
	}
	return 0;
}
