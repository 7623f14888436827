#include "trace.h"

#include <stdio.h>
#include <string.h>

/* IANA, "TLS ExtensionType Values"; those that are seen. */
static const struct {
	uint16_t type;
	const char *name;
} extensions[] = {
	{0, "server_name"}, {1, "max_fragment_length"}, {5, "status_request"}, {10, "supported_groups"}, {11, "ec_point_formats"},
	{13, "signature_algorithms"}, {15, "heartbeat"}, {16, "application_layer_protocol_negotiation"},
	{18, "signed_certificate_timestamp"}, {21, "padding"}, {22, "encrypt_then_mac"}, {23, "extended_master_secret"},
	{27, "compress_certificate"}, {28, "record_size_limit"}, {34, "delegated_credential"}, {35, "session_ticket"},
	{41, "pre_shared_key"}, {42, "early_data"}, {43, "supported_versions"}, {44, "cookie"}, {45, "psk_key_exchange_modes"},
	{47, "certificate_authorities"}, {49, "post_handshake_auth"}, {50, "signature_algorithms_cert"}, {51, "key_share"},
	{13172, "next_protocol_negotiation"}, {17513, "application_settings"}, {17613, "application_settings"},
	{0xfe0d, "encrypted_client_hello"}, {0xff01, "renegotiation_info"},
};

static const char *extension_name(uint16_t type)
{
	for (size_t i = 0; i < sizeof(extensions) / sizeof(extensions[0]); i++)
		if (extensions[i].type == type)
			return extensions[i].name;
	/* RFC 8701: clients send types that do not exist, so that servers get used to it. */
	return (type & 0x0f0f) == 0x0a0a && type >> 8 == (type & 0xff) ? "GREASE" : "unknown";
}

static const char *field_name(enum hello_field field)
{
	switch (field) {
	case HELLO_FIELD_TYPE:
		return "the type of the message";
	case HELLO_FIELD_LENGTH:
		return "the length of the message";
	case HELLO_FIELD_VERSION_RANDOM:
		return "version and random";
	case HELLO_FIELD_SESSION_LENGTH:
	case HELLO_FIELD_SESSION:
		return "the session id";
	case HELLO_FIELD_CIPHERS_LENGTH:
	case HELLO_FIELD_CIPHERS:
		return "the cipher suites";
	case HELLO_FIELD_COMPRESSION_LENGTH:
	case HELLO_FIELD_COMPRESSION:
		return "the compression methods";
	case HELLO_FIELD_EXTENSIONS_LENGTH:
		return "the length of the extensions";
	case HELLO_FIELD_EXT_TYPE:
		return "the type of an extension";
	case HELLO_FIELD_EXT_LENGTH:
		return "the length of an extension";
	case HELLO_FIELD_EXT_SKIP:
		return "an extension";
	case HELLO_FIELD_SNI_LIST_LENGTH:
	case HELLO_FIELD_SNI_TYPE:
	case HELLO_FIELD_SNI_LENGTH:
	case HELLO_FIELD_SNI_NAME:
		return "the server name";
	case HELLO_FIELD_ALPN_LIST_LENGTH:
	case HELLO_FIELD_ALPN_LENGTH:
	case HELLO_FIELD_ALPN_NAME:
		return "the list of ALPN protocols";
	}
	return "?";
}

void trace_bytes(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (bytes[i] > ' ' && bytes[i] < 0x7f && bytes[i] != '\\')
			putchar(bytes[i]);
		else
			printf("\\x%02x", bytes[i]);
}

/* One field of the message while it is read; a field may be spread over records. */
struct field {
	size_t at;        /* its first byte */
	uint32_t number;  /* its value, if it is a number */
	uint8_t text[255]; /* its first bytes */
	size_t len;
};

/* A field is complete. type: of the extension that it belongs to. */
static void print_field(enum hello_field field, const struct field *f, uint16_t type)
{
	switch (field) {
	case HELLO_FIELD_TYPE:
		printf("%6zu    message of type %u%s\n", f->at, f->number, f->number == 1 ? ", ClientHello" : "");
		break;
	case HELLO_FIELD_LENGTH:
		printf("%6zu      length %u\n", f->at, f->number);
		break;
	case HELLO_FIELD_VERSION_RANDOM:
		printf("%6zu      version 0x%02x%02x, random\n", f->at, f->text[0], f->text[1]);
		break;
	case HELLO_FIELD_SESSION_LENGTH:
		printf("%6zu      session id, %u bytes\n", f->at, f->number);
		break;
	case HELLO_FIELD_CIPHERS_LENGTH:
		printf("%6zu      cipher suites, %u of them\n", f->at, f->number / 2);
		break;
	case HELLO_FIELD_COMPRESSION_LENGTH:
		printf("%6zu      compression methods, %u of them\n", f->at, f->number);
		break;
	case HELLO_FIELD_EXTENSIONS_LENGTH:
		printf("%6zu      extensions, %u bytes\n", f->at, f->number);
		break;
	case HELLO_FIELD_EXT_LENGTH:
		printf("%6zu        %s (%u), %u bytes\n", f->at - 2, extension_name(type), type, f->number);
		break;
	case HELLO_FIELD_SNI_NAME:
	case HELLO_FIELD_ALPN_NAME:
		printf("%6zu          ", f->at);
		trace_bytes(f->text, f->len);
		putchar('\n');
		break;
	case HELLO_FIELD_SESSION:
	case HELLO_FIELD_CIPHERS:
	case HELLO_FIELD_COMPRESSION:
	case HELLO_FIELD_EXT_TYPE:
	case HELLO_FIELD_EXT_SKIP:
	case HELLO_FIELD_SNI_LIST_LENGTH:
	case HELLO_FIELD_SNI_TYPE:
	case HELLO_FIELD_SNI_LENGTH:
	case HELLO_FIELD_ALPN_LIST_LENGTH:
	case HELLO_FIELD_ALPN_LENGTH:
		break;
	}
}

static void print_end(const struct hello *h, size_t at, size_t len, bool in_header, enum hello_field field)
{
	switch (h->status) {
	case HELLO_OK:
		printf("%6zu    the message is complete", at);
		if (at < len)
			printf("; %zu bytes follow", len - at);
		putchar('\n');
		break;
	case HELLO_NEED_MORE:
		printf("%6zu    the recording ends in %s\n", at, in_header ? "the header of a record" : field_name(field));
		break;
	case HELLO_NOT_TLS:
		printf("%6zu  this byte begins no TLS handshake\n", at - 1);
		break;
	case HELLO_MALFORMED:
		printf("%6zu  with this byte it is no proper ClientHello: %s\n", at - 1, in_header ? "the header of a record" : field_name(field));
		break;
	}
}

void trace_hello(const uint8_t *buf, size_t len)
{
	struct hello h;
	struct field f = {0};
	enum hello_field field = HELLO_FIELD_TYPE;
	enum hello_part part;
	bool in_header = true;
	uint16_t type = 0;
	unsigned records = 0;
	size_t i;

	hello_init(&h);
	for (i = 0; i < len && h.status == HELLO_NEED_MORE; i++) {
		bool ends = h.need == 1;

		/* The parser tells in which field the next byte stands: the trace shows what it has read, and not what another
		 * parser would have read. */
		in_header = h.rec_header < 5;
		field = h.field;
		hello_step(&h, buf[i], &part);
		if (in_header) {
			if (h.rec_header == 5 && h.status == HELLO_NEED_MORE)
				printf("%6zu  record %u, version 0x%02x%02x, %u bytes\n", i - 4, ++records, buf[i - 3], buf[i - 2], h.rec_left);
			continue;
		}
		if (f.len == 0)
			f.at = i;
		if (f.len < sizeof(f.text))
			f.text[f.len++] = buf[i];
		f.number = f.number << 8 | buf[i];
		if (!ends)
			continue;
		if (field == HELLO_FIELD_EXT_TYPE)
			type = (uint16_t)f.number;
		print_field(field, &f, type);
		f = (struct field){0};
	}
	if (len > 0)
		print_end(&h, i, len, h.status == HELLO_NEED_MORE ? h.rec_header < 5 : in_header, h.status == HELLO_NEED_MORE ? h.field : field);
}

static void print_names(const struct route_names *names)
{
	for (size_t i = 0; i < names->n; i++)
		printf("%s%s", i > 0 ? ", " : "", names->v[i]);
}

/* Both halves of the rule, since both have to match. */
static void print_reasons(const struct route *r, const struct hello_info *info)
{
	const char *alpn = NULL;

	if (r->sni.n > 0) {
		printf("      sni = ");
		print_names(&r->sni);
		printf(": %s\n", route_matches_sni(r, info) ? "yes" : info->sni_len == 0 ? "no, there is no server name" : "no, it is another name");
	}
	if (r->alpn.n > 0 || r->alpn_none) {
		printf("      alpn = ");
		print_names(&r->alpn);
		if (r->alpn_none)
			printf("%snone", r->alpn.n > 0 ? ", " : "");
		if (route_matches_alpn(r, info, &alpn))
			printf(alpn != NULL ? ": yes, %s is offered\n" : ": yes, there is no list%s\n", alpn != NULL ? alpn : "");
		else if (r->alpn.n == 0)
			puts(": no, there is a list");
		else
			puts(info->alpn_len == 0 ? ": no, there is no list" : ": no, the client does not offer it");
	}
}

void trace_rules(const struct conf *conf, const struct hello_info *info)
{
	const char *alpn;

	if (info == NULL) {
		puts("  no rule is asked, since it is no hello: the web server gives the answer it always gives");
		return;
	}
	for (size_t i = 0; i < conf->n_routes; i++) {
		bool matches = route_find(&conf->routes[i], 1, info, &alpn) != NULL;

		printf("  %s: %s\n", conf->routes[i].name, matches ? "matches" : "does not match");
		print_reasons(&conf->routes[i], info);
		if (matches)
			return;
	}
	printf("  %s: takes what no rule matches\n", conf->web.name);
}
