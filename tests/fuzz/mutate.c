/*
 * A mutator that knows how a ClientHello is built. Plain mutation almost never
 * gets past the nested lengths; this one takes a hello apart, changes a part,
 * and puts it together again with lengths that fit, in records of any size.
 * Now and then it gets one length wrong on purpose.
 */

#include "tls.h"

#include <stdbool.h>
#include <string.h>

#define EXTS_MAX 64
#define OUT_MAX  TLS_INPUT_MAX

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

struct bytes {
	const uint8_t *p;
	size_t len;
};

struct ext {
	uint16_t type;
	struct bytes content;
};

struct parts {
	struct bytes version_random, session, ciphers, compression;
	bool no_block; /* leave the block of extensions out */
	struct ext exts[EXTS_MAX];
	size_t n_exts;
};

struct out {
	uint8_t data[OUT_MAX];
	size_t len, max;
	size_t numbers[3 * EXTS_MAX + 16]; /* where the lengths stand: index << 2 | width */
	size_t n_numbers;
};

static uint8_t arena[2 * OUT_MAX]; /* new contents; given back all at once */
static size_t arena_used;
static uint32_t state;

static uint32_t below(uint32_t n)
{
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state % n;
}

static uint8_t *allocate(size_t len)
{
	uint8_t *p = arena + arena_used;

	if (len > sizeof(arena) - arena_used)
		return NULL;
	arena_used += len;
	return p;
}

/* The first len bytes at *from, and off with them. Fewer if there are fewer. */
static struct bytes cut(struct bytes *from, size_t len)
{
	struct bytes head = {from->p, len < from->len ? len : from->len};

	from->p += head.len;
	from->len -= head.len;
	return head;
}

static size_t cut_number(struct bytes *from, size_t width)
{
	struct bytes b = cut(from, width);
	size_t n = 0;

	for (size_t i = 0; i < b.len; i++)
		n = n << 8 | b.p[i];
	return n;
}

/* Whatever the bytes are, something comes out. */
static void take_apart(const uint8_t *data, size_t size, struct parts *ret)
{
	static const uint8_t zeroes[34];
	static struct tls_hello h;
	struct bytes in;

	tls_classes(data, size, &h);
	in = (struct bytes){h.message, h.len};
	*ret = (struct parts){0};

	cut(&in, 4);
	ret->version_random = cut(&in, 34);
	if (ret->version_random.len < 34)
		ret->version_random = (struct bytes){zeroes, 34};
	ret->session = cut(&in, cut_number(&in, 1));
	ret->ciphers = cut(&in, cut_number(&in, 2));
	ret->compression = cut(&in, cut_number(&in, 1));
	ret->no_block = in.len == 0;
	cut(&in, 2);
	while (in.len > 0 && ret->n_exts < EXTS_MAX) {
		struct ext *e = &ret->exts[ret->n_exts++];

		e->type = (uint16_t)cut_number(&in, 2);
		e->content = cut(&in, cut_number(&in, 2));
	}
}

static void put(struct out *o, const void *p, size_t len)
{
	if (len > o->max - o->len)
		len = o->max - o->len;
	if (len > 0)
		memcpy(o->data + o->len, p, len);
	o->len += len;
}

static void put_number(struct out *o, size_t n, size_t width)
{
	uint8_t be[4];

	for (size_t i = 0; i < width; i++)
		be[i] = (uint8_t)(n >> 8 * (width - 1 - i));
	put(o, be, width);
}

static void set_number(struct out *o, size_t at, size_t n, size_t width)
{
	for (size_t i = 0; i < width && at + i < o->len; i++)
		o->data[at + i] = (uint8_t)(n >> 8 * (width - 1 - i));
}

/* A length, and remember where. */
static void put_length(struct out *o, size_t n, size_t width)
{
	if (o->n_numbers < sizeof(o->numbers) / sizeof(o->numbers[0]))
		o->numbers[o->n_numbers++] = o->len << 2 | width;
	put_number(o, n, width);
}

static void put_block(struct out *o, struct bytes b, size_t width)
{
	put_length(o, b.len, width);
	put(o, b.p, b.len);
}

static void put_together(const struct parts *p, struct out *o)
{
	size_t exts;

	put_number(o, 1, 1);
	put_length(o, 0, 3);
	put(o, p->version_random.p, p->version_random.len);
	put_block(o, p->session, 1);
	put_block(o, p->ciphers, 2);
	put_block(o, p->compression, 1);
	if (!p->no_block) {
		exts = o->len;
		put_length(o, 0, 2);
		for (size_t i = 0; i < p->n_exts; i++) {
			put_number(o, p->exts[i].type, 2);
			put_block(o, p->exts[i].content, 2);
		}
		set_number(o, exts, o->len - exts - 2, 2);
	}
	set_number(o, 1, o->len - 4, 3);
}

static void spoil_a_length(struct out *o)
{
	static const int changes[] = {-1, 1, -2, 2, -4, 4, 256, -256};
	size_t at, width, n = 0;

	if (o->n_numbers == 0)
		return;
	at = o->numbers[below((uint32_t)o->n_numbers)];
	width = at & 3;
	at >>= 2;
	for (size_t i = 0; i < width && at + i < o->len; i++)
		n = n << 8 | o->data[at + i];
	n = below(4) == 0 ? below(65536) : n + (size_t)changes[below(8)];
	set_number(o, at, n, width);
}

static void put_record(struct out *o, uint8_t type, struct bytes content)
{
	uint8_t header[] = {type, below(64) == 0 ? (uint8_t)below(256) : 3, (uint8_t)below(5),
			    (uint8_t)(content.len >> 8), (uint8_t)content.len};

	if (below(256) == 0)
		header[3] = (uint8_t)below(256);
	put(o, header, sizeof(header));
	put(o, content.p, content.len);
}

static void put_something_else(struct out *o)
{
	static const uint8_t alert[] = {1, 90}, fatal[] = {2, 40}, change[] = {1}, hello2[] = {0, 46, 1, 3, 1};

	switch (below(6)) {
	case 0:
	case 1:
		put_record(o, 21, (struct bytes){alert, sizeof(alert)});
		return;
	case 2:
		put_record(o, 21, (struct bytes){fatal, sizeof(fatal)});
		return;
	case 3:
		put_record(o, 20, (struct bytes){change, sizeof(change)});
		return;
	case 4:
		put_record(o, 23, (struct bytes){change, sizeof(change)});
		return;
	case 5:
		put_number(o, 0x80, 1);
		put(o, hello2, sizeof(hello2));
		return;
	}
}

static void put_records(struct out *o, struct bytes message)
{
	uint32_t rare = below(16); /* 0: something between the records, 1: empty records */
	uint32_t longest = below(2) == 0 ? 16384 : 1u << below(12);

	do {
		size_t len = longest == 16384 ? longest : 1 + below(longest);

		if (rare == 0 && below(2) == 0)
			put_something_else(o);
		if (rare == 1 && below(2) == 0)
			put_record(o, 22, (struct bytes){NULL, 0});
		put_record(o, 22, cut(&message, len));
	} while (message.len > 0 && o->len < o->max);
}

static void fill(uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)("abcdefghijklmnopqrstuvwxyz-.*\0\xff\x01"[below(32)]);
}

static struct bytes make_server_name(void)
{
	size_t len = below(8) == 0 ? 250 + below(10) : 1 + below(20);
	uint8_t *p = allocate(len + 5);

	if (p == NULL)
		return (struct bytes){0};
	p[0] = (uint8_t)((len + 3) >> 8);
	p[1] = (uint8_t)(len + 3);
	p[2] = below(32) == 0;
	p[3] = (uint8_t)(len >> 8);
	p[4] = (uint8_t)len;
	fill(p + 5, len);
	return (struct bytes){p, len + 5};
}

static struct bytes make_alpn(void)
{
	static const char *const names[] = {"xmpp-client", "xmpp-server", "h2", "http/1.1", "x"};
	size_t n = below(6), len = 2;
	uint8_t *p = allocate(2 + 6 * 256);

	if (p == NULL)
		return (struct bytes){0};
	for (size_t i = 0; i < n; i++) {
		size_t name_len = below(16) == 0 ? below(256) : 1 + below(12);

		if (below(2) == 0) {
			const char *name = names[below(5)];

			name_len = strlen(name);
			memcpy(p + len + 1, name, name_len);
		} else {
			fill(p + len + 1, name_len);
		}
		p[len] = (uint8_t)name_len;
		len += 1 + name_len;
	}
	p[0] = (uint8_t)((len - 2) >> 8);
	p[1] = (uint8_t)(len - 2);
	return (struct bytes){p, len};
}

static struct bytes make_other(void)
{
	size_t len = below(64) == 0 ? below(18000) : below(24);
	uint8_t *p = allocate(len);

	if (p == NULL)
		return (struct bytes){0};
	fill(p, len);
	return (struct bytes){p, len};
}

static struct ext make_ext(void)
{
	static const uint16_t types[] = {1, 5, 10, 11, 13, 14, 15, 18, 21, 22, 23, 27, 35, 41, 42, 43, 44, 45, 47, 49, 50, 51,
					 0x0a0a, 13172, 17513, 0xfde8, 0xfe0d, 0xff01};
	uint32_t kind = below(4);

	if (kind == 0)
		return (struct ext){0, make_server_name()};
	if (kind == 1)
		return (struct ext){16, make_alpn()};
	return (struct ext){types[below(sizeof(types) / sizeof(types[0]))], make_other()};
}

static void mutate_bytes(struct bytes *b)
{
	size_t max = b->len + 1 + below(8);
	uint8_t *p = allocate(max);

	if (p == NULL)
		return;
	if (b->len > 0)
		memcpy(p, b->p, b->len);
	*b = (struct bytes){p, LLVMFuzzerMutate(p, b->len, max)};
}

static void insert(struct parts *p, size_t at, struct ext e)
{
	if (p->n_exts == EXTS_MAX)
		return;
	memmove(&p->exts[at + 1], &p->exts[at], (p->n_exts - at) * sizeof(e));
	p->exts[at] = e;
	p->n_exts++;
	p->no_block = false;
}

static void change(struct parts *p)
{
	uint32_t at = below((uint32_t)p->n_exts + 1), any = p->n_exts > 0 ? below((uint32_t)p->n_exts) : 0;

	switch (below(12)) {
	case 0: /* a new one */
	case 1:
		insert(p, at, make_ext());
		return;
	case 2: /* one twice */
		if (p->n_exts > 0)
			insert(p, at, p->exts[any]);
		return;
	case 3: /* one less */
		if (p->n_exts > 0) {
			p->n_exts--;
			memmove(&p->exts[any], &p->exts[any + 1], (p->n_exts - any) * sizeof(p->exts[0]));
		}
		return;
	case 4: /* another in its place */
		if (p->n_exts > 0)
			p->exts[any] = make_ext();
		return;
	case 5:
	case 6:
	case 7:
		if (p->n_exts > 0)
			mutate_bytes(&p->exts[any].content);
		return;
	case 8:
		p->session.p = arena;
		p->session.len = below(35);
		return;
	case 9:
		p->ciphers.p = arena;
		p->ciphers.len = below(8) == 0 ? below(40) : 2 * below(20);
		return;
	case 10:
		p->compression.p = arena;
		p->compression.len = below(4) == 0 ? below(256) : below(3);
		return;
	case 11:
		if (below(4) == 0)
			p->n_exts = 0;
		p->no_block = p->n_exts == 0 && below(2) == 0;
		return;
	}
}

/* Most of the corpus is refused for something; from there the way back is long. */
static void repair(struct parts *p)
{
	if (p->ciphers.len == 0 || p->ciphers.len % 2 != 0)
		p->ciphers = (struct bytes){arena, 2};
	if (p->compression.len == 0)
		p->compression = (struct bytes){arena, 1};
	for (size_t i = 0; i < p->n_exts; i++) {
		for (size_t k = i + 1; k < p->n_exts; k++)
			if (p->exts[k].type == p->exts[i].type)
				p->exts[k].type = (uint16_t)(0x1000 + below(0x1000));
		if (p->exts[i].type == 0 && below(2) == 0)
			p->exts[i].content = make_server_name();
		if (p->exts[i].type == 16 && below(2) == 0)
			p->exts[i].content = make_alpn();
	}
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	static struct out message, framed;
	struct parts parts;

	state = seed | 1;
	arena_used = 64; /* those are for blocks of whatever content */
	if (size > TLS_INPUT_MAX || below(4) == 0)
		return LLVMFuzzerMutate(data, size, max_size);

	take_apart(data, size, &parts);
	if (below(2) == 0)
		repair(&parts);
	for (uint32_t n = 1 + below(3); n > 0; n--)
		change(&parts);

	message.len = message.n_numbers = 0;
	message.max = OUT_MAX;
	put_together(&parts, &message);
	if (below(4) == 0)
		spoil_a_length(&message);

	framed.len = 0;
	framed.max = max_size < OUT_MAX ? max_size : OUT_MAX;
	if (below(16) == 0)
		put_something_else(&framed);
	put_records(&framed, (struct bytes){message.data, message.len});
	if (below(16) == 0)
		put_something_else(&framed);
	if (below(16) == 0)
		framed.len = below((uint32_t)framed.len + 1);

	memcpy(data, framed.data, framed.len);
	return framed.len;
}
