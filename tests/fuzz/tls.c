#include "tls.h"

#include <stdbool.h>
#include <string.h>

#define HANDSHAKE 22
#define EXT_SNI   0
#define EXT_SRTP  14
#define EXT_ALPN  16
#define EXT_PSK   41

/* Reads inside blocks. The first failure stays and makes every later read give nothing. */
struct reader {
	const uint8_t *p;
	size_t have; /* bytes that are there */
	size_t left; /* bytes that the block has, there or not */
	enum hello_status status;
};

static void refuse(struct reader *r, bool wrong)
{
	if (wrong && r->status == HELLO_OK)
		r->status = HELLO_MALFORMED;
}

static const uint8_t *block(struct reader *r, size_t len)
{
	const uint8_t *p = r->p;

	if (r->status == HELLO_OK && len > r->left)
		r->status = HELLO_MALFORMED;
	if (r->status == HELLO_OK && len > r->have)
		r->status = HELLO_NEED_MORE;
	if (r->status != HELLO_OK)
		return NULL;
	r->p += len;
	r->have -= len;
	r->left -= len;
	return p;
}

static size_t number(struct reader *r, size_t width)
{
	const uint8_t *p = block(r, width);
	size_t n = 0;

	for (size_t i = 0; p != NULL && i < width; i++)
		n = n << 8 | p[i];
	return n;
}

/* RFC 6066 section 3: a list of one host name. */
static void read_server_name(struct reader *r, struct tls_hello *h)
{
	refuse(r, r->left < 5);
	refuse(r, number(r, 2) != r->left);
	refuse(r, number(r, 1) != 0);
	h->sni_len = number(r, 2);
	refuse(r, h->sni_len == 0 || h->sni_len != r->left);
	h->sni = block(r, h->sni_len);
}

/* RFC 7301 section 3.1: at least one name, none of them empty. */
static void read_alpn(struct reader *r, struct tls_hello *h)
{
	refuse(r, r->left < 4);
	h->alpn_len = number(r, 2);
	refuse(r, h->alpn_len != r->left);
	h->alpn = r->p;
	while (r->status == HELLO_OK && r->left > 0) {
		size_t len = number(r, 1);

		refuse(r, len == 0);
		block(r, len);
	}
}

/* One extension; with classes it is read to its end whatever its content is. */
static void read_extension(struct reader *r, struct tls_hello *h, unsigned *classes)
{
	struct reader content;
	unsigned class = 0;
	size_t type, len;
	bool twice = false;

	refuse(r, r->left < 4);
	type = number(r, 2);
	len = number(r, 2);
	refuse(r, len > r->left);
	if (r->status != HELLO_OK)
		return;
	content = (struct reader){r->p, r->have < len ? r->have : len, len, HELLO_OK};

	if (type == EXT_SNI) {
		class = 1u << TLS_SERVER_NAME;
		twice = h->sni != NULL;
		refuse(&content, twice);
		read_server_name(&content, h);
	} else if (type == EXT_ALPN) {
		class = 1u << TLS_ALPN_LIST;
		twice = h->alpn != NULL;
		refuse(&content, twice);
		read_alpn(&content, h);
	} else {
		block(&content, len);
	}

	if (classes != NULL && content.status != HELLO_OK && !twice)
		*classes |= class;
	else if (classes == NULL && content.status != HELLO_OK)
		r->status = content.status;
	block(r, len);
}

static void read_extensions(struct reader *r, struct tls_hello *h, unsigned *classes)
{
	static uint8_t seen[65536 / 8];
	bool psk = false;

	while (r->status == HELLO_OK && r->left > 0) {
		size_t type = r->have < 2 ? 0 : (size_t)(r->p[0] << 8 | r->p[1]);

		if (classes != NULL) {
			*classes |= seen[type / 8] & 1u << type % 8 ? 1u << TLS_DUPLICATE : 0;
			*classes |= psk ? 1u << TLS_PSK_LAST : 0;
			*classes |= type == EXT_SRTP ? 1u << TLS_SRTP : 0;
			seen[type / 8] |= (uint8_t)(1u << type % 8);
			psk = psk || type == EXT_PSK;
		}
		read_extension(r, h, classes);
	}

	if (classes != NULL)
		memset(seen, 0, sizeof(seen));
}

/* The message that is in h. classes NULL: by the rules of hello; else as loosely as can be. */
static enum hello_status read_message(struct tls_hello *h, unsigned *classes)
{
	struct reader r = {h->message, h->len, 4, HELLO_OK};
	unsigned found = 0;
	size_t len;

	h->sni = h->alpn = NULL;
	h->sni_len = h->alpn_len = h->declared = 0;

	refuse(&r, number(&r, 1) != 1);
	len = number(&r, 3);
	if (r.status == HELLO_OK)
		h->declared = 4 + len;
	if (len + 4 > HELLO_MESSAGE_MAX) {
		found |= 1u << TLS_LONG;
		refuse(&r, classes == NULL);
	}
	refuse(&r, len < 35);
	r.left = r.status == HELLO_OK ? len : 0;

	block(&r, 34);
	len = number(&r, 1);
	refuse(&r, len > 32);
	block(&r, len);
	len = number(&r, 2);
	if (len == 0 || len % 2 != 0) {
		found |= 1u << TLS_CIPHERS;
		refuse(&r, classes == NULL);
	}
	block(&r, len);
	len = number(&r, 1);
	if (len == 0) {
		found |= 1u << TLS_COMPRESSION;
		refuse(&r, classes == NULL);
	}
	block(&r, len);

	if (r.status == HELLO_OK && r.left > 0) {
		refuse(&r, number(&r, 2) != r.left);
		read_extensions(&r, h, classes == NULL ? NULL : &found);
	}
	if (classes != NULL && r.status == HELLO_OK)
		*classes |= found;
	return r.status;
}

static void add(struct tls_hello *h, const uint8_t *p, size_t len)
{
	memcpy(h->message + h->len, p, len);
	h->len += len;
}

enum hello_status tls_expect(const uint8_t *data, size_t size, struct tls_hello *ret)
{
	enum hello_status status, header = HELLO_NEED_MORE;
	size_t i = 0;

	ret->len = 0;
	while (i < size && header == HELLO_NEED_MORE) {
		size_t left = size - i, len;

		if (data[i] != HANDSHAKE || (left > 1 && data[i + 1] != 3))
			header = i == 0 ? HELLO_NOT_TLS : HELLO_MALFORMED;
		if (left < 5)
			break;
		len = (size_t)(data[i + 3] << 8 | data[i + 4]);
		if (header == HELLO_NEED_MORE && (len == 0 || len > 16384))
			header = HELLO_MALFORMED;
		if (header != HELLO_NEED_MORE)
			break;
		i += 5;
		if (len > size - i)
			len = size - i;
		add(ret, data + i, len);
		i += len;
	}

	/* What the message says comes before the header that stopped it. */
	status = read_message(ret, NULL);
	return status == HELLO_NEED_MORE ? header : status;
}

unsigned tls_classes(const uint8_t *data, size_t size, struct tls_hello *ret)
{
	unsigned classes = 0;
	size_t i = 0;

	ret->len = 0;
	while (size - i >= 5) {
		size_t len = (size_t)(data[i + 3] << 8 | data[i + 4]);

		if (data[i] & 0x80 && data[i + 2] == 1) {
			classes |= 1u << TLS_SSLV2;
			break;
		}
		if (data[i + 1] != 3 || (data[i] != HANDSHAKE && len > 0))
			break;
		i += 5;
		if (len == 0) { /* of whatever type */
			classes |= 1u << TLS_EMPTY_RECORD;
			continue;
		}
		if (len > size - i) {
			len = size - i;
			classes |= 1u << TLS_OPEN_RECORD;
		}
		add(ret, data + i, len);
		i += len;
		read_message(ret, NULL);
		if (ret->declared != 0 && ret->len >= ret->declared)
			break;
	}
	read_message(ret, &classes);
	return classes;
}

const char *tls_class_name(enum tls_class c)
{
	switch (c) {
	case TLS_SSLV2: return "sslv2";
	case TLS_EMPTY_RECORD: return "empty-record";
	case TLS_LONG: return "long";
	case TLS_CIPHERS: return "ciphers";
	case TLS_COMPRESSION: return "compression";
	case TLS_SERVER_NAME: return "server-name";
	case TLS_ALPN_LIST: return "alpn-list";
	case TLS_OPEN_RECORD: return "open-record";
	case TLS_DUPLICATE: return "duplicate";
	case TLS_PSK_LAST: return "psk-last";
	case TLS_SRTP: return "use-srtp";
	case TLS_CLASSES: break;
	}
	return "?";
}
