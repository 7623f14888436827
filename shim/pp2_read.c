/* Reads PROXY protocol headers. */

#include "pp2.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <string.h>

#define V2_HEADER 16
#define V2_LOCAL  0x20
#define V2_PROXY  0x21
#define V2_UNSPEC 0x00
#define V2_TCP4   0x11
#define V2_TCP6   0x21
#define V2_UNIX   0x31
#define V1_WORDS  6 /* PROXY TCP4 source destination port port */

static const uint8_t v2_signature[12] = {'\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};
static const uint8_t v1_signature[6] = {'P', 'R', 'O', 'X', 'Y', ' '};

/* Is buf, as far as it goes, the same as the signature? */
static bool begins(const uint8_t *buf, size_t len, const uint8_t *signature, size_t signature_len)
{
	return memcmp(buf, signature, len < signature_len ? len : signature_len) == 0;
}

static struct addr make_addr(int family, const uint8_t *ip, const uint8_t *port)
{
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} u = {0};

	u.sa.sa_family = (sa_family_t)family;
	if (family == AF_INET) {
		memcpy(&u.in.sin_addr, ip, 4);
		memcpy(&u.in.sin_port, port, 2);
	} else {
		memcpy(&u.in6.sin6_addr, ip, 16);
		memcpy(&u.in6.sin6_port, port, 2);
	}
	return addr_from_sockaddr(&u.sa);
}

static enum pp2_status read_v2(const uint8_t *buf, size_t len, size_t *ret_len, struct addr *ret_src, struct addr *ret_dst)
{
	size_t body, ip;

	if (len < V2_HEADER)
		return PP2_NEED_MORE;
	body = (size_t)buf[14] << 8 | buf[15];
	if ((buf[12] != V2_PROXY && buf[12] != V2_LOCAL) || V2_HEADER + body > PP2_READ_MAX)
		return PP2_MALFORMED;
	if (buf[12] == V2_PROXY && buf[13] != V2_TCP4 && buf[13] != V2_TCP6 && buf[13] != V2_UNSPEC && buf[13] != V2_UNIX)
		return PP2_MALFORMED;
	if (buf[12] == V2_LOCAL || buf[13] == V2_UNSPEC || buf[13] == V2_UNIX)
		ip = 0;
	else
		ip = buf[13] == V2_TCP4 ? 4 : 16;
	if (ip > 0 && body < 2 * ip + 4)
		return PP2_MALFORMED;
	if (len < V2_HEADER + body)
		return PP2_NEED_MORE;

	*ret_len = V2_HEADER + body;
	*ret_src = *ret_dst = (struct addr){.family = AF_UNSPEC};
	if (ip > 0) {
		int family = ip == 4 ? AF_INET : AF_INET6;

		buf += V2_HEADER;
		*ret_src = make_addr(family, buf, buf + 2 * ip);
		*ret_dst = make_addr(family, buf + ip, buf + 2 * ip + 2);
	}
	return PP2_OK;
}

/* line is what stands between the signature and the end of the line; it gets cut into words. */
static enum pp2_status read_v1_line(char *line, struct addr *ret_src, struct addr *ret_dst)
{
	char *word[V1_WORDS - 1], *rest = line;
	struct addr src, dst;
	unsigned char ip[16];
	int family;

	*ret_src = *ret_dst = (struct addr){.family = AF_UNSPEC};
	if (strcmp(line, "UNKNOWN") == 0 || strncmp(line, "UNKNOWN ", 8) == 0)
		return PP2_OK; /* section 2.1: the rest of the line must be ignored */

	for (int i = 0; i < V1_WORDS - 1; i++)
		word[i] = strsep(&rest, " ");
	if (rest != NULL || word[V1_WORDS - 2] == NULL)
		return PP2_MALFORMED;
	if (strcmp(word[0], "TCP4") == 0)
		family = AF_INET;
	else if (strcmp(word[0], "TCP6") == 0)
		family = AF_INET6;
	else
		return PP2_MALFORMED;
	if (inet_pton(family, word[1], ip) != 1 || inet_pton(family, word[2], ip) != 1 ||
	    addr_parse(word[1], word[3], &src) < 0 || addr_parse(word[2], word[4], &dst) < 0)
		return PP2_MALFORMED;
	*ret_src = src;
	*ret_dst = dst;
	return PP2_OK;
}

static enum pp2_status read_v1(const uint8_t *buf, size_t len, size_t *ret_len, struct addr *ret_src, struct addr *ret_dst)
{
	char line[PP2_V1_MAX + 1];
	const uint8_t *end = memchr(buf, '\n', len < PP2_V1_MAX ? len : PP2_V1_MAX);
	size_t n;

	if (end == NULL)
		return len < PP2_V1_MAX ? PP2_NEED_MORE : PP2_MALFORMED;
	n = (size_t)(end - buf);
	if (n < sizeof(v1_signature) + 1 || buf[n - 1] != '\r' || memchr(buf, '\0', n) != NULL)
		return PP2_MALFORMED;
	*ret_len = n + 1;
	n -= sizeof(v1_signature) + 1;
	memcpy(line, buf + sizeof(v1_signature), n);
	line[n] = '\0';
	return read_v1_line(line, ret_src, ret_dst);
}

enum pp2_status pp2_read(const uint8_t *buf, size_t len, size_t *ret_len, struct addr *ret_src, struct addr *ret_dst)
{
	if (begins(buf, len, v2_signature, sizeof(v2_signature)))
		return read_v2(buf, len, ret_len, ret_src, ret_dst);
	if (begins(buf, len, v1_signature, sizeof(v1_signature)))
		return read_v1(buf, len, ret_len, ret_src, ret_dst);
	return PP2_MALFORMED;
}
