/*
 * hello beside OpenSSL, whose server calls back with a ClientHello that it has
 * taken apart. Where both accept, the protocols and the name must be equal.
 * Where one accepts, it must be for a reason that README.md lists.
 */

#include "tls.h"

#include <assert.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Things that OpenSSL's callback lets pass and hello does not. */
#define ONLY_THEIRS (1u << TLS_SSLV2 | 1u << TLS_EMPTY_RECORD | 1u << TLS_LONG | 1u << TLS_CIPHERS | \
		     1u << TLS_COMPRESSION | 1u << TLS_SERVER_NAME | 1u << TLS_ALPN_LIST)
/* Things that hello does not look at, or for which it need not wait. */
#define ONLY_OURS   (1u << TLS_OPEN_RECORD | 1u << TLS_DUPLICATE | 1u << TLS_PSK_LAST | 1u << TLS_SRTP)

enum oracle_verdict {
	ORACLE_ACCEPTED,
	ORACLE_WAITS,
	ORACLE_REFUSED,
};

/* The content of one extension as OpenSSL gives it. */
struct extension {
	bool present;
	size_t len;
	uint8_t content[TLS_INPUT_MAX];
};

static struct {
	bool called;
	struct extension sni, alpn;
} seen;

static SSL_CTX *context;
static unsigned long both, counts[TLS_CLASSES];

static void get_extension(SSL *ssl, unsigned type, struct extension *ret)
{
	const unsigned char *content;
	size_t len;

	ret->present = SSL_client_hello_get0_ext(ssl, type, &content, &len) == 1;
	if (!ret->present)
		return;
	assert(len <= sizeof(ret->content));
	ret->len = len;
	if (len > 0)
		memcpy(ret->content, content, len);
}

static int on_hello(SSL *ssl, int *alert, void *arg)
{
	(void)alert;
	(void)arg;
	seen.called = true;
	get_extension(ssl, TLSEXT_TYPE_server_name, &seen.sni);
	get_extension(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation, &seen.alpn);
	return SSL_CLIENT_HELLO_RETRY; /* it would go on to negotiate */
}

static void print_counts(void)
{
	fprintf(stderr, "class (both accept): %lu\n", both);
	for (int i = 0; i < TLS_CLASSES; i++)
		fprintf(stderr, "class %s: %lu\n", tls_class_name((enum tls_class)i), counts[i]);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	context = SSL_CTX_new(TLS_server_method());
	assert(context != NULL);
	SSL_CTX_set_client_hello_cb(context, on_hello, NULL);
	atexit(print_counts);
	return 0;
}

static enum oracle_verdict ask_openssl(const uint8_t *data, size_t size)
{
	SSL *ssl = SSL_new(context);
	BIO *in = BIO_new_mem_buf(data, (int)size), *out = BIO_new(BIO_s_mem());
	int error;

	assert(ssl != NULL && in != NULL && out != NULL);
	BIO_set_mem_eof_return(in, -1);
	SSL_set_bio(ssl, in, out);

	seen.called = false;
	error = SSL_get_error(ssl, SSL_accept(ssl));
	SSL_free(ssl);
	ERR_clear_error();

	if (seen.called)
		return ORACLE_ACCEPTED;
	return error == SSL_ERROR_WANT_READ ? ORACLE_WAITS : ORACLE_REFUSED;
}

static void compare(const struct hello_info *info)
{
	assert(seen.alpn.present == (info->alpn_len > 0));
	if (seen.alpn.present) { /* 2 bytes of length in front */
		assert(seen.alpn.len == 2 + info->alpn_len);
		assert(memcmp(seen.alpn.content + 2, info->alpn, info->alpn_len) == 0);
	}

	if (info->sni_len > 0) { /* list length, type and name length in front */
		assert(seen.sni.present && seen.sni.len == 5 + info->sni_len);
		assert(memcmp(seen.sni.content + 5, info->sni, info->sni_len) == 0);
	} else {
		assert(!seen.sni.present || seen.sni.len > 5 + HELLO_SNI_MAX);
	}
}

static void count(unsigned classes)
{
	for (int i = 0; i < TLS_CLASSES; i++)
		counts[i] += classes >> i & 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct hello_info info;
	static struct tls_hello h;
	enum oracle_verdict theirs;
	enum hello_status ours;
	struct hello state;
	unsigned classes;

	if (size > TLS_INPUT_MAX)
		return 0;
	ours = hello_read(&state, data, size, &info);
	theirs = ask_openssl(data, size);

	classes = ours == HELLO_OK || theirs == ORACLE_ACCEPTED ? tls_classes(data, size, &h) : 0;
	if (ours == HELLO_OK) /* none of what hello must refuse, OpenSSL or not */
		assert((classes & ONLY_THEIRS) == 0);
	if (ours == HELLO_OK && theirs == ORACLE_ACCEPTED) {
		both++;
		compare(&info);
		return 0;
	}

	/* Nobody waits for a hello that the other one has, nor for one that cannot come any more. */
	assert(ours != HELLO_NEED_MORE || theirs == ORACLE_WAITS);
	if (ours != HELLO_OK && theirs != ORACLE_ACCEPTED)
		return 0;

	classes &= ours == HELLO_OK ? ONLY_OURS : ONLY_THEIRS;
	if (theirs == ORACLE_WAITS)
		classes &= 1u << TLS_OPEN_RECORD;
	if (classes == 0) {
		fprintf(stderr, "hello says %s, OpenSSL %s, and no known class explains it\n",
			hello_status_name(ours), theirs == ORACLE_ACCEPTED ? "accepts" : "refuses");
		abort();
	}
	count(classes);
	return 0;
}
