#include "tls.h"

#include "clean.h"
#include "mem.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* A type that no extension will ever have, RFC 8701 section 2. Servers have to ignore it. */
#define EXT_GREASE 0x1a1a
#define BIG_EXT 1800 /* with the rest of a hello more than 2 KiB */

struct tls {
	struct tls_wants wants;
	SSL *ssl;
	BIO *in, *out;
	struct cert cert;
	int alert;
	char error[128];
};

static SSL_CTX *context, *big_context;

static void on_info(const SSL *ssl, int where, int ret)
{
	struct tls *t = (struct tls *)((char *)SSL_get_app_data(ssl) - offsetof(struct tls, cert));

	if ((where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT && (ret & 0xff) != SSL_AD_CLOSE_NOTIFY)
		t->alert = ret & 0xff;
}

static int add_big(SSL *ssl, unsigned type, unsigned in, const unsigned char **out, size_t *len, X509 *x, size_t i, int *alert,
		   void *arg)
{
	static const unsigned char zeros[BIG_EXT];

	(void)ssl, (void)type, (void)in, (void)x, (void)i, (void)alert, (void)arg;
	*out = zeros;
	*len = sizeof(zeros);
	return 1;
}

static SSL_CTX *new_context(const char *ca_file)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	if (ctx == NULL)
		mem_new((size_t)-1);
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, cert_on_verify);
	SSL_CTX_set_info_callback(ctx, on_info);
	if (ca_file != NULL ? SSL_CTX_load_verify_file(ctx, ca_file) != 1 : SSL_CTX_set_default_verify_paths(ctx) != 1) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

bool tls_set_up(const char *ca_file)
{
	context = new_context(ca_file);
	big_context = new_context(ca_file);
	if (context == NULL || big_context == NULL) {
		tls_clean_up();
		return false;
	}
	return SSL_CTX_add_custom_ext(big_context, EXT_GREASE, SSL_EXT_CLIENT_HELLO, add_big, NULL, NULL, NULL, NULL) == 1;
}

void tls_clean_up(void)
{
	SSL_CTX_free(context);
	SSL_CTX_free(big_context);
	context = big_context = NULL;
}

static bool set_alpn(SSL *ssl, const char *protocol)
{
	uint8_t list[32];
	size_t len = strlen(protocol);

	if (len == 0 || len >= sizeof(list))
		return false;
	list[0] = (uint8_t)len;
	memcpy(list + 1, protocol, len);
	return SSL_set_alpn_protos(ssl, list, (unsigned)len + 1) == 0; /* the other way around than usual */
}

struct tls *tls_new(const struct tls_wants *w)
{
	struct tls *t = mem_new(sizeof(*t));

	t->wants = *w;
	t->alert = -1;
	t->ssl = SSL_new(w->big ? big_context : context);
	t->in = BIO_new(BIO_s_mem());
	t->out = BIO_new(BIO_s_mem());
	if (t->ssl == NULL || t->in == NULL || t->out == NULL)
		mem_new((size_t)-1);
	SSL_set_bio(t->ssl, t->in, t->out);
	SSL_set_app_data(t->ssl, &t->cert);
	SSL_set_connect_state(t->ssl);
	if (SSL_set_tlsext_host_name(t->ssl, w->sni) != 1 || (w->alpn != NULL && !set_alpn(t->ssl, w->alpn))) {
		tls_free(t);
		return NULL;
	}
	return t;
}

void tls_put(struct tls *t, const uint8_t *bytes, size_t len)
{
	BIO_write(t->in, bytes, (int)len);
}

size_t tls_take(struct tls *t, uint8_t *out, size_t size)
{
	int n = BIO_read(t->out, out, (int)size);

	return n > 0 ? (size_t)n : 0;
}

/* The oldest error is the cause. */
static void note_error(struct tls *t)
{
	unsigned long err = ERR_get_error();
	const char *reason = err != 0 ? ERR_reason_error_string(err) : NULL;

	if (reason == NULL)
		reason = "it is not TLS";
	clean_text(t->error, sizeof(t->error), reason, strlen(reason));
}

enum tls_status tls_handshake(struct tls *t)
{
	int ret, err;

	ERR_clear_error();
	ret = SSL_do_handshake(t->ssl);
	if (ret == 1) {
		cert_look(&t->cert, t->ssl, t->wants.name, t->wants.service);
		return TLS_DONE;
	}
	err = SSL_get_error(t->ssl, ret);
	if (err == SSL_ERROR_WANT_READ || err == SSL_ERROR_WANT_WRITE)
		return TLS_AGAIN;
	note_error(t);
	return TLS_FAILED;
}

void tls_write(struct tls *t, const char *text, size_t len)
{
	ERR_clear_error();
	SSL_write(t->ssl, text, (int)len); /* into memory: there is always room */
}

size_t tls_read(struct tls *t, char *out, size_t size, bool *ret_end)
{
	int n, err;

	*ret_end = false;
	ERR_clear_error();
	n = SSL_read(t->ssl, out, (int)size);
	if (n > 0)
		return (size_t)n;
	err = SSL_get_error(t->ssl, n);
	if (err != SSL_ERROR_WANT_READ && err != SSL_ERROR_WANT_WRITE) {
		*ret_end = true;
		note_error(t);
	}
	return 0;
}

const char *tls_version(const struct tls *t)
{
	return SSL_get_version(t->ssl);
}

void tls_alpn(const struct tls *t, char *out, size_t size)
{
	const uint8_t *name;
	unsigned len;

	SSL_get0_alpn_selected(t->ssl, &name, &len);
	clean_text(out, size, name, len);
}

void tls_cert(struct tls *t, struct cert *ret)
{
	*ret = t->cert;
	t->cert = (struct cert){0};
}

int tls_alert(const struct tls *t)
{
	return t->alert;
}

const char *tls_alert_name(int alert)
{
	switch (alert) {
	case SSL_AD_INTERNAL_ERROR:
		return "internal_error";
	case SSL_AD_NO_APPLICATION_PROTOCOL:
		return "no_application_protocol";
	case SSL_AD_UNRECOGNIZED_NAME:
		return "unrecognized_name";
	case SSL_AD_PROTOCOL_VERSION:
		return "protocol_version";
	case SSL_AD_HANDSHAKE_FAILURE:
		return "handshake_failure";
	}
	return SSL_alert_desc_string_long(alert);
}

const char *tls_error(const struct tls *t)
{
	return t->error;
}

void tls_free(struct tls *t)
{
	if (t == NULL)
		return;
	SSL_free(t->ssl);
	cert_free(&t->cert);
	free(t);
}
