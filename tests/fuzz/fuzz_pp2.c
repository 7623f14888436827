/*
 * pp2 writes, lua-module/message.c reads: what went in must come out. Version
 * 1, which the module does not know, is read by a small parser here.
 *
 * Input: a byte that chooses the way, then its material. Even: two addresses
 * and three TLVs to write. Odd: a packet to read, which is then written anew.
 */

#include "../../lua-module/message.h"
#include "../../shim/pp2.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *p;
	size_t left;
};

/* Zeroes when there is nothing left. */
static void take(struct input *in, void *to, size_t len)
{
	size_t n = len < in->left ? len : in->left;

	memset(to, 0, len);
	memcpy(to, in->p, n);
	in->p += n;
	in->left -= n;
}

static uint8_t take_byte(struct input *in)
{
	uint8_t byte;

	take(in, &byte, 1);
	return byte;
}

static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

static struct addr take_addr(struct input *in)
{
	struct addr a = {.family = AF_UNSPEC};
	uint8_t kind = take_byte(in) % 8;

	if (kind == 0)
		return a;
	a.family = kind < 4 ? AF_INET : AF_INET6;
	take(in, a.ip, a.family == AF_INET ? 4 : 16);
	if (kind == 7)
		memcpy(a.ip, mapped_prefix, sizeof(mapped_prefix));
	take(in, &a.port, sizeof(a.port));
	return a;
}

/* 1..255 bytes, or NULL; storage has 255. */
static const uint8_t *take_value(struct input *in, uint8_t *storage, size_t *ret_len)
{
	*ret_len = take_byte(in);
	if (*ret_len == 0)
		return NULL;
	take(in, storage, *ret_len);
	return storage;
}

/* The module gives a mapped address as what it is. */
static void check_addr(const struct v2_addr *got, const struct addr *want)
{
	bool mapped = want->family == AF_INET6 && memcmp(want->ip, mapped_prefix, sizeof(mapped_prefix)) == 0;

	assert(got->port == want->port);
	assert(got->family == (mapped ? AF_INET : want->family));
	assert(memcmp(got->ip, want->ip + (mapped ? 12 : 0), got->family == AF_INET ? 4 : 16) == 0);
}

static bool is_name(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] == '\0' || strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._",
					   p[i]) == NULL)
			return false;
	return true;
}

static bool same(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
	return (a == NULL) == (b == NULL) && (a == NULL || (a_len == b_len && memcmp(a, b, a_len) == 0));
}

/* Into memory of exactly the size that the callee may use, then of exactly the size it did use. */
static uint8_t *write_header(enum pp2_version version, const struct addr *src, const struct addr *dst,
			     const struct pp2_tlvs *tlvs, size_t *ret_len)
{
	uint8_t *buf = malloc(PP2_V2_MAX), *exact;
	size_t len;

	assert(buf != NULL);
	len = pp2_write(version, src, dst, tlvs, buf);
	assert(len <= PP2_V2_MAX);
	exact = malloc(len + 1);
	assert(exact != NULL);
	memcpy(exact, buf, len);
	exact[len] = '\0';
	free(buf);
	*ret_len = len;
	return exact;
}

static void check_v2(const struct addr *src, const struct addr *dst, const struct pp2_tlvs *tlvs)
{
	bool known = src->family != AF_UNSPEC && src->family == dst->family;
	enum message_status status, wanted = MESSAGE_OK;
	struct message m;
	size_t len;
	uint8_t *header = write_header(PP2_V2, src, dst, tlvs, &len);

	if (!known)
		wanted = MESSAGE_BAD_FAMILY;
	else if (tlvs != NULL && tlvs->authority != NULL && !is_name(tlvs->authority, tlvs->authority_len))
		wanted = MESSAGE_BAD_AUTHORITY;
	else if (tlvs == NULL || tlvs->id == NULL)
		wanted = MESSAGE_BAD_ID;

	status = message_parse(header, len, &m);
	assert(status == wanted);
	assert(m.has_id == (tlvs != NULL && tlvs->id != NULL));
	assert(!m.has_id || memcmp(m.id, tlvs->id, PP2_ID_LEN) == 0);
	if (status == MESSAGE_OK) {
		check_addr(&m.source, src);
		check_addr(&m.dest, dst);
		assert(same(m.alpn, m.alpn_len, tlvs->alpn, tlvs->alpn_len));
		assert(same(m.authority, m.authority_len, tlvs->authority, tlvs->authority_len));
	}
	free(header);
}

/* A field up to the character that ends it, without that character. */
static char *field(char **text, char end)
{
	char *start = *text, *stop = strchr(start, end);

	assert(stop != NULL && stop > start);
	*stop = '\0';
	*text = stop + 1;
	return start;
}

static void check_v1_ip(const char *text, const struct addr *want)
{
	uint8_t ip[16];

	assert(strlen(text) <= 39);
	assert(inet_pton(want->family, text, ip) == 1);
	assert(memcmp(ip, want->ip, want->family == AF_INET ? 4 : 16) == 0);
}

static void check_v1_port(const char *text, uint16_t want)
{
	unsigned port = 0;

	assert(text[0] != '0' || text[1] == '\0');
	for (; *text != '\0'; text++) {
		assert(*text >= '0' && *text <= '9');
		port = port * 10 + (unsigned)(*text - '0');
	}
	assert(port == want);
}

/* Section 2.1 of the PROXY protocol's text. */
static void check_v1(const struct addr *src, const struct addr *dst, const struct pp2_tlvs *tlvs)
{
	bool known = src->family != AF_UNSPEC && src->family == dst->family;
	size_t len;
	uint8_t *header = write_header(PP2_V1, src, dst, tlvs, &len);
	char *text = (char *)header;

	assert(len <= PP2_V1_MAX && strlen(text) == len);
	if (!known) {
		assert(strcmp(text, "PROXY UNKNOWN\r\n") == 0);
	} else {
		assert(strcmp(field(&text, ' '), "PROXY") == 0);
		assert(strcmp(field(&text, ' '), src->family == AF_INET ? "TCP4" : "TCP6") == 0);
		check_v1_ip(field(&text, ' '), src);
		check_v1_ip(field(&text, ' '), dst);
		check_v1_port(field(&text, ' '), src->port);
		check_v1_port(field(&text, '\r'), dst->port);
		assert(strcmp(text, "\n") == 0);
	}
	free(header);
}

static void write_and_read(struct input in)
{
	uint8_t alpn[255], authority[255], id[PP2_ID_LEN], parts = take_byte(&in);
	struct addr src = take_addr(&in), dst = take_addr(&in);
	struct pp2_tlvs tlvs = {0};
	size_t len;

	take(&in, id, sizeof(id));
	if (parts & 1)
		tlvs.id = id;
	tlvs.alpn = take_value(&in, alpn, &tlvs.alpn_len);
	tlvs.authority = take_value(&in, authority, &tlvs.authority_len);

	check_v2(&src, &dst, &tlvs);
	check_v2(&src, &dst, NULL);
	check_v1(&src, &dst, &tlvs);
	check_v1(&src, &dst, NULL);
	free(write_header(PP2_NONE, &src, &dst, &tlvs, &len));
	assert(len == 0);
}

static struct addr addr_of(const struct v2_addr *m)
{
	struct addr a = {.family = (uint8_t)m->family, .port = m->port};

	memcpy(a.ip, m->ip, sizeof(a.ip));
	return a;
}

static void read_and_write(struct input in)
{
	struct pp2_tlvs tlvs;
	struct addr src, dst;
	struct message m;

	if (message_parse(in.p, in.left, &m) != MESSAGE_OK)
		return;
	src = addr_of(&m.source);
	dst = addr_of(&m.dest);
	tlvs = (struct pp2_tlvs){m.alpn, m.alpn_len, m.authority, m.authority_len, m.id};
	check_v2(&src, &dst, &tlvs);
	check_v1(&src, &dst, &tlvs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] & 1)
		read_and_write((struct input){data + 1, size - 1});
	else
		write_and_read((struct input){data + 1, size - 1});
	return 0;
}
