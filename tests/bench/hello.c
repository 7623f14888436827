/*
 * How much CPU time reading a ClientHello takes, beside OpenSSL's client-hello callback
 * on the same bytes in the same run. It prints; it judges nothing.
 *
 *   hello FILE...    recorded hellos; those that are not well-formed are passed over
 *   hello            four hellos that the OpenSSL at hand sends
 */

#include "../../shim/hello.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define INPUT_MAX  32768
#define SAMPLES    64
#define ROUNDS     15
#define ROUND_NS   4e6 /* of one way of reading, on one hello */

enum way {
	WAY_READ,
	WAY_SCAN,
	WAY_OPENSSL,
	WAYS,
};

struct sample {
	char name[48];
	size_t len;
	uint8_t data[INPUT_MAX];
};

static struct sample samples[SAMPLES];
static size_t n_samples;
static SSL_CTX *server;
static volatile size_t sink; /* so that nothing is optimised away */

static void die(const char *what)
{
	fprintf(stderr, "%s\n", what);
	exit(1);
}

/* Of CPU: what else the machine does is not to show. */
static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Takes what the callback is for, as a server that routes by ALPN would. */
static int on_hello(SSL *ssl, int *alert, void *arg)
{
	const unsigned char *content;
	size_t len;

	(void)alert;
	(void)arg;
	if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation, &content, &len) == 1)
		sink += len;
	if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &content, &len) == 1)
		sink += len;
	sink++;
	return SSL_CLIENT_HELLO_RETRY;
}

static void by_openssl(const struct sample *s)
{
	SSL *ssl = SSL_new(server);
	BIO *in = BIO_new_mem_buf(s->data, (int)s->len), *out = BIO_new(BIO_s_mem());

	if (ssl == NULL || in == NULL || out == NULL)
		die("no memory");
	SSL_set_bio(ssl, in, out);
	SSL_accept(ssl);
	SSL_free(ssl);
	ERR_clear_error();
}

static void read_once(enum way way, const struct sample *s)
{
	static struct hello_info info;
	struct hello h;

	switch (way) {
	case WAY_READ:
		sink += hello_read(&h, s->data, s->len, &info) + info.alpn_len;
		return;
	case WAY_SCAN:
		hello_init(&h);
		sink += hello_scan(&h, s->data, s->len);
		return;
	case WAY_OPENSSL:
		by_openssl(s);
		return;
	case WAYS:
		return;
	}
}

static double measure(enum way way, const struct sample *s, size_t times)
{
	double start = now_ns();

	for (size_t i = 0; i < times; i++)
		read_once(way, s);
	return (now_ns() - start) / (double)times;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Nanoseconds for one hello: medians over rounds in which the ways take turns. */
static void measure_sample(const struct sample *s, double *ret)
{
	static double rounds[WAYS][ROUNDS];
	size_t times[WAYS];

	for (int way = 0; way < WAYS; way++) {
		double one;

		measure((enum way)way, s, 100); /* warm */
		one = measure((enum way)way, s, 100);
		times[way] = one >= ROUND_NS ? 1 : (size_t)(ROUND_NS / one);
	}
	for (int round = 0; round < ROUNDS; round++)
		for (int way = 0; way < WAYS; way++)
			rounds[way][round] = measure((enum way)way, s, times[way]);
	for (int way = 0; way < WAYS; way++) {
		qsort(rounds[way], ROUNDS, sizeof(rounds[way][0]), by_value);
		ret[way] = rounds[way][ROUNDS / 2];
	}
}

static void add_file(const char *path)
{
	struct sample *s = &samples[n_samples];
	const char *name = strrchr(path, '/');
	struct hello h;
	FILE *f;

	if (n_samples == SAMPLES)
		die("too many files");
	f = fopen(path, "re");
	if (f == NULL) {
		perror(path);
		exit(1);
	}
	s->len = fread(s->data, 1, sizeof(s->data), f);
	fclose(f);
	snprintf(s->name, sizeof(s->name), "%s", name != NULL ? name + 1 : path);
	hello_init(&h);
	if (hello_scan(&h, s->data, s->len) == HELLO_OK)
		n_samples++;
}

/* What a client of this machine's OpenSSL sends first. */
static void add_own(const char *name, int version, const char *sni, const char *alpn)
{
	struct sample *s = &samples[n_samples++];
	SSL_CTX *client = SSL_CTX_new(TLS_client_method());
	SSL *ssl = client != NULL ? SSL_new(client) : NULL;
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	int len;

	if (ssl == NULL || in == NULL || out == NULL)
		die("no memory");
	SSL_set_bio(ssl, in, out);
	SSL_set_max_proto_version(ssl, version);
	if (sni != NULL)
		SSL_set_tlsext_host_name(ssl, sni);
	if (alpn != NULL)
		SSL_set_alpn_protos(ssl, (const unsigned char *)alpn, (unsigned)strlen(alpn));
	SSL_connect(ssl);
	len = BIO_read(out, s->data, sizeof(s->data));
	if (len <= 0)
		die("no ClientHello");
	s->len = (size_t)len;
	snprintf(s->name, sizeof(s->name), "%s", name);
	SSL_free(ssl);
	SSL_CTX_free(client);
	ERR_clear_error();
}

static void add_own_hellos(void)
{
	add_own("openssl-tls13-xmpp-client", TLS1_3_VERSION, "chat.example.org", "\013xmpp-client");
	add_own("openssl-tls13-web", TLS1_3_VERSION, "www.example.org", "\002h2\010http/1.1");
	add_own("openssl-tls12-xmpp-client", TLS1_2_VERSION, "chat.example.org", "\013xmpp-client");
	add_own("openssl-tls12-bare", TLS1_2_VERSION, NULL, NULL);
}

int main(int argc, char **argv)
{
	double sums[WAYS] = {0};
	size_t bytes = 0;

	server = SSL_CTX_new(TLS_server_method());
	if (server == NULL)
		die("OpenSSL does not start");
	SSL_CTX_set_client_hello_cb(server, on_hello, NULL);

	for (int i = 1; i < argc; i++)
		add_file(argv[i]);
	if (n_samples == 0)
		add_own_hellos();

	printf("%s; CPU time, medians of %d rounds\n", OpenSSL_version(OPENSSL_VERSION), ROUNDS);
	printf("%-44s %6s %9s %8s %9s %8s %9s %13s\n", "hello", "bytes", "read ns", "ns/byte", "scan ns", "ns/byte",
	       "OpenSSL", "OpenSSL/read");
	for (size_t i = 0; i < n_samples; i++) {
		const struct sample *s = &samples[i];
		double ns[WAYS];

		measure_sample(s, ns);
		printf("%-44s %6zu %9.0f %8.2f %9.0f %8.2f %9.0f %12.2fx\n", s->name, s->len, ns[WAY_READ],
		       ns[WAY_READ] / (double)s->len, ns[WAY_SCAN], ns[WAY_SCAN] / (double)s->len,
		       ns[WAY_OPENSSL], ns[WAY_OPENSSL] / ns[WAY_READ]);
		fflush(stdout);
		bytes += s->len;
		for (int way = 0; way < WAYS; way++)
			sums[way] += ns[way];
	}
	printf("%-44s %6zu %9.0f %8.2f %9.0f %8.2f %9.0f %12.2fx\n", "all", bytes, sums[WAY_READ],
	       sums[WAY_READ] / (double)bytes, sums[WAY_SCAN], sums[WAY_SCAN] / (double)bytes, sums[WAY_OPENSSL],
	       sums[WAY_OPENSSL] / sums[WAY_READ]);
	SSL_CTX_free(server);
	return 0;
}
