#ifndef XMPP443_ADDR_H
#define XMPP443_ADDR_H

/*
 * addr: internet addresses and endpoints, as values and as text.
 *
 * Only numeric text is understood. Nothing here ever asks a resolver.
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

/* One side of a TCP connection. */
struct addr {
	uint8_t family; /* AF_INET, AF_INET6, or AF_UNSPEC: not known */
	uint8_t ip[16]; /* network order; IPv4 uses the first 4 */
	uint16_t port;  /* host order */
};

#define ADDR_TEXT_MAX 56 /* "[" IPv6 "]:65535" and the terminating 0 */

/* Something to listen on or to connect to. */
struct addr_endpoint {
	socklen_t len;
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	} u;
};

#define ADDR_ENDPOINT_TEXT_MAX (sizeof("unix:") + sizeof(((struct sockaddr_un *)0)->sun_path))

/*
 * Reads "192.0.2.1:443", "[2001:db8::1]:443" or "unix:/path". 0, or
 * -EINVAL:      not of one of these forms (a name, a port out of 1..65535, a relative path)
 * -ENAMETOOLONG: the path does not fit a Unix socket address, unix(7)
 */
int addr_parse_endpoint(const char *text, struct addr_endpoint *ret);

/* Writes what addr_parse_endpoint() reads; buf has ADDR_ENDPOINT_TEXT_MAX bytes. Returns buf. */
const char *addr_endpoint_text(const struct addr_endpoint *e, char *buf);

bool addr_endpoint_equal(const struct addr_endpoint *a, const struct addr_endpoint *b);

/* True for 127.0.0.0/8 and ::1. */
bool addr_endpoint_is_loopback(const struct addr_endpoint *e);

/*
 * Takes over a kernel address. An IPv4 address mapped into IPv6 (::ffff:a.b.c.d)
 * becomes IPv4: programs that read PROXY headers or logs compare texts. Any
 * other family gives AF_UNSPEC.
 */
struct addr addr_from_sockaddr(const struct sockaddr *sa);

/* The addresses of which the first bits are those of base; its port does not matter. */
struct addr_prefix {
	struct addr base;
	unsigned bits;
};

/* Reads "192.0.2.0/24", "2001:db8::/32", or one address. -EINVAL: not of this form, or bits set behind the prefix. */
int addr_parse_prefix(const char *text, struct addr_prefix *ret);

bool addr_in_prefix(const struct addr *a, const struct addr_prefix *p);

/* Reads an address and a port in plain digits, 0 included. -EINVAL. */
int addr_parse(const char *ip, const char *port, struct addr *ret);

/* "192.0.2.1:443", "[2001:db8::1]:443", "unknown"; buf has ADDR_TEXT_MAX bytes. Returns buf. */
const char *addr_text(const struct addr *a, char *buf);

/* The address alone, no brackets, no port. */
const char *addr_ip_text(const struct addr *a, char *buf);

#endif
