/* The second half of capture: from packets to what each side said. */
#include "capture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LINK_NULL 0
#define LINK_ETHERNET 1
#define LINK_RAW_OLD 12
#define LINK_RAW 101
#define LINK_LOOP 108
#define LINK_SLL 113
#define LINK_SLL2 276

#define ETHER_IPV4 0x0800
#define ETHER_IPV6 0x86dd
#define ETHER_VLAN 0x8100
#define ETHER_QINQ 0x88a8
#define PROTO_TCP 6

struct view {
	const uint8_t *p;
	size_t len;
};

static uint16_t u16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t u32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Takes n bytes off the front. False: there are not so many. */
static bool drop(struct view *v, size_t n)
{
	if (v->len < n)
		return false;
	v->p += n;
	v->len -= n;
	return true;
}

/* Takes the link layer off. 0; -EINVAL: no IP; -ENOTSUP. */
static int to_ip(unsigned link, struct view *v)
{
	uint16_t type;

	switch (link) {
	case LINK_RAW:
	case LINK_RAW_OLD:
		return 0;
	case LINK_NULL:
	case LINK_LOOP:
		return drop(v, 4) ? 0 : -EINVAL;
	case LINK_SLL:
		return drop(v, 16) ? 0 : -EINVAL;
	case LINK_SLL2:
		return drop(v, 20) ? 0 : -EINVAL;
	case LINK_ETHERNET:
		break;
	default:
		return -ENOTSUP;
	}
	if (!drop(v, 14))
		return -EINVAL;
	for (type = u16(v->p - 2); type == ETHER_VLAN || type == ETHER_QINQ; type = u16(v->p - 2))
		if (!drop(v, 4))
			return -EINVAL;
	return type == ETHER_IPV4 || type == ETHER_IPV6 ? 0 : -EINVAL;
}

static bool ipv4_to_tcp(struct view *v, struct addr *from, struct addr *to)
{
	size_t header, total;

	if (v->len < 20)
		return false;
	header = (size_t)(v->p[0] & 15) * 4;
	total = u16(v->p + 2);
	if (header < 20 || v->p[9] != PROTO_TCP || (u16(v->p + 6) & 0x3fff) != 0) /* a fragment */
		return false;
	*from = *to = (struct addr){.family = AF_INET};
	memcpy(from->ip, v->p + 12, 4);
	memcpy(to->ip, v->p + 16, 4);
	if (total >= header && total < v->len)
		v->len = total; /* Ethernet pads short packets; 0 with segmentation offload */
	return drop(v, header);
}

static bool ipv6_to_tcp(struct view *v, struct addr *from, struct addr *to)
{
	uint8_t next;
	size_t payload;

	if (v->len < 40)
		return false;
	next = v->p[6];
	payload = u16(v->p + 4);
	*from = *to = (struct addr){.family = AF_INET6};
	memcpy(from->ip, v->p + 8, 16);
	memcpy(to->ip, v->p + 24, 16);
	drop(v, 40);
	if (payload > 0 && payload < v->len)
		v->len = payload;
	while (next == 0 || next == 43 || next == 60) { /* options and routing, RFC 8200 section 4 */
		if (v->len < 8)
			return false;
		next = v->p[0];
		if (!drop(v, ((size_t)v->p[1] + 1) * 8))
			return false;
	}
	return next == PROTO_TCP;
}

static bool same(const struct addr *a, const struct addr *b)
{
	return a->family == b->family && a->port == b->port && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

/* A port that is used again begins a stream of its own. NULL with 0: there is no room for more. */
static int find(struct capture *c, const struct addr *from, const struct addr *to, uint32_t seq, bool syn, struct capture_stream **ret)
{
	struct capture_stream *s, *more;

	for (size_t i = c->n; i-- > 0;) {
		s = &c->streams[i];
		if (!same(&s->from, from) || !same(&s->to, to))
			continue;
		if (!syn || s->first == seq + 1) {
			*ret = s;
			return 0;
		}
		break;
	}
	*ret = NULL;
	if (c->n == CAPTURE_STREAMS_MAX)
		return 0;
	more = realloc(c->streams, (c->n + 1) * sizeof(*more));
	if (more == NULL)
		return -ENOMEM;
	c->streams = more;
	s = &c->streams[c->n];
	*s = (struct capture_stream){.from = *from, .to = *to, .first = syn ? seq + 1 : seq};
	s->bytes = calloc(1, CAPTURE_BYTES_MAX);
	s->seen = calloc(1, CAPTURE_BYTES_MAX / 8);
	c->n++; /* so that capture_free() finds what there is */
	if (s->bytes == NULL || s->seen == NULL)
		return -ENOMEM;
	*ret = s;
	return 0;
}

/* Segments may come twice, and in any order. */
static void add(struct capture_stream *s, uint32_t seq, const struct view *v)
{
	size_t at = seq - s->first;

	if (v->len == 0)
		return;
	s->segments++;
	for (size_t i = 0; i < v->len && at + i < CAPTURE_BYTES_MAX; i++) {
		size_t n = at + i;

		if ((s->seen[n / 8] & 1u << n % 8) != 0)
			continue;
		s->bytes[n] = v->p[i];
		s->seen[n / 8] |= (uint8_t)(1u << n % 8);
	}
	while (s->len < CAPTURE_BYTES_MAX && (s->seen[s->len / 8] & 1u << s->len % 8) != 0)
		s->len++;
}

int capture_packet(struct capture *c, unsigned link, const uint8_t *packet, size_t len)
{
	struct view v = {packet, len};
	struct capture_stream *s;
	struct addr from, to;
	uint32_t seq;
	bool syn, ack;
	int err = to_ip(link, &v);

	if (err == -ENOTSUP)
		return err;
	if (err < 0 || v.len == 0 || !(v.p[0] >> 4 == 4 ? ipv4_to_tcp(&v, &from, &to) : v.p[0] >> 4 == 6 && ipv6_to_tcp(&v, &from, &to)))
		return 0;
	if (v.len < 20)
		return 0;
	from.port = u16(v.p);
	to.port = u16(v.p + 2);
	seq = u32(v.p + 4);
	syn = (v.p[13] & 2) != 0;
	ack = (v.p[13] & 16) != 0;
	if (!drop(&v, (size_t)(v.p[12] >> 4) * 4))
		return 0;
	err = find(c, &from, &to, seq, syn, &s);
	if (err < 0 || s == NULL)
		return err;
	if (syn && !ack)
		s->began = true;
	add(s, syn ? seq + 1 : seq, &v);
	return 0;
}

bool capture_is_client(const struct capture_stream *s)
{
	if (s->len == 0)
		return false;
	/* Without the first packet: does it begin as a ClientHello does? RFC 8446 section 5.1. */
	return s->began || (s->len > 5 && s->bytes[0] == 22 && s->bytes[1] == 3 && s->bytes[5] == 1);
}

void capture_free(struct capture *c)
{
	for (size_t i = 0; i < c->n; i++) {
		free(c->streams[i].bytes);
		free(c->streams[i].seen);
	}
	free(c->streams);
	*c = (struct capture){0};
}
