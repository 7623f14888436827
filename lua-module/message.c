#include "message.h"

#include <string.h>
#include <sys/socket.h>

#define HEADER_LEN 16
#define VERSION_COMMAND_PROXY 0x21
#define VERSION_COMMAND_LOCAL 0x20
#define FAMILY_TCP4 0x11
#define FAMILY_TCP6 0x21

#define TLV_ALPN 0x01
#define TLV_AUTHORITY 0x02
#define TLV_UNIQUE_ID 0x05

static const uint8_t SIGNATURE[12] = {
	0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a,
};

/* What has not been read yet. Only take() moves it. */
struct reader {
	const uint8_t *p;
	size_t left;
};

/* Returns the next n bytes, or NULL if there are fewer. */
static const uint8_t *take(struct reader *r, size_t n)
{
	const uint8_t *p = r->p;

	if (r->left < n)
		return NULL;
	r->p += n;
	r->left -= n;
	return p;
}

static uint16_t u16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void read_addr(struct message_addr *ret, int family, const uint8_t *ip, const uint8_t *port)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	*ret = (struct message_addr){.family = family, .port = u16(port)};
	if (family == AF_INET6 && memcmp(ip, mapped, sizeof(mapped)) == 0) {
		ret->family = AF_INET;
		ip += sizeof(mapped);
	}
	memcpy(ret->ip, ip, ret->family == AF_INET ? 4 : 16);
}

/* The length of the address block by the header's family byte, -1 if unknown.
 * Also for families that are refused: the TLVs, and with them the id to refuse
 * the packet by, come after it. */
static int addr_block_len(uint8_t family)
{
	switch (family >> 4) {
	case 0: return 0;
	case 1: return 4 + 4 + 2 + 2;
	case 2: return 16 + 16 + 2 + 2;
	case 3: return 108 + 108;
	default: return -1;
	}
}

/* Host names only: what arrives here may end up in a log or a config lookup. */
static bool is_host_name(const uint8_t *p, size_t len)
{
	if (len == 0 || len > 255)
		return false;
	for (size_t i = 0; i < len; i++) {
		uint8_t c = p[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		      (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_'))
			return false;
	}
	return true;
}

static enum message_status read_tlv(struct message *m, uint8_t type, const uint8_t *p, size_t len)
{
	switch (type) {
	case TLV_ALPN:
		if (m->alpn != NULL || len == 0 || len > 255)
			return MESSAGE_BAD_ALPN;
		m->alpn = p;
		m->alpn_len = len;
		return MESSAGE_OK;
	case TLV_AUTHORITY:
		if (m->authority != NULL || !is_host_name(p, len))
			return MESSAGE_BAD_AUTHORITY;
		m->authority = p;
		m->authority_len = len;
		return MESSAGE_OK;
	case TLV_UNIQUE_ID:
		if (len != MESSAGE_ID_LEN)
			return MESSAGE_BAD_ID;
		memcpy(m->id, p, MESSAGE_ID_LEN);
		return MESSAGE_OK;
	default:
		return MESSAGE_OK; /* for extensions: whoever does not know a type skips it */
	}
}

/* Goes through all TLVs even if one is bad, to find the id. */
static enum message_status read_tlvs(struct message *m, struct reader *r)
{
	enum message_status status = MESSAGE_OK;
	unsigned ids = 0;

	while (r->left > 0) {
		const uint8_t *head = take(r, 3);
		const uint8_t *value = head != NULL ? take(r, u16(head + 1)) : NULL;
		enum message_status one;

		if (value == NULL) {
			if (status == MESSAGE_OK)
				status = MESSAGE_BAD_TLV;
			break;
		}
		if (head[0] == TLV_UNIQUE_ID)
			ids++;
		one = read_tlv(m, head[0], value, u16(head + 1));
		if (one == MESSAGE_BAD_ID)
			ids++; /* not one that an answer could use */
		if (status == MESSAGE_OK)
			status = one;
	}

	m->has_id = ids == 1;
	if (status == MESSAGE_OK && !m->has_id)
		status = MESSAGE_BAD_ID;
	return status;
}

enum message_status message_parse(const uint8_t *p, size_t len, struct message *ret)
{
	struct reader r = {p, len};
	enum message_status status = MESSAGE_OK, tlvs;
	const uint8_t *head, *block;
	int block_len;

	*ret = (struct message){0};

	head = take(&r, HEADER_LEN);
	if (head == NULL || memcmp(head, SIGNATURE, sizeof(SIGNATURE)) != 0)
		return MESSAGE_BAD_HEADER;
	if (head[12] != VERSION_COMMAND_PROXY && head[12] != VERSION_COMMAND_LOCAL)
		return MESSAGE_BAD_COMMAND; /* another version: nothing after it can be trusted */
	if (head[12] != VERSION_COMMAND_PROXY)
		status = MESSAGE_BAD_COMMAND;
	else if (head[13] != FAMILY_TCP4 && head[13] != FAMILY_TCP6)
		status = MESSAGE_BAD_FAMILY;
	else if (u16(head + 14) > r.left)
		status = MESSAGE_SHORT;
	else if (u16(head + 14) < r.left)
		status = MESSAGE_TRAILING;
	if (u16(head + 14) < r.left)
		r.left = u16(head + 14);

	block_len = addr_block_len(head[13]);
	block = block_len >= 0 ? take(&r, (size_t)block_len) : NULL;
	if (block == NULL)
		return status != MESSAGE_OK ? status : MESSAGE_SHORT;

	if (head[13] == FAMILY_TCP4) {
		read_addr(&ret->source, AF_INET, block, block + 8);
		read_addr(&ret->dest, AF_INET, block + 4, block + 10);
	} else if (head[13] == FAMILY_TCP6) {
		read_addr(&ret->source, AF_INET6, block, block + 32);
		read_addr(&ret->dest, AF_INET6, block + 16, block + 34);
	}

	tlvs = read_tlvs(ret, &r);
	return status != MESSAGE_OK ? status : tlvs;
}

const char *message_strerror(enum message_status status)
{
	switch (status) {
	case MESSAGE_OK: return "no error";
	case MESSAGE_BAD_HEADER: return "not a PROXY v2 header";
	case MESSAGE_BAD_COMMAND: return "command is not PROXY";
	case MESSAGE_BAD_FAMILY: return "not TCP over IPv4 or IPv6";
	case MESSAGE_SHORT: return "ends too early";
	case MESSAGE_TRAILING: return "trailing bytes";
	case MESSAGE_BAD_TLV: return "malformed TLV";
	case MESSAGE_BAD_ALPN: return "bad ALPN";
	case MESSAGE_BAD_AUTHORITY: return "bad AUTHORITY";
	case MESSAGE_BAD_ID: return "bad UNIQUE_ID";
	}
	return "unknown error";
}
