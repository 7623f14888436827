#include "proxy.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>

#define FAMILY_UNSPEC 0x00
#define FAMILY_UNIX_STREAM 0x31
#define V1_WORDS 5 /* TCP4 source destination port port */

static const uint8_t V1_SIGNATURE[6] = {'P', 'R', 'O', 'X', 'Y', ' '};

/* Is p, as far as it goes, the same as the signature? */
static bool begins(const uint8_t *p, size_t len, const uint8_t *signature, size_t signature_len)
{
	return memcmp(p, signature, len < signature_len ? len : signature_len) == 0;
}

static enum proxy_status read_tlvs(struct proxy *ret, struct v2_reader *r)
{
	while (r->left > 0) {
		const uint8_t *head = v2_take(r, V2_TLV_HEAD_LEN);
		const uint8_t *value = head != NULL ? v2_take(r, v2_u16(head + 1)) : NULL;
		size_t len;

		if (value == NULL)
			return PROXY_BAD_TLV;
		if (head[0] != V2_TLV_ALPN)
			continue;
		len = v2_u16(head + 1);
		if (ret->alpn != NULL || len == 0 || len > 255)
			return PROXY_BAD_TLV;
		ret->alpn = value;
		ret->alpn_len = len;
	}
	return PROXY_OK;
}

static enum proxy_status read_v2(const uint8_t *p, size_t len, struct proxy *ret)
{
	struct v2_reader r = {p, len};
	const uint8_t *head = v2_take(&r, V2_HEADER_LEN);
	size_t body, block_len;
	const uint8_t *block;

	if (head == NULL)
		return PROXY_NEED_MORE;
	body = v2_u16(head + 14);
	if (head[12] != V2_PROXY && head[12] != V2_LOCAL)
		return PROXY_BAD_COMMAND;
	/* Of LOCAL the family and all that follows is to be ignored. */
	if (head[12] == V2_PROXY && head[13] != V2_TCP4 && head[13] != V2_TCP6 &&
	    head[13] != FAMILY_UNSPEC && head[13] != FAMILY_UNIX_STREAM)
		return PROXY_BAD_FAMILY;
	if (V2_HEADER_LEN + body > PROXY_MAX)
		return PROXY_TOO_LONG;
	block_len = head[12] == V2_LOCAL ? 0 : (size_t)v2_block_len(head[13]);
	if (body < block_len)
		return PROXY_BAD_TLV;
	if (r.left < body)
		return PROXY_NEED_MORE;

	ret->len = V2_HEADER_LEN + body;
	if (head[12] == V2_LOCAL)
		return PROXY_OK;
	r.left = body;
	block = v2_take(&r, block_len);
	if (head[13] == V2_TCP4 || head[13] == V2_TCP6) {
		ret->has_addrs = true;
		v2_read_block(head[13], block, &ret->source, &ret->dest);
	}
	return read_tlvs(ret, &r);
}

/* A number without sign or leading zero, up to 65535, as two bytes. */
static bool read_port(const char *text, uint8_t port[2])
{
	unsigned n = 0;
	size_t len = strlen(text);

	if (len == 0 || len > 5 || (text[0] == '0' && len > 1))
		return false;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return false;
		n = n * 10 + (unsigned)(*text - '0');
	}
	port[0] = (uint8_t)(n >> 8);
	port[1] = (uint8_t)n;
	return n <= 65535;
}

static bool read_v1_addr(int family, const char *ip, const char *port, struct v2_addr *ret)
{
	uint8_t ip_bytes[16], port_bytes[2];

	if (inet_pton(family, ip, ip_bytes) != 1 || !read_port(port, port_bytes))
		return false;
	*ret = v2_make_addr(family, ip_bytes, port_bytes);
	return true;
}

/* line is what stands between the signature and the end of the line; it gets cut
 * into words. */
static enum proxy_status read_v1_line(char *line, struct proxy *ret)
{
	char *word[V1_WORDS], *rest = line;
	int family;

	/* The rest of such a line has to be ignored. */
	if (strcmp(line, "UNKNOWN") == 0 || strncmp(line, "UNKNOWN ", 8) == 0)
		return PROXY_OK;

	for (int i = 0; i < V1_WORDS; i++)
		word[i] = strsep(&rest, " ");
	if (rest != NULL || word[V1_WORDS - 1] == NULL)
		return PROXY_BAD_TEXT;
	if (strcmp(word[0], "TCP4") == 0)
		family = AF_INET;
	else if (strcmp(word[0], "TCP6") == 0)
		family = AF_INET6;
	else
		return PROXY_BAD_TEXT;
	if (!read_v1_addr(family, word[1], word[3], &ret->source) ||
	    !read_v1_addr(family, word[2], word[4], &ret->dest))
		return PROXY_BAD_TEXT;
	ret->has_addrs = true;
	return PROXY_OK;
}

static enum proxy_status read_v1(const uint8_t *p, size_t len, struct proxy *ret)
{
	const uint8_t *end = memchr(p, '\n', len < PROXY_V1_MAX ? len : PROXY_V1_MAX);
	char line[PROXY_V1_MAX];
	size_t n;

	if (end == NULL)
		return len < PROXY_V1_MAX ? PROXY_NEED_MORE : PROXY_BAD_TEXT;
	n = (size_t)(end - p);
	if (n < sizeof(V1_SIGNATURE) + 1 || p[n - 1] != '\r' || memchr(p, '\0', n) != NULL)
		return PROXY_BAD_TEXT;
	ret->len = n + 1;
	n -= sizeof(V1_SIGNATURE) + 1;
	memcpy(line, p + sizeof(V1_SIGNATURE), n);
	line[n] = '\0';
	return read_v1_line(line, ret);
}

enum proxy_status proxy_parse(const uint8_t *p, size_t len, struct proxy *ret)
{
	*ret = (struct proxy){0};

	if (begins(p, len, V2_SIGNATURE, V2_SIGNATURE_LEN))
		return read_v2(p, len, ret);
	if (begins(p, len, V1_SIGNATURE, sizeof(V1_SIGNATURE)))
		return read_v1(p, len, ret);
	return PROXY_NO_HEADER;
}

const char *proxy_strerror(enum proxy_status status)
{
	switch (status) {
	case PROXY_OK: return "no error";
	case PROXY_NEED_MORE: return "ends too early";
	case PROXY_NO_HEADER: return "no PROXY header";
	case PROXY_BAD_TEXT: return "malformed version 1 header";
	case PROXY_BAD_COMMAND: return "unknown version or command";
	case PROXY_BAD_FAMILY: return "not a stream over IPv4, IPv6 or Unix";
	case PROXY_BAD_TLV: return "malformed addresses or TLV";
	case PROXY_TOO_LONG: return "header too long";
	}
	return "unknown error";
}
