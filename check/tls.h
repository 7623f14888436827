#ifndef XMPP443_CHECK_TLS_H
#define XMPP443_CHECK_TLS_H

/*
 * tls: a client's side of TLS, without a socket: bytes in, bytes out. It
 * accepts any certificate, and notes what is wrong with it.
 */

#include "cert.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tls;

struct tls_wants {
	const char *sni;
	const char *alpn;    /* one protocol; NULL: no list */
	bool big;            /* make the ClientHello longer than 2 KiB, as a post-quantum key share does */
	const char *name;    /* whom the certificate has to be for */
	const char *service; /* as for cert_look() */
};

enum tls_status {
	TLS_AGAIN, /* more bytes are needed */
	TLS_DONE,
	TLS_FAILED,
};

/* Certificates of this file are trusted instead of the system's; NULL: the system's. False: it cannot be read. */
bool tls_set_up(const char *ca_file);

/* Undoes tls_set_up(). */
void tls_clean_up(void);

/* The strings of w are used until tls_free(). NULL: the name does not fit into TLS. */
struct tls *tls_new(const struct tls_wants *w);

/* What the server has sent. */
void tls_put(struct tls *t, const uint8_t *bytes, size_t len);

/* Moves up to size bytes that have to be sent to out; how many. */
size_t tls_take(struct tls *t, uint8_t *out, size_t size);

/* Goes on with the handshake as far as the bytes allow. */
enum tls_status tls_handshake(struct tls *t);

/* Encrypts text. */
void tls_write(struct tls *t, const char *text, size_t len);

/* Decrypts up to size bytes: how many; 0: none yet. *ret_end: there will be no more. */
size_t tls_read(struct tls *t, char *out, size_t size, bool *ret_end);

/* "TLSv1.3", once the handshake is done. */
const char *tls_version(const struct tls *t);

/* The protocol that the server chose, cleaned; "" for none. out has at least 32 bytes. */
void tls_alpn(const struct tls *t, char *out, size_t size);

/* Hands over what is known of the certificate; to be freed by the caller. */
void tls_cert(struct tls *t, struct cert *ret);

/* The alert that the server sent, RFC 8446 section 6; -1 for none. */
int tls_alert(const struct tls *t);

/* "handshake_failure"; also of an alert that is not known. */
const char *tls_alert_name(int alert);

/* Why the handshake failed, in OpenSSL's words; cleaned. */
const char *tls_error(const struct tls *t);

/* Takes NULL. */
void tls_free(struct tls *t);

#endif
