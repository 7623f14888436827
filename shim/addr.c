#include "addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 0..max in plain digits without leading zeros, to the end of the text; -EINVAL if it is not that. */
static int parse_number(const char *text, unsigned max, unsigned *ret)
{
	unsigned value = 0;

	if (*text == '\0' || (*text == '0' && text[1] != '\0'))
		return -EINVAL;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		value = value * 10 + (unsigned)(*text - '0');
		if (value > max)
			return -EINVAL;
	}
	*ret = value;
	return 0;
}

static int parse_unix(const char *path, struct addr_endpoint *ret)
{
	struct addr_endpoint e = {0};
	size_t len = strlen(path);

	if (path[0] != '/')
		return -EINVAL;
	if (len >= sizeof(e.u.un.sun_path))
		return -ENAMETOOLONG;
	e.u.un.sun_family = AF_UNIX;
	memcpy(e.u.un.sun_path, path, len + 1);
	e.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
	*ret = e;
	return 0;
}

int addr_parse_endpoint(const char *text, struct addr_endpoint *ret)
{
	struct addr_endpoint e = {0};
	char host[INET6_ADDRSTRLEN];
	const char *end;
	bool v6 = text[0] == '[';
	unsigned port;

	if (strncmp(text, "unix:", 5) == 0)
		return parse_unix(text + 5, ret);

	if (v6)
		text++;
	end = strchr(text, v6 ? ']' : ':');
	if (end == NULL || (size_t)(end - text) >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, (size_t)(end - text));
	host[end - text] = '\0';
	if (v6 && *++end != ':')
		return -EINVAL;
	if (parse_number(end + 1, UINT16_MAX, &port) < 0 || port == 0)
		return -EINVAL;

	if (v6) {
		e.u.in6.sin6_family = AF_INET6;
		e.u.in6.sin6_port = htons((uint16_t)port);
		e.len = sizeof(e.u.in6);
		if (inet_pton(AF_INET6, host, &e.u.in6.sin6_addr) != 1)
			return -EINVAL;
	} else {
		e.u.in.sin_family = AF_INET;
		e.u.in.sin_port = htons((uint16_t)port);
		e.len = sizeof(e.u.in);
		if (inet_pton(AF_INET, host, &e.u.in.sin_addr) != 1)
			return -EINVAL;
	}
	*ret = e;
	return 0;
}

const char *addr_endpoint_text(const struct addr_endpoint *e, char *buf)
{
	struct addr a;

	if (e->u.sa.sa_family == AF_UNIX) {
		snprintf(buf, ADDR_ENDPOINT_TEXT_MAX, "unix:%s", e->u.un.sun_path);
		return buf;
	}
	a = addr_from_sockaddr(&e->u.sa);
	return addr_text(&a, buf);
}

bool addr_endpoint_equal(const struct addr_endpoint *a, const struct addr_endpoint *b)
{
	return a->len == b->len && memcmp(&a->u, &b->u, a->len) == 0;
}

bool addr_endpoint_is_loopback(const struct addr_endpoint *e)
{
	if (e->u.sa.sa_family == AF_INET)
		return ntohl(e->u.in.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	return e->u.sa.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&e->u.in6.sin6_addr);
}

/* ::ffff:a.b.c.d becomes a.b.c.d. */
static void set_ip6(struct addr *a, const struct in6_addr *ip)
{
	if (IN6_IS_ADDR_V4MAPPED(ip)) {
		a->family = AF_INET;
		memcpy(a->ip, (const uint8_t *)ip + 12, 4);
	} else {
		a->family = AF_INET6;
		memcpy(a->ip, ip, 16);
	}
}

static int parse_ip(const char *text, struct addr *ret)
{
	struct in6_addr ip6;
	struct in_addr ip4;

	*ret = (struct addr){0};
	if (inet_pton(AF_INET, text, &ip4) == 1) {
		ret->family = AF_INET;
		memcpy(ret->ip, &ip4, 4);
		return 0;
	}
	if (inet_pton(AF_INET6, text, &ip6) != 1)
		return -EINVAL;
	set_ip6(ret, &ip6);
	return 0;
}

int addr_parse(const char *ip, const char *port, struct addr *ret)
{
	struct addr a;
	unsigned number;

	if (parse_ip(ip, &a) < 0 || parse_number(port, UINT16_MAX, &number) < 0)
		return -EINVAL;
	a.port = (uint16_t)number;
	*ret = a;
	return 0;
}

static bool bit(const uint8_t *ip, unsigned i)
{
	return (ip[i / 8] >> (7 - i % 8) & 1) != 0;
}

int addr_parse_prefix(const char *text, struct addr_prefix *ret)
{
	char ip[INET6_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	size_t len = slash != NULL ? (size_t)(slash - text) : strlen(text);
	struct addr_prefix p;
	unsigned max;

	if (len >= sizeof(ip))
		return -EINVAL;
	memcpy(ip, text, len);
	ip[len] = '\0';
	if (parse_ip(ip, &p.base) < 0)
		return -EINVAL;
	max = p.base.family == AF_INET ? 32 : 128;
	p.bits = max;
	if (slash != NULL && parse_number(slash + 1, max, &p.bits) < 0)
		return -EINVAL;
	for (unsigned i = p.bits; i < max; i++)
		if (bit(p.base.ip, i))
			return -EINVAL;
	*ret = p;
	return 0;
}

bool addr_in_prefix(const struct addr *a, const struct addr_prefix *p)
{
	if (a->family != p->base.family)
		return false;
	for (unsigned i = 0; i < p->bits; i++)
		if (bit(a->ip, i) != bit(p->base.ip, i))
			return false;
	return true;
}

struct addr addr_from_sockaddr(const struct sockaddr *sa)
{
	struct addr a = {.family = AF_UNSPEC};

	if (sa->sa_family == AF_INET) {
		struct sockaddr_in in;

		memcpy(&in, sa, sizeof(in));
		a.family = AF_INET;
		a.port = ntohs(in.sin_port);
		memcpy(a.ip, &in.sin_addr, 4);
	} else if (sa->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;

		memcpy(&in6, sa, sizeof(in6));
		a.port = ntohs(in6.sin6_port);
		set_ip6(&a, &in6.sin6_addr);
	}
	return a;
}

const char *addr_ip_text(const struct addr *a, char *buf)
{
	if (a->family == AF_UNSPEC || inet_ntop(a->family, a->ip, buf, ADDR_TEXT_MAX) == NULL)
		snprintf(buf, ADDR_TEXT_MAX, "unknown");
	return buf;
}

const char *addr_text(const struct addr *a, char *buf)
{
	char ip[ADDR_TEXT_MAX];

	addr_ip_text(a, ip);
	if (a->family == AF_UNSPEC)
		snprintf(buf, ADDR_TEXT_MAX, "%s", ip);
	else
		snprintf(buf, ADDR_TEXT_MAX, a->family == AF_INET6 ? "[%.46s]:%u" : "%.46s:%u", ip, a->port);
	return buf;
}
