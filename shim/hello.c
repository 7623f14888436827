#include "hello.h"

/* RFC 8446 section 5.1 and B.1; RFC 8446 section 4. */
#define RECORD_HEADER    5
#define RECORD_HANDSHAKE 22
#define RECORD_MAJOR     3
#define RECORD_MAX       16384
#define CLIENT_HELLO     1
#define MESSAGE_HEADER   4
#define VERSION_RANDOM   (2 + 32)
#define SESSION_MAX      32

#define EXT_SERVER_NAME  0  /* RFC 6066 section 3 */
#define EXT_ALPN         16 /* RFC 7301 section 3.1 */
#define SNI_HOST_NAME    0

void hello_init(struct hello *h)
{
	*h = (struct hello){
		.status = HELLO_NEED_MORE,
		.field = HELLO_FIELD_TYPE,
		.need = 1,
		.first_record = true,
	};
}

static enum hello_status enter(struct hello *h, enum hello_field field, uint16_t need)
{
	h->field = field;
	h->need = need;
	h->number = 0;
	return HELLO_NEED_MORE;
}

/* A block of number bytes follows; empty is left to the caller to refuse. */
static enum hello_status enter_block(struct hello *h, enum hello_field block, enum hello_field after,
				     uint16_t after_need)
{
	if (h->number > h->msg_left)
		return HELLO_MALFORMED;
	if (h->number == 0)
		return enter(h, after, after_need);
	return enter(h, block, (uint16_t)h->number);
}

/* Between extensions, and at their end. */
static enum hello_status next_extension(struct hello *h)
{
	if (h->exts_left == 0)
		return h->msg_left == 0 ? HELLO_OK : HELLO_MALFORMED;
	if (h->exts_left < 4)
		return HELLO_MALFORMED;
	return enter(h, HELLO_FIELD_EXT_TYPE, 2);
}

static enum hello_status extension_begins(struct hello *h)
{
	h->ext_left = (uint16_t)h->number;
	if (h->ext_left > h->exts_left)
		return HELLO_MALFORMED;

	if (h->ext_type == EXT_SERVER_NAME) {
		/* RFC 8446 section 4.2: no extension twice */
		if (h->seen_sni || h->ext_left < 5)
			return HELLO_MALFORMED;
		h->seen_sni = true;
		return enter(h, HELLO_FIELD_SNI_LIST_LENGTH, 2);
	}
	if (h->ext_type == EXT_ALPN) {
		if (h->seen_alpn || h->ext_left < 4)
			return HELLO_MALFORMED;
		h->seen_alpn = true;
		return enter(h, HELLO_FIELD_ALPN_LIST_LENGTH, 2);
	}
	if (h->ext_left == 0)
		return next_extension(h);
	return enter(h, HELLO_FIELD_EXT_SKIP, h->ext_left);
}

/* The field's last byte has come: what follows? */
static enum hello_status field_ends(struct hello *h)
{
	switch (h->field) {
	case HELLO_FIELD_TYPE:
		if (h->number != CLIENT_HELLO)
			return HELLO_MALFORMED;
		return enter(h, HELLO_FIELD_LENGTH, 3);
	case HELLO_FIELD_LENGTH:
		if (h->number > HELLO_MESSAGE_MAX - MESSAGE_HEADER || h->number < VERSION_RANDOM + 1)
			return HELLO_MALFORMED;
		h->msg_left = (uint16_t)h->number;
		return enter(h, HELLO_FIELD_VERSION_RANDOM, VERSION_RANDOM);
	case HELLO_FIELD_VERSION_RANDOM:
		return enter(h, HELLO_FIELD_SESSION_LENGTH, 1);
	case HELLO_FIELD_SESSION_LENGTH:
		if (h->number > SESSION_MAX)
			return HELLO_MALFORMED;
		return enter_block(h, HELLO_FIELD_SESSION, HELLO_FIELD_CIPHERS_LENGTH, 2);
	case HELLO_FIELD_SESSION:
		return enter(h, HELLO_FIELD_CIPHERS_LENGTH, 2);
	case HELLO_FIELD_CIPHERS_LENGTH:
		if (h->number < 2 || h->number % 2 != 0)
			return HELLO_MALFORMED;
		return enter_block(h, HELLO_FIELD_CIPHERS, HELLO_FIELD_COMPRESSION_LENGTH, 1);
	case HELLO_FIELD_CIPHERS:
		return enter(h, HELLO_FIELD_COMPRESSION_LENGTH, 1);
	case HELLO_FIELD_COMPRESSION_LENGTH:
		if (h->number == 0)
			return HELLO_MALFORMED;
		return enter_block(h, HELLO_FIELD_COMPRESSION, HELLO_FIELD_EXTENSIONS_LENGTH, 2);
	case HELLO_FIELD_COMPRESSION:
		if (h->msg_left == 0)
			return HELLO_OK; /* TLS 1.2 and older: the block may be missing, RFC 5246 section 7.4.1.2 */
		return enter(h, HELLO_FIELD_EXTENSIONS_LENGTH, 2);
	case HELLO_FIELD_EXTENSIONS_LENGTH:
		if (h->number != h->msg_left)
			return HELLO_MALFORMED;
		h->exts_left = h->msg_left;
		return next_extension(h);
	case HELLO_FIELD_EXT_TYPE:
		h->ext_type = (uint16_t)h->number;
		return enter(h, HELLO_FIELD_EXT_LENGTH, 2);
	case HELLO_FIELD_EXT_LENGTH:
		return extension_begins(h);
	case HELLO_FIELD_EXT_SKIP:
		return next_extension(h);
	case HELLO_FIELD_SNI_LIST_LENGTH:
		if (h->number != h->ext_left)
			return HELLO_MALFORMED;
		return enter(h, HELLO_FIELD_SNI_TYPE, 1);
	case HELLO_FIELD_SNI_TYPE:
		/* Only one type was ever defined, and RFC 6066 allows one name of each. */
		if (h->number != SNI_HOST_NAME)
			return HELLO_MALFORMED;
		return enter(h, HELLO_FIELD_SNI_LENGTH, 2);
	case HELLO_FIELD_SNI_LENGTH:
		if (h->number == 0 || h->number != h->ext_left)
			return HELLO_MALFORMED;
		return enter(h, HELLO_FIELD_SNI_NAME, h->ext_left);
	case HELLO_FIELD_SNI_NAME:
		return next_extension(h);
	case HELLO_FIELD_ALPN_LIST_LENGTH:
		if (h->number != h->ext_left)
			return HELLO_MALFORMED;
		return enter(h, HELLO_FIELD_ALPN_LENGTH, 1);
	case HELLO_FIELD_ALPN_LENGTH:
		if (h->number == 0 || h->number > h->ext_left)
			return HELLO_MALFORMED;
		return enter(h, HELLO_FIELD_ALPN_NAME, (uint16_t)h->number);
	case HELLO_FIELD_ALPN_NAME:
		if (h->ext_left == 0)
			return next_extension(h);
		return enter(h, HELLO_FIELD_ALPN_LENGTH, 1);
	}
	return HELLO_MALFORMED;
}

static enum hello_part part_of(enum hello_field field)
{
	if (field == HELLO_FIELD_SNI_NAME)
		return HELLO_PART_SNI;
	if (field == HELLO_FIELD_ALPN_LENGTH || field == HELLO_FIELD_ALPN_NAME)
		return HELLO_PART_ALPN;
	return HELLO_PART_OTHER;
}

/* One byte of the handshake message, with the record layer taken off. */
static enum hello_status message_step(struct hello *h, uint8_t byte)
{
	enum hello_status status;

	/*
	 * Every enclosing block that this byte belongs to gets shorter. Inside
	 * a block its counter cannot be 0 here: the checks in field_ends()
	 * keep each field within the blocks around it.
	 */
	if (h->field > HELLO_FIELD_LENGTH)
		h->msg_left--;
	if (h->field > HELLO_FIELD_EXTENSIONS_LENGTH)
		h->exts_left--;
	if (h->field > HELLO_FIELD_EXT_LENGTH)
		h->ext_left--;

	h->number = (h->number << 8 | byte) & 0xffffff; /* no integer is longer than 3 bytes */
	if (--h->need > 0)
		status = HELLO_NEED_MORE;
	else
		status = field_ends(h);

	/*
	 * A message that ends inside a field will never get better. Without
	 * this a complete hello with a bad length would wait for more bytes
	 * until its deadline.
	 */
	if (status == HELLO_NEED_MORE && h->field > HELLO_FIELD_LENGTH && h->need > h->msg_left)
		status = HELLO_MALFORMED;
	return status;
}

static enum hello_status record_header_step(struct hello *h, uint8_t byte)
{
	switch (h->rec_header++) {
	case 0:
		if (byte != RECORD_HANDSHAKE)
			return h->first_record ? HELLO_NOT_TLS : HELLO_MALFORMED;
		break;
	case 1:
		if (byte != RECORD_MAJOR)
			return h->first_record ? HELLO_NOT_TLS : HELLO_MALFORMED;
		break;
	case 2: /* RFC 8446 section 5.1: the version must be ignored */
		break;
	case 3:
		h->rec_left = (uint16_t)(byte << 8);
		break;
	case RECORD_HEADER - 1:
		h->rec_left |= byte;
		/* RFC 8446 section 5.1: handshake records are never empty */
		if (h->rec_left == 0 || h->rec_left > RECORD_MAX)
			return HELLO_MALFORMED;
		h->first_record = false;
		break;
	}
	return HELLO_NEED_MORE;
}

enum hello_status hello_step(struct hello *h, uint8_t byte, enum hello_part *ret_part)
{
	*ret_part = HELLO_PART_OTHER;
	if (h->status != HELLO_NEED_MORE)
		return h->status;

	if (h->rec_header < RECORD_HEADER) {
		h->status = record_header_step(h, byte);
		return h->status;
	}

	*ret_part = part_of(h->field);
	h->status = message_step(h, byte);
	if (--h->rec_left == 0)
		h->rec_header = 0;
	return h->status;
}

/*
 * How many of the next bytes belong to the middle of something whose content
 * does not matter here, so that hello_step() would do no more than count them.
 */
static uint16_t skippable(const struct hello *h)
{
	uint16_t n = h->need < h->rec_left ? h->need : h->rec_left;

	if (h->status != HELLO_NEED_MORE || h->rec_header < RECORD_HEADER)
		return 0;
	if (h->field != HELLO_FIELD_VERSION_RANDOM && h->field != HELLO_FIELD_SESSION && h->field != HELLO_FIELD_CIPHERS &&
	    h->field != HELLO_FIELD_COMPRESSION && h->field != HELLO_FIELD_EXT_SKIP)
		return 0;
	return (uint16_t)(n - 1); /* the last one has consequences */
}

/* The same as n steps, n being skippable; most bytes of a hello go this way. */
static void skip(struct hello *h, uint16_t n)
{
	h->need = (uint16_t)(h->need - n);
	h->rec_left = (uint16_t)(h->rec_left - n);
	h->msg_left = (uint16_t)(h->msg_left - n);
	if (h->field == HELLO_FIELD_EXT_SKIP) {
		h->exts_left = (uint16_t)(h->exts_left - n);
		h->ext_left = (uint16_t)(h->ext_left - n);
	}
}

/* Skips what can be skipped of len bytes; how many. */
static size_t skip_some(struct hello *h, size_t len)
{
	uint16_t n = skippable(h);

	if (n > len)
		n = (uint16_t)len;
	skip(h, n);
	return n;
}

enum hello_status hello_scan(struct hello *h, const uint8_t *buf, size_t len)
{
	enum hello_part part;

	for (size_t i = 0; i < len && h->status == HELLO_NEED_MORE; i++) {
		i += skip_some(h, len - i - 1);
		hello_step(h, buf[i], &part);
	}
	return h->status;
}

/* Keeps a byte, if there is room for it; counts it anyway. */
static void keep(uint8_t *array, size_t size, size_t *len, uint8_t byte)
{
	if (*len < size)
		array[*len] = byte;
	++*len;
}

static void collect(struct hello_info *info, enum hello_part part, uint8_t byte)
{
	switch (part) {
	case HELLO_PART_OTHER:
		break;
	case HELLO_PART_SNI:
		keep(info->sni, sizeof(info->sni), &info->sni_len, byte);
		break;
	case HELLO_PART_ALPN: /* no list is longer than the message it is in */
		keep(info->alpn, sizeof(info->alpn), &info->alpn_len, byte);
		break;
	}
}

enum hello_status hello_read(struct hello *h, const uint8_t *buf, size_t len, struct hello_info *info)
{
	hello_init(h);
	info->sni_len = 0;
	info->alpn_len = 0;

	for (size_t i = 0; i < len && h->status == HELLO_NEED_MORE; i++) {
		enum hello_part part;

		i += skip_some(h, len - i - 1);
		hello_step(h, buf[i], &part);
		collect(info, part, buf[i]);
	}
	/* No DNS name is that long, so no rule can mean it. */
	if (info->sni_len > sizeof(info->sni))
		info->sni_len = 0;
	return h->status;
}

bool hello_alpn_next(const struct hello_info *info, size_t *pos, const uint8_t **ret_name, size_t *ret_len)
{
	size_t len;

	if (*pos >= info->alpn_len)
		return false;
	len = info->alpn[*pos];
	if (len == 0 || len >= info->alpn_len - *pos)
		return false;
	*ret_name = info->alpn + *pos + 1;
	*ret_len = len;
	*pos += 1 + len;
	return true;
}

const char *hello_status_name(enum hello_status status)
{
	switch (status) {
	case HELLO_OK:
		return "ok";
	case HELLO_NEED_MORE:
		return "need-more";
	case HELLO_NOT_TLS:
		return "not-tls";
	case HELLO_MALFORMED:
		return "malformed";
	}
	return "?";
}
