#ifndef XMPP443_HELLO_H
#define XMPP443_HELLO_H

/*
 * hello: reads a TLS ClientHello one byte at a time.
 *
 * The parser is a state machine of a few words. It holds no pointer into the
 * input, allocates nothing, does no I/O and never logs. It reassembles what
 * TCP and the TLS record layer may split: a hello can arrive in any number of
 * segments and, RFC 8446 section 5.1, in any number of records.
 *
 * Two uses: hello_scan() continues where the last call stopped and only gives
 * the verdict; hello_read() reads a whole buffer from its first byte and also
 * collects the server name and the list of ALPN protocols.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HELLO_MESSAGE_MAX 16384 /* bytes of handshake message, its header included */
#define HELLO_SNI_MAX     255   /* longest DNS name in text form, RFC 1035 section 2.3.4 */

enum hello_status {
	HELLO_OK,        /* a whole, well-formed ClientHello; final */
	HELLO_NEED_MORE, /* so far a ClientHello, and it is not complete */
	HELLO_NOT_TLS,   /* the first bytes are no TLS handshake record; final */
	HELLO_MALFORMED, /* TLS, but no ClientHello we can read, or longer than HELLO_MESSAGE_MAX; final */
};

/* What a byte that was just read belongs to. */
enum hello_part {
	HELLO_PART_OTHER,
	HELLO_PART_SNI,  /* a byte of the host name */
	HELLO_PART_ALPN, /* a byte of ProtocolNameList's content: 1-byte length, name, ... */
};

/* Where in the hello the next byte stands. */
enum hello_field {
	HELLO_FIELD_TYPE,
	HELLO_FIELD_LENGTH,
	HELLO_FIELD_VERSION_RANDOM,
	HELLO_FIELD_SESSION_LENGTH,
	HELLO_FIELD_SESSION,
	HELLO_FIELD_CIPHERS_LENGTH,
	HELLO_FIELD_CIPHERS,
	HELLO_FIELD_COMPRESSION_LENGTH,
	HELLO_FIELD_COMPRESSION,
	HELLO_FIELD_EXTENSIONS_LENGTH,
	HELLO_FIELD_EXT_TYPE,
	HELLO_FIELD_EXT_LENGTH,
	HELLO_FIELD_EXT_SKIP,
	HELLO_FIELD_SNI_LIST_LENGTH,
	HELLO_FIELD_SNI_TYPE,
	HELLO_FIELD_SNI_LENGTH,
	HELLO_FIELD_SNI_NAME,
	HELLO_FIELD_ALPN_LIST_LENGTH,
	HELLO_FIELD_ALPN_LENGTH,
	HELLO_FIELD_ALPN_NAME,
};

/* Embedded by its users; only hello.c looks inside, and trace.c, which shows the parser at work. */
struct hello {
	enum hello_status status;
	enum hello_field field;
	uint32_t number;     /* the big-endian integer being read */
	uint16_t need;       /* bytes the field still takes */
	uint16_t msg_left;   /* bytes of the message still to come */
	uint16_t exts_left;  /* bytes of the extensions block still to come */
	uint16_t ext_left;   /* bytes of the extension still to come */
	uint16_t rec_left;   /* bytes of the record's content still to come */
	uint16_t ext_type;
	uint8_t rec_header;  /* bytes of the record header already read: 0..5 */
	bool first_record;
	bool seen_sni;
	bool seen_alpn;
};

struct hello_info {
	size_t sni_len;   /* 0: no SNI, or one longer than HELLO_SNI_MAX */
	size_t alpn_len;  /* 0: no ALPN extension */
	uint8_t sni[HELLO_SNI_MAX];       /* as sent: any bytes, not terminated */
	uint8_t alpn[HELLO_MESSAGE_MAX];  /* as sent: well-formed list, see hello_alpn_next() */
};

void hello_init(struct hello *h);

/*
 * Takes one byte. *ret_part tells what the byte belonged to. After a final
 * status further bytes change nothing and the same status comes back.
 */
enum hello_status hello_step(struct hello *h, uint8_t byte, enum hello_part *ret_part);

/* Takes the next len bytes; stops at a final status. */
enum hello_status hello_scan(struct hello *h, const uint8_t *buf, size_t len);

/*
 * Reads buf, which starts with the first byte of the connection, from a fresh
 * state. *info is filled when the result is HELLO_OK and otherwise holds
 * whatever was seen.
 */
enum hello_status hello_read(struct hello *h, const uint8_t *buf, size_t len, struct hello_info *info);

/*
 * Walks the ALPN list: *pos starts at 0. Gives false at the end; else sets
 * *ret_name (a view into info, not terminated) and *ret_len, 1..255.
 */
bool hello_alpn_next(const struct hello_info *info, size_t *pos, const uint8_t **ret_name, size_t *ret_len);

/* "ok", "need-more", "not-tls", "malformed" */
const char *hello_status_name(enum hello_status status);

#endif
