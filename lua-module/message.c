#include "message.h"

#include <string.h>

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
	case V2_TLV_ALPN:
		if (m->alpn != NULL || len == 0 || len > 255)
			return MESSAGE_BAD_ALPN;
		m->alpn = p;
		m->alpn_len = len;
		return MESSAGE_OK;
	case V2_TLV_AUTHORITY:
		if (m->authority != NULL || !is_host_name(p, len))
			return MESSAGE_BAD_AUTHORITY;
		m->authority = p;
		m->authority_len = len;
		return MESSAGE_OK;
	case V2_TLV_UNIQUE_ID:
		if (len != MESSAGE_ID_LEN)
			return MESSAGE_BAD_ID;
		memcpy(m->id, p, MESSAGE_ID_LEN);
		return MESSAGE_OK;
	default:
		return MESSAGE_OK; /* for extensions: whoever does not know a type skips it */
	}
}

/* Goes through all TLVs even if one is bad, to find the id. */
static enum message_status read_tlvs(struct message *m, struct v2_reader *r)
{
	enum message_status status = MESSAGE_OK;
	unsigned ids = 0;

	while (r->left > 0) {
		const uint8_t *head = v2_take(r, V2_TLV_HEAD_LEN);
		const uint8_t *value = head != NULL ? v2_take(r, v2_u16(head + 1)) : NULL;
		enum message_status one;

		if (value == NULL) {
			if (status == MESSAGE_OK)
				status = MESSAGE_BAD_TLV;
			break;
		}
		if (head[0] == V2_TLV_UNIQUE_ID)
			ids++;
		one = read_tlv(m, head[0], value, v2_u16(head + 1));
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
	struct v2_reader r = {p, len};
	enum message_status status = MESSAGE_OK, tlvs;
	const uint8_t *head, *block;
	int block_len;

	*ret = (struct message){0};

	head = v2_take(&r, V2_HEADER_LEN);
	if (head == NULL || memcmp(head, V2_SIGNATURE, V2_SIGNATURE_LEN) != 0)
		return MESSAGE_BAD_HEADER;
	if (head[12] != V2_PROXY && head[12] != V2_LOCAL)
		return MESSAGE_BAD_COMMAND; /* another version: nothing after it can be trusted */
	if (head[12] != V2_PROXY)
		status = MESSAGE_BAD_COMMAND;
	else if (head[13] != V2_TCP4 && head[13] != V2_TCP6)
		status = MESSAGE_BAD_FAMILY;
	else if (v2_u16(head + 14) > r.left)
		status = MESSAGE_SHORT;
	else if (v2_u16(head + 14) < r.left)
		status = MESSAGE_TRAILING;
	if (v2_u16(head + 14) < r.left)
		r.left = v2_u16(head + 14);

	/* Of a family that is refused too: the id to refuse it by comes after. */
	block_len = v2_block_len(head[13]);
	block = block_len >= 0 ? v2_take(&r, (size_t)block_len) : NULL;
	if (block == NULL)
		return status != MESSAGE_OK ? status : MESSAGE_SHORT;

	if (head[13] == V2_TCP4 || head[13] == V2_TCP6)
		v2_read_block(head[13], block, &ret->source, &ret->dest);

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
