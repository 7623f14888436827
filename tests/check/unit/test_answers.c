/* What servers say: http, stream, clean, domain. */
#include "../../../check/clean.h"
#include "../../../check/domain.h"
#include "../../../check/http.h"
#include "../../../check/stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void kinds_of_servers(void **state)
{
	(void)state;
#define KIND(text) answer_kind(text, sizeof(text) - 1)
	assert_int_equal(KIND(""), ANSWER_NONE);
	assert_int_equal(KIND("\r\n "), ANSWER_NONE);
	assert_int_equal(KIND("HTTP/1.1 400 Bad Request"), ANSWER_HTTP);
	assert_int_equal(KIND("<?xml version='1.0'?>"), ANSWER_XMPP);
	assert_int_equal(KIND(" <stream:stream "), ANSWER_XMPP);
	assert_int_equal(KIND("<"), ANSWER_OTHER);
	assert_int_equal(KIND("<html>"), ANSWER_OTHER);
	assert_int_equal(KIND("\0\0\0\4\0\0\0\0\0"), ANSWER_HTTP2);
	assert_int_equal(KIND("\0\0\0\4\0\0\0\0"), ANSWER_OTHER);
	assert_int_equal(KIND("\x15\3\3\0\2\2\50"), ANSWER_TLS);
	assert_int_equal(KIND("220 mail.example ESMTP"), ANSWER_OTHER);
#undef KIND
}

static bool read_text(const char *text, struct http_said *ret)
{
	size_t len = strlen(text);
	char *copy = malloc(len > 0 ? len : 1);
	bool ok;

	memcpy(copy, text, len);
	ok = http_read(copy, len, ret);
	free(copy);
	return ok;
}

static void an_answer_of_a_web_server(void **state)
{
	struct http_said h;

	(void)state;
	assert_true(read_text("HTTP/1.1 301 Moved\r\nserver:  nginx/1.2 \r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
			      "Location: https://\x1b.example/\r\n\r\nbody", &h));
	assert_int_equal(h.status, 301);
	assert_string_equal(h.server, "nginx/1.2");
	assert_string_equal(h.location, "https://?.example/");
	assert_int_equal(h.date, 784111777);
}

static void answers_without_and_with_odd_lines(void **state)
{
	struct http_said h;

	(void)state;
	assert_true(read_text("HTTP/1.0 200 OK\r\n\r\n", &h));
	assert_int_equal(h.date, -1);
	assert_string_equal(h.server, "");
	assert_true(read_text("HTTP/1.1 200\r\nDate: tomorrow\r\nServer:\r\nServers: x\r\n\r\n", &h));
	assert_int_equal(h.date, -1);
	assert_string_equal(h.server, "");
	assert_true(read_text("HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT and a lot more than that\r\n\r\n", &h));
	assert_int_equal(h.date, -1);
}

static void answers_that_are_none_or_not_complete(void **state)
{
	static const char *const texts[] = {
		"", "\r\n\r\n", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 2x0 OK\r\n\r\n", "HTTP/1.1 20\r\n\r\n", "HTTP/1.1 099 OK\r\n\r\n",
		"HTTP/2.0 200 OK\r\n\r\n", "SSH-2.0-OpenSSH_9\r\n\r\n"};
	struct http_said h;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_false(read_text(texts[i], &h));
}

#define OPEN "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='1'>"
static const char features[] = OPEN "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism>"
	"<mechanism>SCRAM-SHA-1-PLUS</mechanism></mechanisms><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>"
	"<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'><channel-binding type='tls-exporter'/></sasl-channel-binding>"
	"<authentication xmlns='urn:xmpp:sasl:2'/></stream:features>";

static void check_features(const struct stream_said *s)
{
	assert_true(s->header && s->features && s->starttls && s->starttls_required && s->sasl2 && !s->error);
	assert_int_equal(s->mechanisms.n, 2);
	assert_string_equal(s->mechanisms.v[0], "PLAIN");
	assert_string_equal(s->mechanisms.v[1], "SCRAM-SHA-1-PLUS");
	assert_int_equal(s->bindings.n, 1);
	assert_string_equal(s->bindings.v[0], "tls-exporter");
}

static void stream_features(void **state)
{
	struct stream *s = stream_new();

	(void)state;
	assert_true(stream_feed(s, features, strlen(features)));
	check_features(stream_said(s));
	stream_free(s);
}

static void stream_features_byte_by_byte(void **state)
{
	struct stream *s = stream_new();

	(void)state;
	for (size_t i = 0; i < strlen(features); i++) {
		assert_false(stream_said(s)->features);
		assert_true(stream_feed(s, features + i, 1));
	}
	check_features(stream_said(s));
	stream_free(s);
}

static void a_stream_error(void **state)
{
	static const char text[] = OPEN "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
		"<text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>not \xf0\x9f\x98\x80 here</text></stream:error>";
	struct stream *s = stream_new();

	(void)state;
	assert_true(stream_feed(s, text, strlen(text)));
	assert_true(stream_said(s)->error);
	assert_string_equal(stream_said(s)->condition, "host-unknown");
	assert_string_equal(stream_said(s)->text, "not ???? here");
	stream_free(s);
}

static void what_is_no_stream(void **state)
{
	static const char *const texts[] = {
		"HTTP/1.1 400 Bad Request\r\n", "<html><head>", "<?xml version='1.0'?><rss/>", OPEN "<a></b>",
		"<!DOCTYPE a [<!ENTITY b 'c'>]><stream:stream xmlns:stream='http://etherx.jabber.org/streams'>",
		OPEN "<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a>"};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct stream *s = stream_new();

		assert_false(stream_feed(s, texts[i], strlen(texts[i])));
		assert_false(stream_feed(s, " ", 1));
		stream_free(s);
	}
}

static void a_stream_without_end_is_left(void **state)
{
	struct stream *s = stream_new();
	char blanks[4096];
	int fed = 0;

	(void)state;
	memset(blanks, ' ', sizeof(blanks));
	assert_true(stream_feed(s, OPEN, strlen(OPEN)));
	while (stream_feed(s, blanks, sizeof(blanks)))
		assert_in_range(++fed, 1, 16);
	stream_free(s);
}

static void more_mechanisms_than_anybody_has(void **state)
{
	static const char head[] = OPEN "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>";
	static const char one[] = "<mechanism>AVERYLONGNAMEOFAMECHANISMTHATDOESNOTFITINTOTHEROOMTHATTHEREIS-AVERYLONGNAMEOFAMECHANISM-AND-MORE</mechanism>";
	struct stream *s = stream_new();

	(void)state;
	stream_feed(s, head, strlen(head));
	for (int i = 0; i < 100; i++)
		assert_true(stream_feed(s, one, strlen(one)));
	assert_int_equal(stream_said(s)->mechanisms.n, STREAM_LIST_MAX);
	assert_int_equal(strlen(stream_said(s)->mechanisms.v[0]), STREAM_WORD_MAX - 1);
	stream_free(s);
}

static void texts_are_cleaned_and_cut(void **state)
{
	char out[8];

	(void)state;
	assert_string_equal(clean_text(out, sizeof(out), "a\x1b\n\xff" "b", 5), "a???b");
	assert_string_equal(clean_text(out, sizeof(out), "1234567", 7), "1234567");
	assert_string_equal(clean_text(out, sizeof(out), "12345678", 8), "1234...");
	assert_string_equal(clean_text(out, sizeof(out), "", 0), "");
}

static void names_of_domains(void **state)
{
	static const struct {
		const char *text, *ascii, *unicode;
	} rows[] = {
		{"example.org", "example.org", "example.org"},
		{"EXAMPLE.org.", "example.org", "example.org"},
		{"alice@example.org/phone", "example.org", "example.org"},
		{"b\xc3\xbc" "cher.example", "xn--bcher-kva.example", "b\xc3\xbc" "cher.example"},
		{"xn--bcher-kva.example", "xn--bcher-kva.example", "b\xc3\xbc" "cher.example"},
		{"fa\xc3\x9f.example", "xn--fa-hia.example", "fa\xc3\x9f.example"}, /* non-transitional: not "fass" */
	};
	static const char *const none[] = {"", ".", "a..b", ".a", "a_b.example", "a b.example", "@", "/x", "xn--\x80.example"};
	struct domain d;
	const char *why = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_true(domain_parse(rows[i].text, &d, &why));
		assert_string_equal(d.ascii, rows[i].ascii);
		assert_string_equal(d.unicode, rows[i].unicode);
	}
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		why = NULL;
		assert_false(domain_parse(none[i], &d, &why));
		assert_non_null(why);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kinds_of_servers),
		cmocka_unit_test(an_answer_of_a_web_server),
		cmocka_unit_test(answers_without_and_with_odd_lines),
		cmocka_unit_test(answers_that_are_none_or_not_complete),
		cmocka_unit_test(stream_features),
		cmocka_unit_test(stream_features_byte_by_byte),
		cmocka_unit_test(a_stream_error),
		cmocka_unit_test(what_is_no_stream),
		cmocka_unit_test(a_stream_without_end_is_left),
		cmocka_unit_test(more_mechanisms_than_anybody_has),
		cmocka_unit_test(texts_are_cleaned_and_cut),
		cmocka_unit_test(names_of_domains),
	};

	return cmocka_run_group_tests_name("answers", tests, NULL, NULL);
}
