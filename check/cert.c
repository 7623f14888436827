#include "cert.h"

#include "clean.h"
#include "mem.h"

#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DAY 86400

static time_t time_of(const ASN1_TIME *t)
{
	struct tm tm;

	return ASN1_TIME_to_tm(t, &tm) == 1 ? timegm(&tm) : -1;
}

static void note_times(struct cert *c, const X509 *x, bool leaf)
{
	c->from = time_of(X509_get0_notBefore(x));
	c->until = time_of(X509_get0_notAfter(x));
	c->leaf = leaf;
}

int cert_on_verify(int ok, X509_STORE_CTX *store)
{
	const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct cert *c = SSL_get_app_data(ssl);
	int err = X509_STORE_CTX_get_error(store), depth = X509_STORE_CTX_get_error_depth(store);

	if (ok)
		return 1;
	switch (err) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
	case X509_V_ERR_CERT_NOT_YET_VALID:
		if ((c->faults & (CERT_EXPIRED | CERT_NOT_YET_VALID)) == 0 || depth == 0)
			note_times(c, X509_STORE_CTX_get_current_cert(store), depth == 0);
		c->faults |= err == X509_V_ERR_CERT_HAS_EXPIRED ? CERT_EXPIRED : CERT_NOT_YET_VALID;
		break;
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
		c->faults |= CERT_SELF_SIGNED;
		break;
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
		c->faults |= CERT_UNKNOWN_ROOT;
		break;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: /* comes after the one above */
		c->faults |= CERT_INCOMPLETE;
		break;
	default:
		c->faults |= CERT_OTHER;
		snprintf(c->other, sizeof(c->other), "%s", X509_verify_cert_error_string(err));
	}
	return 1;
}

static void name_text(char *out, size_t size, const X509_NAME *name)
{
	BIO *b = BIO_new(BIO_s_mem());
	char *text;
	long len;

	out[0] = '\0';
	if (b == NULL)
		return;
	X509_NAME_print_ex(b, name, 0, XN_FLAG_RFC2253);
	len = BIO_get_mem_data(b, &text);
	if (len > 0)
		clean_text(out, size, text, (size_t)len);
	BIO_free(b);
}

static void add_name(struct cert *c, const ASN1_STRING *name)
{
	char one[256];
	size_t used = strlen(c->names);

	clean_text(one, sizeof(one), ASN1_STRING_get0_data(name), (size_t)ASN1_STRING_length(name));
	snprintf(c->names + used, sizeof(c->names) - used, "%s%s", used > 0 ? " " : "", one);
}

static bool text_is(const ASN1_STRING *s, const char *text)
{
	size_t len = (size_t)ASN1_STRING_length(s);

	return len == strlen(text) && strncasecmp((const char *)ASN1_STRING_get0_data(s), text, len) == 0;
}

/* id-on-xmppAddr is the domain itself, id-on-dnsSRV (RFC 4985) is "_xmpp-client.example.org". */
static bool other_name_is(const OTHERNAME *o, const char *name, const char *service)
{
	char srv[512], oid[64];

	OBJ_obj2txt(oid, sizeof(oid), o->type_id, 1);
	if (strcmp(oid, "1.3.6.1.5.5.7.8.5") == 0 && o->value->type == V_ASN1_UTF8STRING)
		return text_is(o->value->value.utf8string, name);
	if (service == NULL || strcmp(oid, "1.3.6.1.5.5.7.8.7") != 0 || o->value->type != V_ASN1_IA5STRING)
		return false;
	snprintf(srv, sizeof(srv), "%s.%s", service, name);
	return text_is(o->value->value.ia5string, srv);
}

static bool read_names(struct cert *c, X509 *x, const char *name, const char *service)
{
	GENERAL_NAMES *all = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	bool found = X509_check_host(x, name, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1;

	for (int i = 0; i < sk_GENERAL_NAME_num(all); i++) {
		const GENERAL_NAME *one = sk_GENERAL_NAME_value(all, i);

		if (one->type == GEN_DNS)
			add_name(c, one->d.dNSName);
		else if (one->type == GEN_OTHERNAME && other_name_is(one->d.otherName, name, service))
			found = true;
	}
	GENERAL_NAMES_free(all);
	return found;
}

void cert_look(struct cert *c, SSL *ssl, const char *name, const char *service)
{
	X509 *leaf = SSL_get0_peer_certificate(ssl);
	STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);

	if (leaf == NULL)
		return;
	c->present = true;
	c->sent = sk_X509_num(chain);
	c->chain = chain != NULL ? X509_chain_up_ref(chain) : NULL;
	if ((c->faults & (CERT_EXPIRED | CERT_NOT_YET_VALID)) == 0)
		note_times(c, leaf, true);
	name_text(c->subject, sizeof(c->subject), X509_get_subject_name(leaf));
	name_text(c->issuer, sizeof(c->issuer), X509_get_issuer_name(leaf));
	if (!read_names(c, leaf, name, service))
		c->faults |= CERT_WRONG_NAME;
}

int cert_days_left(const struct cert *c, time_t now)
{
	time_t left = c->until - now;

	return (int)(left >= 0 ? left / DAY : (left - DAY + 1) / DAY);
}

static bool matches(X509 *x, const struct rdata_tlsa *t)
{
	uint8_t *der = NULL, digest[EVP_MAX_MD_SIZE];
	const uint8_t *compared;
	unsigned len;
	bool same;
	int n = t->selector == 0 ? i2d_X509(x, &der) :
		t->selector == 1 ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der) : -1;

	if (n < 0)
		return false;
	compared = der;
	len = (unsigned)n;
	if (t->matching == 1 || t->matching == 2) {
		if (EVP_Digest(der, (size_t)n, digest, &len, t->matching == 1 ? EVP_sha256() : EVP_sha512(), NULL) != 1)
			len = 0;
		compared = digest;
	}
	same = t->matching <= 2 && len == t->len && memcmp(compared, t->data, len) == 0;
	OPENSSL_free(der);
	return same;
}

bool cert_matches_tlsa(const struct cert *c, const struct rdata_tlsa *t)
{
	bool leaf_only = t->usage == 1 || t->usage == 3; /* PKIX-EE, DANE-EE */

	for (int i = 0; i < sk_X509_num(c->chain); i++)
		if ((i == 0 || !leaf_only) && matches(sk_X509_value(c->chain, i), t))
			return true;
	return false;
}

bool cert_same(const struct cert *a, const struct cert *b)
{
	return sk_X509_num(a->chain) > 0 && sk_X509_num(b->chain) > 0 && a->faults == b->faults &&
	       X509_cmp(sk_X509_value(a->chain, 0), sk_X509_value(b->chain, 0)) == 0;
}

void cert_free(struct cert *c)
{
	sk_X509_pop_free(c->chain, X509_free);
	c->chain = NULL;
}
