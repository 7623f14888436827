#include "capture.h"

#include <errno.h>
#include <string.h>

#define PCAP_HEADER 24
#define PCAP_RECORD 16
#define NG_SECTION 0x0a0d0d0a /* the same in both byte orders */
#define NG_INTERFACE 1
#define NG_SIMPLE 3
#define NG_ENHANCED 6
#define NG_MAGIC 0x1a2b3c4d
#define NG_INTERFACES_MAX 32

/* A file that is being read; nothing else moves p. */
struct file {
	const uint8_t *p, *end;
	bool swapped; /* it was written on a machine with the other byte order than big-endian */
};

static uint32_t u32_at(const struct file *f, const uint8_t *p)
{
	if (f->swapped)
		return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint16_t u16_at(const struct file *f, const uint8_t *p)
{
	return (uint16_t)(f->swapped ? p[1] << 8 | p[0] : p[0] << 8 | p[1]);
}

/* The next n bytes; NULL: there are not so many. */
static const uint8_t *take(struct file *f, size_t n)
{
	const uint8_t *p = f->p;

	if ((size_t)(f->end - f->p) < n)
		return NULL;
	f->p += n;
	return p;
}

/* Microseconds or nanoseconds, in either byte order. */
static bool is_pcap(const uint8_t *p, bool *ret_swapped)
{
	static const uint8_t magics[4][4] = {
		{0xa1, 0xb2, 0xc3, 0xd4}, {0xd4, 0xc3, 0xb2, 0xa1}, {0xa1, 0xb2, 0x3c, 0x4d}, {0x4d, 0x3c, 0xb2, 0xa1}};

	for (size_t i = 0; i < 4; i++) {
		if (memcmp(p, magics[i], 4) == 0) {
			*ret_swapped = i % 2 == 1;
			return true;
		}
	}
	return false;
}

bool capture_is(const uint8_t *file, size_t len)
{
	static const uint8_t section[4] = {0x0a, 0x0d, 0x0d, 0x0a};
	bool swapped;

	return len >= 4 && (is_pcap(file, &swapped) || memcmp(file, section, 4) == 0);
}

/* What one packet's result means for the whole: one that is known is enough. */
static int sum_up(int sum, int one)
{
	if (one == -ENOMEM || sum == -ENOMEM)
		return -ENOMEM;
	return sum == 0 || one == 0 ? 0 : -ENOTSUP;
}

static int read_pcap(struct file *f, struct capture *c)
{
	const uint8_t *header = take(f, PCAP_HEADER), *record, *packet;
	int ret = -ENOTSUP;
	uint32_t link;

	if (header == NULL)
		return -EINVAL;
	link = u32_at(f, header + 20) & 0xffff;
	while ((record = take(f, PCAP_RECORD)) != NULL) {
		uint32_t len = u32_at(f, record + 8);

		packet = take(f, len);
		if (packet == NULL)
			break;
		ret = sum_up(ret, capture_packet(c, link, packet, len));
	}
	return ret;
}

struct section {
	unsigned links[NG_INTERFACES_MAX];
	size_t n;
};

/* The packet in one block's body, if there is one. */
static int read_block(const struct file *f, struct section *s, uint32_t type, const uint8_t *body, size_t len, struct capture *c)
{
	uint32_t interface, captured;

	if (type == NG_INTERFACE && len >= 8 && s->n < NG_INTERFACES_MAX) {
		s->links[s->n++] = u16_at(f, body);
	} else if (type == NG_ENHANCED && len >= 20) {
		interface = u32_at(f, body);
		captured = u32_at(f, body + 12);
		if (interface < s->n && captured <= len - 20)
			return capture_packet(c, s->links[interface], body + 20, captured);
	} else if (type == NG_SIMPLE && len >= 4 && s->n > 0) {
		captured = u32_at(f, body);
		return capture_packet(c, s->links[0], body + 4, captured < len - 4 ? captured : len - 4);
	}
	return -ENOTSUP;
}

static int read_pcapng(struct file *f, struct capture *c)
{
	struct section s = {.n = 0};
	const uint8_t *head, *body;
	int ret = -ENOTSUP;

	while ((head = take(f, 8)) != NULL) {
		uint32_t type = u32_at(f, head), len;

		if (type == NG_SECTION) { /* its own byte order begins here */
			if ((size_t)(f->end - f->p) < 4)
				break;
			f->swapped = false;
			f->swapped = u32_at(f, f->p) != NG_MAGIC;
			s.n = 0;
		}
		len = u32_at(f, head + 4);
		/* Type, length, body, and the length again. */
		if (len < 12 || (body = take(f, len - 12)) == NULL || take(f, 4) == NULL)
			break;
		ret = sum_up(ret, read_block(f, &s, type, body, len - 12, c));
	}
	return ret;
}

int capture_read(const uint8_t *file, size_t len, struct capture *ret)
{
	struct file f = {.p = file, .end = file + len};
	int err;

	*ret = (struct capture){0};
	if (!capture_is(file, len))
		return -EINVAL;
	err = is_pcap(file, &f.swapped) ? read_pcap(&f, ret) : read_pcapng(&f, ret);
	if (err < 0)
		capture_free(ret);
	return err;
}
