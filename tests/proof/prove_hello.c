/*
 * What CBMC proves of the ClientHello parser.
 *
 * One step is proved from every state that satisfies invariant(), not only
 * from those that some input reaches; init_holds() shows that the first state
 * satisfies it, and step_keeps() that each step leads to another one that
 * does. By induction all of it holds for input of any length.
 *
 * Memory safety, overflow, shifts and conversions are CBMC's own checks
 * (tests/proof/run has the flags); the assertions are what we add.
 */

#include "hello.c"

#include <assert.h>
#include <stdlib.h>

#define MESSAGE_LEFT_MAX (HELLO_MESSAGE_MAX - MESSAGE_HEADER)

struct hello nondet_hello(void);
uint8_t nondet_u8(void);
size_t nondet_size(void);
uint16_t nondet_u16(void);

/* How many bytes a field of fixed size has, 0 for the others. */
static unsigned width(enum hello_field field)
{
	switch (field) {
	case HELLO_FIELD_TYPE:
	case HELLO_FIELD_SESSION_LENGTH:
	case HELLO_FIELD_COMPRESSION_LENGTH:
	case HELLO_FIELD_SNI_TYPE:
	case HELLO_FIELD_ALPN_LENGTH:
		return 1;
	case HELLO_FIELD_CIPHERS_LENGTH:
	case HELLO_FIELD_EXTENSIONS_LENGTH:
	case HELLO_FIELD_EXT_TYPE:
	case HELLO_FIELD_EXT_LENGTH:
	case HELLO_FIELD_SNI_LIST_LENGTH:
	case HELLO_FIELD_SNI_LENGTH:
	case HELLO_FIELD_ALPN_LIST_LENGTH:
		return 2;
	case HELLO_FIELD_LENGTH:
		return 3;
	case HELLO_FIELD_VERSION_RANDOM:
	case HELLO_FIELD_SESSION:
	case HELLO_FIELD_CIPHERS:
	case HELLO_FIELD_COMPRESSION:
	case HELLO_FIELD_EXT_SKIP:
	case HELLO_FIELD_SNI_NAME:
	case HELLO_FIELD_ALPN_NAME:
		return 0;
	}
	return 0;
}

static bool in_message(const struct hello *h)
{
	return h->field > HELLO_FIELD_LENGTH;
}

static bool in_extensions(const struct hello *h)
{
	return h->field > HELLO_FIELD_EXTENSIONS_LENGTH;
}

static bool in_extension(const struct hello *h)
{
	return h->field > HELLO_FIELD_EXT_LENGTH;
}

/* Bytes that must still follow in the extension, at least, before the field and what it announces can end. */
static unsigned extension_needs(const struct hello *h)
{
	switch (h->field) {
	case HELLO_FIELD_SNI_LIST_LENGTH:
		return h->need + 3u;
	case HELLO_FIELD_SNI_TYPE:
		return h->need + 2u;
	case HELLO_FIELD_ALPN_LIST_LENGTH:
		return h->need + 1u;
	case HELLO_FIELD_TYPE:
	case HELLO_FIELD_LENGTH:
	case HELLO_FIELD_VERSION_RANDOM:
	case HELLO_FIELD_SESSION_LENGTH:
	case HELLO_FIELD_SESSION:
	case HELLO_FIELD_CIPHERS_LENGTH:
	case HELLO_FIELD_CIPHERS:
	case HELLO_FIELD_COMPRESSION_LENGTH:
	case HELLO_FIELD_COMPRESSION:
	case HELLO_FIELD_EXTENSIONS_LENGTH:
	case HELLO_FIELD_EXT_TYPE:
	case HELLO_FIELD_EXT_LENGTH:
	case HELLO_FIELD_EXT_SKIP:
	case HELLO_FIELD_SNI_LENGTH:
	case HELLO_FIELD_SNI_NAME:
	case HELLO_FIELD_ALPN_LENGTH:
	case HELLO_FIELD_ALPN_NAME:
		return h->need;
	}
	return 0;
}

static bool record_holds(const struct hello *h)
{
	if (h->rec_header > RECORD_HEADER)
		return false;
	if (h->rec_header == RECORD_HEADER && (h->rec_left == 0 || h->rec_left > RECORD_MAX))
		return false;
	/* Before the first record's content no byte of the message was read. */
	return !h->first_record || (h->rec_header < RECORD_HEADER && h->field == HELLO_FIELD_TYPE);
}

static bool field_holds(const struct hello *h)
{
	unsigned w = width(h->field);

	if (h->need == 0)
		return false;
	if (w > 0 && (h->need > w || h->number >> 8 * (w - h->need) != 0))
		return false;
	return (h->field != HELLO_FIELD_VERSION_RANDOM || h->need <= VERSION_RANDOM) &&
	       (h->field != HELLO_FIELD_SESSION || h->need <= SESSION_MAX) &&
	       (h->field != HELLO_FIELD_COMPRESSION || h->need <= 255) &&
	       (h->field != HELLO_FIELD_ALPN_NAME || h->need <= 255) && h->number <= 0xffffff;
}

/* Each block lies within the one around it, and the field within the innermost. */
static bool blocks_hold(const struct hello *h)
{
	if (in_message(h) && (h->msg_left > MESSAGE_LEFT_MAX || h->need > h->msg_left))
		return false;
	if (in_extensions(h) && h->exts_left != h->msg_left)
		return false;
	if (h->field == HELLO_FIELD_EXT_TYPE && h->exts_left < h->need + 2)
		return false;
	if (in_extension(h) && (h->ext_left > h->exts_left || extension_needs(h) > h->ext_left))
		return false;
	if (h->field == HELLO_FIELD_EXT_SKIP || h->field == HELLO_FIELD_SNI_NAME)
		return h->need == h->ext_left;
	return true;
}

static bool invariant(const struct hello *h)
{
	return h->status != HELLO_NEED_MORE || (record_holds(h) && field_holds(h) && blocks_hold(h));
}

/* Any state at all, but for values that no enum has. */
static struct hello any_hello(void)
{
	struct hello h = nondet_hello();

	h.status = (enum hello_status)(nondet_u8() % (HELLO_MALFORMED + 1));
	h.field = (enum hello_field)(nondet_u8() % (HELLO_FIELD_ALPN_NAME + 1));
	return h;
}

void init_holds(void)
{
	struct hello h = any_hello();

	hello_init(&h);
	assert(h.status == HELLO_NEED_MORE);
	assert(invariant(&h));
}

/* The field ended with value and was let through: RFC 8446 section 4.1.2, RFC 6066 section 3, RFC 7301 section 3.1. */
static bool allowed(const struct hello *before, const struct hello *after, uint32_t value)
{
	switch (before->field) {
	case HELLO_FIELD_TYPE:
		return value == CLIENT_HELLO;
	case HELLO_FIELD_LENGTH:
		return value <= MESSAGE_LEFT_MAX && value == after->msg_left;
	case HELLO_FIELD_SESSION_LENGTH:
		return value <= SESSION_MAX;
	case HELLO_FIELD_CIPHERS_LENGTH:
		return value >= 2 && value % 2 == 0;
	case HELLO_FIELD_COMPRESSION_LENGTH:
		return value >= 1;
	case HELLO_FIELD_EXTENSIONS_LENGTH:
		return value == after->msg_left;
	case HELLO_FIELD_EXT_LENGTH:
		return value <= after->exts_left;
	case HELLO_FIELD_SNI_LIST_LENGTH:
	case HELLO_FIELD_ALPN_LIST_LENGTH:
		return value == after->ext_left;
	case HELLO_FIELD_SNI_TYPE:
		return value == SNI_HOST_NAME;
	case HELLO_FIELD_SNI_LENGTH:
		return value >= 1 && value == after->ext_left;
	case HELLO_FIELD_ALPN_LENGTH:
		return value >= 1 && value <= after->ext_left;
	case HELLO_FIELD_VERSION_RANDOM:
	case HELLO_FIELD_SESSION:
	case HELLO_FIELD_CIPHERS:
	case HELLO_FIELD_COMPRESSION:
	case HELLO_FIELD_EXT_TYPE:
	case HELLO_FIELD_EXT_SKIP:
	case HELLO_FIELD_SNI_NAME:
	case HELLO_FIELD_ALPN_NAME:
		return true;
	}
	return false;
}

void step_keeps(void)
{
	struct hello h = any_hello();
	enum hello_part part;
	uint8_t byte = nondet_u8();

	__CPROVER_assume(invariant(&h));
	struct hello before = h;
	enum hello_status status = hello_step(&h, byte, &part);

	assert(invariant(&h));
	assert(status == h.status);
	assert(part == HELLO_PART_OTHER || part == HELLO_PART_SNI || part == HELLO_PART_ALPN);

	/* A final verdict never changes, nor anything else. */
	if (before.status != HELLO_NEED_MORE) {
		assert(status == before.status);
		assert(part == HELLO_PART_OTHER);
		return;
	}

	/* Not TLS is a verdict on the first two bytes only. */
	if (status == HELLO_NOT_TLS)
		assert(before.first_record && before.rec_header < 2);

	if (before.rec_header < RECORD_HEADER) {
		/* A byte of a record header: the message does not move. */
		assert(status != HELLO_OK);
		assert(part == HELLO_PART_OTHER);
		assert(h.field == before.field && h.need == before.need && h.msg_left == before.msg_left);
		if (status == HELLO_NEED_MORE)
			assert(h.rec_header == before.rec_header + 1);
		return;
	}

	/* A byte of content: exactly one byte of the record ... */
	assert(h.rec_left == before.rec_left - 1);
	assert((h.rec_header == 0) == (h.rec_left == 0));
	/* ... and of the message, whose length is the one that it announced. */
	if (in_message(&before))
		assert(h.msg_left == before.msg_left - 1);
	if (before.need == 1 && status != HELLO_MALFORMED)
		assert(allowed(&before, &h, (before.number & 0xffff) << 8 | byte));

	/* A hello that is complete gets its verdict, and no other is accepted. */
	if (in_message(&h) && h.msg_left == 0)
		assert(status != HELLO_NEED_MORE);
	if (status == HELLO_OK) {
		assert(in_message(&before) && h.msg_left == 0);
		assert(before.need == 1 || before.field == HELLO_FIELD_EXTENSIONS_LENGTH);
	}

	/* Parts are what the fields say. */
	assert((part == HELLO_PART_SNI) == (before.field == HELLO_FIELD_SNI_NAME));
	assert((part == HELLO_PART_ALPN) ==
	       (before.field == HELLO_FIELD_ALPN_LENGTH || before.field == HELLO_FIELD_ALPN_NAME));

	/* Once seen, an extension cannot begin again. */
	assert(!before.seen_sni || h.seen_sni);
	assert(!before.seen_alpn || h.seen_alpn);
	if (h.field == HELLO_FIELD_SNI_LIST_LENGTH && before.field == HELLO_FIELD_EXT_LENGTH && status == HELLO_NEED_MORE)
		assert(!before.seen_sni);
	if (h.field == HELLO_FIELD_ALPN_LIST_LENGTH && before.field == HELLO_FIELD_EXT_LENGTH && status == HELLO_NEED_MORE)
		assert(!before.seen_alpn);
}

/* All but number, which is a field's value and so of no use in one that is skipped. */
static bool same(const struct hello *a, const struct hello *b)
{
	return a->status == b->status && a->field == b->field && a->need == b->need && a->msg_left == b->msg_left &&
	       a->exts_left == b->exts_left && a->ext_left == b->ext_left && a->rec_left == b->rec_left &&
	       a->ext_type == b->ext_type && a->rec_header == b->rec_header && a->first_record == b->first_record &&
	       a->seen_sni == b->seen_sni && a->seen_alpn == b->seen_alpn;
}

/* To skip one byte is the same as a step, whatever the byte. */
void skip_is_a_step(void)
{
	struct hello stepped = any_hello(), skipped;
	enum hello_part part;

	__CPROVER_assume(invariant(&stepped));
	/* Counters of blocks that the field is not in are dead, and a step leaves them alone, too. */
	skipped = stepped;
	if (skippable(&skipped) == 0)
		return;
	assert(hello_step(&stepped, nondet_u8(), &part) == HELLO_NEED_MORE);
	assert(part == HELLO_PART_OTHER);
	skip(&skipped, 1);
	assert(same(&stepped, &skipped));
	assert(invariant(&skipped));
}

/* To skip several is the same as to skip one, several times: one less at a time makes it all of them. */
void skip_adds_up(void)
{
	struct hello at_once = any_hello(), in_two;
	uint16_t n = nondet_u16();
	size_t len = nondet_size();

	__CPROVER_assume(invariant(&at_once));
	in_two = at_once;
	__CPROVER_assume(n >= 1 && n <= skippable(&at_once));
	skip(&at_once, n);
	skip(&in_two, 1);
	assert(skippable(&in_two) >= n - 1);
	skip(&in_two, (uint16_t)(n - 1));
	assert(same(&at_once, &in_two));
	assert(skip_some(&in_two, len) <= len);
	assert(invariant(&in_two));
}

/*
 * What is kept stays within its array, however much came before. An array of
 * its own, since the pointer checks do not see a member of a struct that runs
 * over into the next one.
 */
void keep_keeps(void)
{
	size_t size = nondet_size(), len = nondet_size(), before = len;
	uint8_t byte = nondet_u8();

	__CPROVER_assume(size > 0 && size <= HELLO_MESSAGE_MAX && len < SIZE_MAX);
	uint8_t *array = malloc(size);

	keep(array, size, &len, byte);
	assert(len == before + 1);
	if (before < size)
		assert(array[before] == byte);
}

/* Each byte is counted where it belongs, once. */
void collect_keeps(void)
{
	static struct hello_info info;
	size_t sni_len = nondet_size(), alpn_len = nondet_size();
	uint8_t part = nondet_u8();

	/* A hello has at most so many bytes, and each is collected once. */
	__CPROVER_assume(sni_len < HELLO_MESSAGE_MAX && alpn_len < HELLO_MESSAGE_MAX);
	__CPROVER_assume(part <= HELLO_PART_ALPN);
	info.sni_len = sni_len;
	info.alpn_len = alpn_len;
	collect(&info, (enum hello_part)part, nondet_u8());
	assert(info.sni_len == sni_len + (part == HELLO_PART_SNI));
	assert(info.alpn_len == alpn_len + (part == HELLO_PART_ALPN));
	assert(info.alpn_len <= sizeof(info.alpn));
}

/* A walk over the list stays within it and gets on, whatever the list holds. */
void alpn_next_keeps(void)
{
	static struct hello_info info;
	size_t pos = nondet_size(), before = pos, len = 0;
	const uint8_t *name = NULL;

	info.alpn_len = nondet_size();
	__CPROVER_assume(info.alpn_len <= sizeof(info.alpn));
	__CPROVER_havoc_object(info.alpn);
	size_t alpn_len = nondet_size();
	__CPROVER_assume(alpn_len <= sizeof(info.alpn));
	info.alpn_len = alpn_len;
	if (!hello_alpn_next(&info, &pos, &name, &len)) {
		assert(pos == before);
		return;
	}
	assert(len >= 1 && len <= 255);
	assert(pos == before + 1 + len);
	assert(pos <= alpn_len);
	assert(name == info.alpn + before + 1);
}
