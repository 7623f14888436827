#ifndef XMPP443_FUZZ_TLS_H
#define XMPP443_FUZZ_TLS_H

/*
 * A second reading of a ClientHello, for comparison with shim/hello.c. It is
 * written the other way round: it takes the records off first and then walks
 * through the message block by block.
 */

#include "../../shim/hello.h"

#include <stddef.h>
#include <stdint.h>

#define TLS_INPUT_MAX 40000 /* longer inputs are not looked at: see -max_len in fuzz.mk */

/* What a hello may have in it that two readers can disagree about: README.md. */
enum tls_class {
	TLS_SSLV2,        /* a header in the form of SSL 2 */
	TLS_EMPTY_RECORD, /* a record without content, of any type */
	TLS_LONG,         /* a message of more than HELLO_MESSAGE_MAX bytes */
	TLS_CIPHERS,      /* no cipher suite, or half a one */
	TLS_COMPRESSION,  /* no compression method */
	TLS_SERVER_NAME,  /* the content of server_name is not one host name */
	TLS_ALPN_LIST,    /* the content of ALPN is not a list of names */
	TLS_OPEN_RECORD,  /* the message is complete, its last record is not */
	TLS_DUPLICATE,    /* an extension twice */
	TLS_PSK_LAST,     /* something after pre_shared_key */
	TLS_SRTP,         /* use_srtp, which is DTLS's */
	TLS_CLASSES,
};

struct tls_hello {
	size_t len;       /* bytes of message */
	size_t declared;  /* its length by its own header, header included; 0: header incomplete */
	const uint8_t *sni;
	size_t sni_len;
	const uint8_t *alpn;
	size_t alpn_len;
	uint8_t message[TLS_INPUT_MAX];
};

/*
 * What hello_read() has to say about these bytes. sni and alpn are as they
 * stand in the message, NULL if absent, and are valid with HELLO_OK only.
 */
enum hello_status tls_expect(const uint8_t *data, size_t size, struct tls_hello *ret);

/* The classes that the bytes belong to, as a set of bits 1 << enum tls_class. */
unsigned tls_classes(const uint8_t *data, size_t size, struct tls_hello *ret);

const char *tls_class_name(enum tls_class c);

#endif
