#include "addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 1..65535 in plain digits, to the end of the text; 0 if it is not that. */
static uint16_t parse_port(const char *text)
{
	unsigned value = 0;

	if (*text == '\0' || *text == '0')
		return 0;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return 0;
		value = value * 10 + (unsigned)(*text - '0');
		if (value > UINT16_MAX)
			return 0;
	}
	return (uint16_t)value;
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
	uint16_t port;

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
	port = parse_port(end + 1);
	if (port == 0)
		return -EINVAL;

	if (v6) {
		e.u.in6.sin6_family = AF_INET6;
		e.u.in6.sin6_port = htons(port);
		e.len = sizeof(e.u.in6);
		if (inet_pton(AF_INET6, host, &e.u.in6.sin6_addr) != 1)
			return -EINVAL;
	} else {
		e.u.in.sin_family = AF_INET;
		e.u.in.sin_port = htons(port);
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
		if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr)) {
			a.family = AF_INET;
			memcpy(a.ip, (const uint8_t *)&in6.sin6_addr + 12, 4);
		} else {
			a.family = AF_INET6;
			memcpy(a.ip, &in6.sin6_addr, 16);
		}
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
