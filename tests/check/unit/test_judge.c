/* From what was seen to what is said: rules that no real set-up reaches, or not alone. */
#include "../../../check/judge.h"
#include "../../../check/mem.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NOW 1700000000
#define DAY 86400

struct seen {
	struct report report;
	struct options options;
	struct plan plan;
	struct target target;
	struct place place;
};

/* A place on port 443 where all is well. */
static int set_up(void **state)
{
	struct seen *s = mem_new(sizeof(*s));

	strcpy(s->options.domain.ascii, "one.example");
	strcpy(s->target.host, "one.example");
	s->target.port = 443;
	s->plan.options = &s->options;
	s->place.target = &s->target;
	strcpy(s->place.address, "192.0.2.1");
	for (int k = 0; k < PLACE_PROBES; k++) {
		struct probe *p = &s->place.probes[k];

		p->end = PROBE_OK;
		p->alert = -1;
		p->tls_ms = p->answer_ms = 1;
		strcpy(p->version, "TLSv1.3");
	}
	s->place.probes[PLACE_CLIENT].answer = ANSWER_XMPP;
	s->place.probes[PLACE_CLIENT].stream.features = true;
	strcpy(s->place.probes[PLACE_CLIENT].chosen, "xmpp-client");
	s->place.probes[PLACE_H1].answer = ANSWER_HTTP;
	s->place.probes[PLACE_H1].http.status = 200;
	s->place.probes[PLACE_H1].http.date = NOW;
	s->place.probes[PLACE_PLAIN].http.status = 400;
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct seen *s = *state;

	report_free(&s->report);
	free(s);
	return 0;
}

static const struct check *last(const struct report *r)
{
	assert_true(r->n > 0);
	return &r->checks[r->n - 1];
}

static const struct check *find(const struct report *r, const char *id)
{
	for (size_t i = 0; i < r->n; i++)
		if (strcmp(r->checks[i].id, id) == 0)
			return &r->checks[i];
	fail_msg("no check %s", id);
	return NULL;
}

static struct cert good_cert(void)
{
	return (struct cert){.present = true, .names = "one.example", .issuer = "CN=x", .from = NOW - DAY, .until = NOW + 60 * DAY, .leaf = true, .sent = 2};
}

static void days_are_rounded_down(void **state)
{
	struct cert c = good_cert();

	(void)state;
	assert_int_equal(cert_days_left(&c, NOW), 60);
	assert_int_equal(cert_days_left(&c, NOW + 1), 59);
	c.until = NOW;
	assert_int_equal(cert_days_left(&c, NOW), 0);
	assert_int_equal(cert_days_left(&c, NOW + 1), -1);
	assert_int_equal(cert_days_left(&c, NOW + DAY), -1);
	assert_int_equal(cert_days_left(&c, NOW + DAY + 1), -2);
}

static void certificates(void **state)
{
	struct seen *s = *state;
	static const struct {
		unsigned faults;
		int sent;
		enum verdict verdict;
		const char *advice;
	} rows[] = {
		{CERT_EXPIRED | CERT_WRONG_NAME, 2, VERDICT_ERROR, "Renew"},
		{CERT_NOT_YET_VALID | CERT_INCOMPLETE, 2, VERDICT_ERROR, "clock"},
		{CERT_WRONG_NAME | CERT_SELF_SIGNED, 1, VERDICT_ERROR, "Get a certificate for one.example"},
		{CERT_SELF_SIGNED, 1, VERDICT_ERROR, "Let's Encrypt"},
		{CERT_INCOMPLETE, 1, VERDICT_ERROR, "fullchain.pem"},
		{CERT_INCOMPLETE, 2, VERDICT_ERROR, "--ca-file"},
		{CERT_UNKNOWN_ROOT, 3, VERDICT_ERROR, "--ca-file"},
		{CERT_OTHER, 2, VERDICT_ERROR, "new certificate"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct cert c = good_cert();

		c.faults = rows[i].faults;
		c.sent = rows[i].sent;
		judge_cert(&s->report, &c, "certificate", "certificate", "one.example", NOW);
		assert_int_equal(last(&s->report)->verdict, rows[i].verdict);
		assert_non_null(strstr(last(&s->report)->advice, rows[i].advice));
	}
}

static void a_certificate_that_ends_soon(void **state)
{
	struct seen *s = *state;
	struct cert c = good_cert();

	c.until = NOW + JUDGE_EXPIRES_SOON * DAY;
	judge_cert(&s->report, &c, "certificate", "certificate", "one.example", NOW);
	assert_int_equal(last(&s->report)->verdict, VERDICT_OK);
	judge_cert(&s->report, &c, "certificate", "certificate", "one.example", NOW + 1);
	assert_int_equal(last(&s->report)->verdict, VERDICT_WARNING);
}

static void an_expired_certificate_above_the_servers(void **state)
{
	struct seen *s = *state;
	struct cert c = good_cert();

	c.faults = CERT_EXPIRED;
	c.leaf = false;
	judge_cert(&s->report, &c, "certificate", "certificate", "one.example", NOW);
	assert_non_null(strstr(last(&s->report)->text, "in its chain"));
}

static void tcp_failures(void **state)
{
	struct seen *s = *state;
	struct probe *p = &s->place.probes[PLACE_TCP];
	static const struct {
		enum probe_end end;
		int err;
		bool no_way;
		enum verdict verdict;
		const char *text;
	} rows[] = {
		{PROBE_CONNECT_FAILED, ENETUNREACH, true, VERDICT_NOTE, "this machine has no IPv4"},
		{PROBE_CONNECT_FAILED, ENETUNREACH, false, VERDICT_ERROR, "Network is unreachable"},
		{PROBE_CONNECT_FAILED, ECONNREFUSED, false, VERDICT_ERROR, "nothing listens on port 443"},
		{PROBE_CONNECT_FAILED, EHOSTUNREACH, false, VERDICT_ERROR, "No route to host"},
		{PROBE_CONNECT_TIMEOUT, 0, false, VERDICT_ERROR, "no answer"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		p->end = rows[i].end;
		p->err = rows[i].err;
		p->no_way = rows[i].no_way;
		judge_place(&s->report, &s->plan, &s->place, NOW);
		assert_int_equal(last(&s->report)->verdict, rows[i].verdict);
		assert_non_null(strstr(last(&s->report)->text, rows[i].text));
		assert_non_null(last(&s->report)->advice);
	}
}

static void a_guess_is_never_an_error(void **state)
{
	struct seen *s = *state;

	s->target.guess = true;
	judge_place(&s->report, &s->plan, &s->place, NOW);
	s->place.probes[PLACE_CLIENT].end = PROBE_TLS_CLOSED;
	judge_place(&s->report, &s->plan, &s->place, NOW);
	s->place.probes[PLACE_TCP].end = PROBE_CONNECT_TIMEOUT;
	judge_place(&s->report, &s->plan, &s->place, NOW);
	assert_int_equal(report_count(&s->report, VERDICT_NOTE), 3);
	assert_int_equal(report_exit_code(&s->report), 0);
}

static void xmpp_failures(void **state)
{
	struct seen *s = *state;
	struct probe *p = &s->place.probes[PLACE_CLIENT];
	static const struct {
		enum probe_end end;
		enum answer answer;
		int alert;
		bool web; /* does the web server answer? */
		const char *text, *advice;
	} rows[] = {
		{PROBE_OK, ANSWER_HTTP, -1, true, "reached a web server", "nothing in front of it"},
		{PROBE_OK, ANSWER_OTHER, -1, true, "neither XMPP nor HTTP", "Prosody's log"},
		{PROBE_TLS_FAILED, ANSWER_HTTP, -1, true, "plain HTTP instead of TLS", "speak TLS"},
		{PROBE_TLS_FAILED, ANSWER_TLS, 120, true, "no_application_protocol", "nothing in front of it"},
		{PROBE_TLS_FAILED, ANSWER_TLS, 80, true, "internal_error", "net_fdpass"},
		{PROBE_TLS_FAILED, ANSWER_TLS, 40, true, "handshake_failure", "certificate"},
		{PROBE_TLS_FAILED, ANSWER_TLS, 70, true, "protocol_version", "Prosody's log"},
		{PROBE_TLS_FAILED, ANSWER_OTHER, -1, true, "failed in the TLS handshake", "Prosody's log"},
		{PROBE_TLS_TIMEOUT, ANSWER_NONE, -1, true, "no answer to its TLS hello", "net_fdpass"},
		{PROBE_TLS_TIMEOUT, ANSWER_NONE, -1, false, "no answer to its TLS hello", "ss -tlnp"},
		{PROBE_TLS_CLOSED, ANSWER_NONE, -1, true, "closed during", "fdpass_services"},
		{PROBE_TLS_CLOSED, ANSWER_NONE, -1, false, "closed during", "ss -tlnp"},
		{PROBE_ANSWER_CLOSED, ANSWER_NONE, -1, true, "closed before", "Prosody's log"},
		{PROBE_ANSWER_TIMEOUT, ANSWER_NONE, -1, true, "no answer within TLS", "Prosody's log"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		p->end = rows[i].end;
		p->answer = rows[i].answer;
		p->alert = rows[i].alert;
		s->place.wanted[PLACE_H1] = true;
		s->place.probes[PLACE_H1].end = rows[i].web ? PROBE_OK : PROBE_TLS_TIMEOUT;
		s->place.probes[PLACE_H1].tls_ms = rows[i].web ? 1 : -1;
		judge_stream(&s->report, &s->place, PLACE_CLIENT, SERVICE_XMPPS_CLIENT, "one.example");
		assert_int_equal(last(&s->report)->verdict, VERDICT_ERROR);
		assert_non_null(strstr(last(&s->report)->text, rows[i].text));
		assert_non_null(strstr(last(&s->report)->advice, rows[i].advice));
	}
}

static void stream_errors(void **state)
{
	struct seen *s = *state;
	struct probe *p = &s->place.probes[PLACE_CLIENT];

	p->stream = (struct stream_said){.error = true, .condition = "host-unknown"};
	judge_stream(&s->report, &s->place, PLACE_CLIENT, SERVICE_XMPPS_CLIENT, "one.example");
	assert_non_null(strstr(last(&s->report)->advice, "VirtualHost \"one.example\""));
	assert_int_equal(last(&s->report)->verdict, VERDICT_ERROR);

	/* Servers may have nothing to say to somebody without a certificate; to clients that is an error. */
	p->stream = (struct stream_said){.error = true, .condition = "undefined-condition"};
	judge_stream(&s->report, &s->place, PLACE_CLIENT, SERVICE_XMPPS_SERVER, "one.example");
	assert_int_equal(last(&s->report)->verdict, VERDICT_OK);
	judge_stream(&s->report, &s->place, PLACE_CLIENT, SERVICE_XMPPS_CLIENT, "one.example");
	assert_int_equal(last(&s->report)->verdict, VERDICT_ERROR);
}

static void who_chooses_no_protocol(void **state)
{
	struct seen *s = *state;

	s->place.probes[PLACE_CLIENT].chosen[0] = '\0';
	judge_stream(&s->report, &s->place, PLACE_CLIENT, SERVICE_XMPPS_CLIENT, "one.example");
	assert_int_equal(last(&s->report)->verdict, VERDICT_NOTE);
	s->target.port = 5223; /* Prosody's own port never does */
	judge_stream(&s->report, &s->place, PLACE_CLIENT, SERVICE_XMPPS_CLIENT, "one.example");
	assert_int_equal(last(&s->report)->verdict, VERDICT_OK);
}

static void logins(void **state)
{
	struct seen *s = *state;
	struct stream_said said = {.features = true};

	judge_login(&s->report, &said, "TLSv1.3");
	assert_int_equal(find(&s->report, "sasl")->verdict, VERDICT_ERROR);
	report_free(&s->report);

	said.sasl2 = true;
	judge_login(&s->report, &said, "TLSv1.3");
	assert_int_equal(find(&s->report, "sasl")->verdict, VERDICT_OK);
	report_free(&s->report);

	said = (struct stream_said){.mechanisms = {.v = {"PLAIN"}, .n = 1}};
	judge_login(&s->report, &said, "TLSv1.3");
	assert_int_equal(find(&s->report, "sasl")->verdict, VERDICT_NOTE);
	assert_int_equal(find(&s->report, "channel-binding")->verdict, VERDICT_NOTE);
	report_free(&s->report);

	said = (struct stream_said){.mechanisms = {.v = {"PLAIN", "SCRAM-SHA-1-PLUS"}, .n = 2}, .bindings = {.v = {"tls-exporter"}, .n = 1}};
	judge_login(&s->report, &said, "TLSv1.3");
	assert_int_equal(find(&s->report, "sasl")->verdict, VERDICT_OK);
	assert_int_equal(find(&s->report, "channel-binding")->verdict, VERDICT_OK);
	assert_string_equal(find(&s->report, "channel-binding")->text, "tls-exporter");
}

static void the_web_server_in_trouble(void **state)
{
	struct seen *s = *state;
	struct probe *p = &s->place.probes[PLACE_H1];

	s->place.wanted[PLACE_H1] = true;
	p->http.status = 502;
	judge_web(&s->report, &s->plan, &s->place, NOW);
	assert_int_equal(find(&s->report, "http1")->verdict, VERDICT_WARNING);
	report_free(&s->report);

	p->end = PROBE_ANSWER_TIMEOUT;
	p->answer = ANSWER_NONE;
	p->http.status = 0;
	judge_web(&s->report, &s->plan, &s->place, NOW);
	assert_non_null(strstr(find(&s->report, "http1")->text, "TLS works, but"));
	report_free(&s->report);

	p->end = PROBE_TLS_FAILED;
	p->tls_ms = -1;
	p->alert = 112;
	judge_web(&s->report, &s->plan, &s->place, NOW);
	assert_non_null(strstr(find(&s->report, "http1")->advice, "server_name"));
	report_free(&s->report);

	p->alert = -1;
	p->end = PROBE_TLS_CLOSED;
	s->place.probes[PLACE_CLIENT].end = PROBE_TLS_CLOSED;
	judge_web(&s->report, &s->plan, &s->place, NOW);
	assert_non_null(strstr(find(&s->report, "http1")->advice, "ss -tlnp"));
}

static void http2_that_breaks(void **state)
{
	struct seen *s = *state;

	s->place.wanted[PLACE_H1] = true;
	strcpy(s->place.probes[PLACE_H2].chosen, "h2");
	s->place.probes[PLACE_H2].end = PROBE_ANSWER_CLOSED;
	judge_web(&s->report, &s->plan, &s->place, NOW);
	assert_int_equal(find(&s->report, "h2")->verdict, VERDICT_WARNING);
}

static void clocks(void **state)
{
	struct seen *s = *state;
	struct probe *p = &s->place.probes[PLACE_H1];

	s->place.wanted[PLACE_H1] = true;
	p->http.date = NOW + JUDGE_CLOCK_MAX;
	judge_web(&s->report, &s->plan, &s->place, NOW);
	assert_int_equal(report_count(&s->report, VERDICT_WARNING), 0);
	p->http.date = NOW - JUDGE_CLOCK_MAX - 1;
	judge_web(&s->report, &s->plan, &s->place, NOW);
	assert_non_null(strstr(find(&s->report, "clock")->text, "121 seconds behind"));
}

static void verdicts_and_exit_codes(void **state)
{
	struct seen *s = *state;

	assert_int_equal(report_exit_code(&s->report), 0);
	report_add(&s->report, VERDICT_OK, "a", "a", "a");
	report_add(&s->report, VERDICT_NOTE, "a", "a", "a");
	assert_int_equal(report_exit_code(&s->report), 0);
	report_add(&s->report, VERDICT_WARNING, "a", "a", "a");
	assert_int_equal(report_exit_code(&s->report), 1);
	report_add(&s->report, VERDICT_ERROR, "a", "a", "a");
	report_add(&s->report, VERDICT_OK, "a", "a", "a");
	assert_int_equal(report_exit_code(&s->report), 2);
	assert_string_equal(verdict_name(report_verdict(&s->report)), "error");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(days_are_rounded_down),
		TEST(certificates),
		TEST(a_certificate_that_ends_soon),
		TEST(an_expired_certificate_above_the_servers),
		TEST(tcp_failures),
		TEST(a_guess_is_never_an_error),
		TEST(xmpp_failures),
		TEST(stream_errors),
		TEST(who_chooses_no_protocol),
		TEST(logins),
		TEST(the_web_server_in_trouble),
		TEST(http2_that_breaks),
		TEST(clocks),
		TEST(verdicts_and_exit_codes),
	};

	return cmocka_run_group_tests_name("judge", tests, NULL, NULL);
}
