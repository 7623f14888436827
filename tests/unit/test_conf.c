#include "conf.h"

#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What conf_read() makes of a file with these bytes. */
static int read_bytes(struct conf *c, const char *bytes, size_t len, struct conf_error *err)
{
	char path[] = "/tmp/xmpp443-unit-XXXXXX";
	int fd = mkstemp(path), ret;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), (ssize_t)len);
	close(fd);
	memset(err, 0x5a, sizeof(*err));
	ret = conf_read(c, path, err);
	unlink(path);
	return ret;
}

static void reads(struct conf *c, const char *text)
{
	struct conf_error err;

	if (read_bytes(c, text, strlen(text), &err) != 0)
		fail_msg("line %u: %s", err.line, err.text);
}

/* The text must be refused with that line and words of that message. */
static void refused(const char *text, unsigned line, const char *words)
{
	struct conf *c = conf_new();
	struct conf_error err;

	assert_non_null(c);
	assert_int_equal(read_bytes(c, text, strlen(text), &err), -EINVAL);
	if (err.line != line || strstr(err.text, words) == NULL)
		fail_msg("%s\ngave line %u, '%s' instead of line %u, '%s'", text, err.line, err.text, line, words);
	conf_unref(c);
}

static int set(struct conf *c, const char *section, const char *key, const char *value)
{
	struct conf_error err = {0};
	int ret = conf_set(c, section, key, value, &err);

	assert_true(ret == 0 || (ret == -EINVAL && strlen(err.text) > 10));
	return ret;
}

static struct conf *fresh(void)
{
	struct conf *c = conf_new();

	assert_non_null(c);
	return c;
}

static void the_defaults_are_those_of_the_manual(void **state)
{
	struct conf *c = fresh();

	(void)state;
	assert_int_equal(c->n_listen, 0);
	assert_int_equal(c->workers, 0);
	assert_int_equal(c->hello_timeout_ms, 10000);
	assert_int_equal(c->connect_timeout_ms, 5000);
	assert_int_equal(c->idle_timeout_ms, 0);
	assert_int_equal(c->half_closed_timeout_ms, 600000);
	assert_int_equal(c->n_trusted, 0);
	assert_int_equal(c->web.tlvs, 0);
	assert_int_equal(c->max_connections, 20000);
	assert_int_equal(c->max_pending_per_ip, 64);
	assert_int_equal(c->max_held, 4096);
	assert_int_equal(c->log_level, LOG_LEVEL_INFO);
	assert_int_equal(c->log_about, LOG_HANDOFFS);
	assert_int_equal(c->log_rate, 50);
	assert_int_equal(c->metrics.len, 0);
	assert_int_equal(c->n_routes, 0);
	assert_int_equal(c->web.target.len, 0);
	assert_int_equal(c->web.pp, PP2_V2);
	assert_false(c->web.fdpass);
	conf_unref(c);
}

/* conf_new() does not look whether one could be set. */
static void each_default_is_a_good_value(void **state)
{
	struct conf *c = fresh();

	(void)state;
	for (size_t i = 0; i < conf_keys_n; i++) {
		const struct conf_key *k = &conf_keys[i];

		assert_non_null(k->value);
		assert_int_not_equal(k->in, 0);
		if (k->fallback == NULL)
			continue;
		if (k->in & CONF_IN_SHIM)
			assert_int_equal(set(c, "shim", k->name, k->fallback), 0);
		if (k->in & CONF_IN_ROUTE)
			assert_int_equal(set(c, "route r", k->name, k->fallback), 0);
		if (k->in & CONF_IN_WEB)
			assert_int_equal(set(c, "web", k->name, k->fallback), 0);
	}
	conf_unref(c);
}

static void a_whole_file_is_read(void **state)
{
	struct conf *c = fresh();
	struct conf_error err;
	char text[ADDR_ENDPOINT_TEXT_MAX];

	(void)state;
	reads(c,
	      "; a comment\n"
	      "# another one\n"
	      "\n"
	      "   \t\n"
	      "  ; indented comment\n"
	      "[shim]\n"
	      "listen = 0.0.0.0:443\n"
	      "listen=[::]:443 ; a comment behind\n"
	      "workers: 3\n"
	      "hello-timeout = 1500ms\n"
	      "connect-timeout = 2m\n"
	      "idle-timeout = 1h\n"
	      "trusted-proxies = 192.0.2.0/24, 2001:db8::1\n"
	      "trusted-proxies = 198.51.100.7\n"
	      "max-connections = 7\n"
	      "max-pending-per-ip = 8\n"
	      "max-held = 9\n"
	      "log-level = debug\n"
	      "\n"
	      "[route xmpp-client]\n"
	      "alpn = xmpp-client\n"
	      "fdpass = /run/prosody/fdpass.sock\n"
	      "hold = 1h\n"
	      "[route old]\n"
	      "sni = Chat.Example.ORG., *.Example.org\n"
	      "alpn = none, h2\n"
	      "proxy = unix:/run/x.sock\n"
	      "proxy-protocol = none\r\n"
	      "proxy-tlvs = authority, unique-id\n"
	      "[web]\n"
	      "proxy = [::1]:8443\n"
	      "proxy-protocol = v1");
	assert_int_equal(c->n_listen, 2);
	assert_string_equal(addr_endpoint_text(&c->listen[0], text), "0.0.0.0:443");
	assert_string_equal(addr_endpoint_text(&c->listen[1], text), "[::]:443");
	assert_int_equal(c->workers, 3);
	assert_int_equal(c->hello_timeout_ms, 1500);
	assert_int_equal(c->connect_timeout_ms, 120000);
	assert_int_equal(c->idle_timeout_ms, 3600000);
	assert_int_equal(c->n_trusted, 3);
	assert_string_equal(addr_ip_text(&c->trusted[0].base, text), "192.0.2.0");
	assert_int_equal(c->trusted[0].bits, 24);
	assert_string_equal(addr_ip_text(&c->trusted[1].base, text), "2001:db8::1");
	assert_int_equal(c->trusted[1].bits, 128);
	assert_int_equal(c->trusted[2].bits, 32);
	assert_int_equal(c->max_connections, 7);
	assert_int_equal(c->max_pending_per_ip, 8);
	assert_int_equal(c->max_held, 9);
	assert_int_equal(c->log_level, LOG_LEVEL_DEBUG);

	assert_int_equal(c->n_routes, 2);
	assert_string_equal(c->routes[0].name, "xmpp-client");
	assert_true(c->routes[0].fdpass);
	assert_int_equal(c->routes[0].hold_ms, 3600000);
	assert_int_equal(c->routes[0].alpn.n, 1);
	assert_string_equal(c->routes[0].alpn.v[0], "xmpp-client");
	assert_false(c->routes[0].alpn_none);
	assert_string_equal(addr_endpoint_text(&c->routes[0].target, text), "unix:/run/prosody/fdpass.sock");

	assert_string_equal(c->routes[1].name, "old");
	assert_false(c->routes[1].fdpass);
	assert_true(c->routes[1].alpn_none);
	assert_int_equal(c->routes[1].alpn.n, 1);
	assert_string_equal(c->routes[1].alpn.v[0], "h2");
	assert_int_equal(c->routes[1].sni.n, 2);
	assert_string_equal(c->routes[1].sni.v[0], "chat.example.org");
	assert_string_equal(c->routes[1].sni.v[1], "*.example.org");
	assert_int_equal(c->routes[1].pp, PP2_NONE);
	assert_int_equal(c->routes[1].hold_ms, 30000);
	assert_int_equal(c->routes[0].tlvs, 0);
	assert_int_equal(c->routes[1].tlvs, ROUTE_TLV_AUTHORITY | ROUTE_TLV_UNIQUE_ID);

	assert_string_equal(addr_endpoint_text(&c->web.target, text), "[::1]:8443");
	assert_int_equal(c->web.pp, PP2_V1);
	assert_int_equal(conf_check(c, false, &err), 0);
	conf_unref(c);
}

static void an_empty_file_leaves_the_defaults(void **state)
{
	struct conf *c = fresh();
	struct conf_error err;

	(void)state;
	reads(c, "");
	assert_int_equal(c->n_listen + c->n_routes, 0);
	assert_int_equal(conf_check(c, true, &err), -EINVAL);
	conf_unref(c);
}

/* Good values and bad ones for a key, each of which must be refused. */
struct key_case {
	const char *section, *key;
	const char *good[12];
	const char *bad[24];
};

static const struct key_case key_cases[] = {
	{"shim", "listen", {"0.0.0.0:443", "127.0.0.1:1", "[::]:65535"},
	 {"", "443", ":443", "*:443", "localhost:443", "example.org:443", "0.0.0.0:0", "0.0.0.0:65536", "[::]", "::1:443",
	  "unix:/run/x", "0.0.0.0:443 x"}},
	{"shim", "workers", {"auto", "1", "64"}, {"", "0", "65", "-1", "+1", "1.5", "two", "1 ", "0x1", "Auto", "99999999999999999999"}},
	{"shim", "hello-timeout", {"1ms", "10s", "2m", "1h", "24h", "86400s", "86400000ms", "1440m"},
	 {"", "10", "0s", "0ms", "s", "-1s", "1.5s", "10 s", "10S", "25h", "86401s", "86400001ms", "1441m", "1d", "10s x", "99999999999h",
	  "4294967297ms"}},
	{"shim", "connect-timeout", {"1ms", "5s"}, {"", "0s", "5"}},
	{"shim", "half-closed-timeout", {"off", "1s", "24h"}, {"", "0", "999ms", "25h", "none"}},
	{"shim", "idle-timeout", {"off", "1s", "1000ms", "24h"}, {"", "0", "0s", "999ms", "25h", "Off", "none", "1"}},
	{"shim", "trusted-proxies", {"192.0.2.1", "192.0.2.0/24", "::/0", "2001:db8::/32,192.0.2.1 10.0.0.0/8"},
	 {"", ",", "localhost", "192.0.2.1/24", "192.0.2.0/33", "[::1]", "192.0.2.1:443", "unix:/x", "192.0.2.1, x", "/0"}},
	{"shim", "max-connections", {"1", "1000000"}, {"", "0", "1000001", "-5", "many"}},
	{"shim", "max-pending-per-ip", {"1", "1000000"}, {"", "0", "1000001"}},
	{"shim", "max-held", {"0", "1000000"}, {"", "1000001", "-1"}},
	{"shim", "metrics", {"off", "127.0.0.1:9443", "127.7.7.7:1", "[::1]:9443", "unix:/run/m.sock"},
	 {"", "on", "9443", "0.0.0.0:9443", "[::]:9443", "192.0.2.1:9443", "localhost:9443", "unix:m.sock", "127.0.0.1:0", "Off"}},
	{"shim", "log", {"failures", "handoffs", "decisions"}, {"", "all", "Failures", "failures handoffs", "off"}},
	{"shim", "log-rate", {"off", "1", "1000000"}, {"", "0", "1000001", "50/s"}},
	{"shim", "log-level", {"error", "warning", "notice", "info", "debug"}, {"", "Info", "6", "warn", "trace"}},
	{"shim", "sandbox", {"on", "off", "log"}, {"", "On", "yes", "1", "strict"}},
	{"route r", "alpn", {"xmpp-client", "none", "a,b c\td", "none, h2", " ,x, "}, {"", " ", ",", ", ,\t"}},
	{"route r", "sni", {"a.example", "*.example.org", "xn--bcher-kva.example", "A.Example.", "a b,c"},
	 {"", ",", "*", "*.", "a..b", ".a", "a/b", "b\xc3\xbc" "cher.example", "a.*.example", "*a.example", "*.*.example", "a.example:443"}},
	{"route r", "fdpass", {"/run/prosody/fdpass.sock"}, {"", "fdpass.sock", "unix:/run/x", "127.0.0.1:5", "./x"}},
	{"route r", "proxy", {"127.0.0.1:8443", "[::1]:8443", "unix:/run/nginx.sock"}, {"", "localhost:8443", "127.0.0.1", "/run/x", "unix:x"}},
	{"route r", "proxy-protocol", {"v1", "v2", "none"}, {"", "1", "V1", "v3", "off"}},
	{"route r", "proxy-tlvs", {"alpn", "authority", "unique-id", "alpn, authority unique-id", "alpn alpn"},
	 {"", ",", "ALPN", "none", "ssl", "alpn, crc32c"}},
	{"route r", "hold", {"0s", "30s", "24h"}, {"", "30", "-1s", "25h"}},
	{"web", "proxy", {"127.0.0.1:8443", "[::1]:8443", "unix:/run/nginx.sock"}, {"", "localhost:8443", "127.0.0.1", "/run/x"}},
	{"web", "proxy-protocol", {"v1", "v2", "none"}, {"", "yes"}},
	{"web", "proxy-tlvs", {"alpn", "authority", "unique-id"}, {"", "sni"}},
};

static void each_key_takes_its_good_values_and_refuses_bad_ones(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(key_cases) / sizeof(key_cases[0]); i++) {
		const struct key_case *k = &key_cases[i];

		for (int j = 0; j < 12 && k->good[j] != NULL; j++) {
			struct conf *c = fresh();

			if (set(c, k->section, k->key, k->good[j]) != 0)
				fail_msg("[%s] %s = %s was refused", k->section, k->key, k->good[j]);
			conf_unref(c);
		}
		for (int j = 0; j < 24 && k->bad[j] != NULL; j++) {
			struct conf *c = fresh();

			if (set(c, k->section, k->key, k->bad[j]) != -EINVAL)
				fail_msg("[%s] %s = %s was taken", k->section, k->key, k->bad[j]);
			conf_unref(c);
		}
	}
}

static void the_line_of_a_bad_value_is_named_for_each_key(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(key_cases) / sizeof(key_cases[0]); i++) {
		const struct key_case *k = &key_cases[i];

		for (int j = 0; j < 24 && k->bad[j] != NULL; j++) {
			char text[600];

			/* What stands behind must not hide it. */
			if (k->bad[j][strlen(k->bad[j]) > 0 ? strlen(k->bad[j]) - 1 : 0] == ' ')
				continue; /* blanks at the end are no part of a value in a file */
			snprintf(text, sizeof(text), "; one\n\n[%s]\n; four\n%s = %s\nsurplus\n[nonsense]\nx = y\n", k->section,
				 k->key, k->bad[j]);
			refused(text, 5, "");
		}
	}
}

static void a_name_instead_of_an_address_is_told_that_names_are_never_looked_up(void **state)
{
	(void)state;
	refused("[web]\nproxy = localhost:8443\n", 2, "never looked up");
	refused("[shim]\nlisten = example.org:443\n", 2, "never looked up");
	refused("[route a]\nalpn = x\nproxy = web.example:1\n", 3, "never looked up");
}

static void unknown_keys_and_sections_are_named_with_their_line(void **state)
{
	(void)state;
	refused("[shim]\nlisten = 0.0.0.0:1\nlisten-to = 0.0.0.0:2\n", 3, "[shim] has no key 'listen-to'");
	refused("[web]\nalpn = h2\n", 2, "[web] has no key 'alpn'");
	refused("[web]\nfdpass = /x\n", 2, "[web] has no key 'fdpass'");
	refused("[web]\nhold = 1s\n", 2, "[web] has no key 'hold'");
	refused("[route a]\nworkers = 1\n", 2, "[route a] has no key 'workers'");
	refused("\n[shimm]\nworkers = 1\n", 3, "there is no section [shimm]");
	refused("[routea]\nalpn = x\n", 2, "there is no section [routea]");
	refused("[Web]\nproxy = 127.0.0.1:1\n", 2, "there is no section [Web]");
	refused("[route ]\nalpn = x\n", 2, "");
	refused("[route]\nalpn = x\n", 2, "there is no section [route]");
}

static void a_key_before_the_first_section_is_refused(void **state)
{
	(void)state;
	refused("\nworkers = 1\n[shim]\n", 2, "'workers' stands before the first [section]");
}

static void a_line_that_is_nothing_is_refused_by_its_number(void **state)
{
	(void)state;
	refused("[shim]\nworkers\n", 2, "neither");
	refused("[shim]\n\n\nworkers 2\n", 4, "neither");
}

static void the_first_of_several_mistakes_is_the_one_reported(void **state)
{
	(void)state;
	/* A bracket that is not closed makes what follows belong to the section before. */
	refused("[shim\nworkers = 2\n", 1, "neither");
	refused("[shim]\nnonsense\nworkers = none\n", 2, "neither");
	refused("[shim]\nworkers = none\nnonsense\n", 2, "is not a number");
	refused("[shim]\nnonsense\n indented = 1\n", 2, "neither");
}

static void a_line_that_is_too_long_is_refused(void **state)
{
	char text[1000] = "[shim]\nworkers = 1\n; ";
	size_t at = strlen(text);

	(void)state;
	memset(text + at, 'x', 500);
	strcpy(text + at + 500, "\nworkers = 2\n");
	refused(text, 3, "too long");
	/* Nor is the rest of it taken for a line of its own. */
	strcpy(text, "[shim]\nworkers = 1 ;");
	at = strlen(text);
	memset(text + at, ' ', 178);
	strcpy(text + at + 178, "workers = 2\n");
	refused(text, 2, "too long");
}

static void names_that_inih_would_cut_are_refused(void **state)
{
	(void)state;
	refused("[route aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\nalpn = x\n", 1, "section's name is too long");
	refused("[shim]\naaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa = x\n", 2, "key is too long");
}

static void an_indented_line_is_refused(void **state)
{
	(void)state;
	refused("[shim]\nlisten = 0.0.0.0:1\n  0.0.0.0:2\n", 3, "indented");
	refused("[shim]\n\tworkers = 1\n", 2, "indented");
	refused(" [shim]\n", 1, "indented");
}

static void a_nul_byte_is_refused_wherever_it_stands(void **state)
{
	static const struct {
		char bytes[40];
		size_t len;
		unsigned line;
	} cases[] = {
		{"[shim]\nworkers = 2\0x\n", 21, 2}, {"\0[shim]\n", 8, 1}, {"[shim]\n\0\n", 9, 2}, {"[shim]\nworkers = 2\n\0\n\n", 22, 3},
		{"[shim]\nworkers = 2\0\n", 20, 2}, {"[shim]\nworkers = 2\0garbage", 26, 2},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct conf *c = fresh();
		struct conf_error err;

		if (read_bytes(c, cases[i].bytes, cases[i].len, &err) != -EINVAL || err.line != cases[i].line ||
		    strstr(err.text, "NUL") == NULL)
			fail_msg("case %zu: line %u, %.40s", i, err.line, err.text);
		conf_unref(c);
	}
}

static void a_route_has_one_target(void **state)
{
	(void)state;
	refused("[route a]\nfdpass = /a\nfdpass = /b\n", 3, "set already");
	refused("[route a]\nfdpass = /a\nproxy = 127.0.0.1:1\n", 3, "set already");
	refused("[route a]\nproxy = 127.0.0.1:1\nfdpass = /a\n", 3, "set already");
	refused("[route a]\nproxy = 127.0.0.1:1\n[web]\n[route a]\nproxy = 127.0.0.1:1\n", 5, "set already");
	refused("[web]\nproxy = 127.0.0.1:1\nproxy = 127.0.0.1:2\n", 3, "set already");
}

static void a_socket_path_that_does_not_fit_is_refused(void **state)
{
	char text[200] = "[route a]\nfdpass = /";

	(void)state;
	memset(text + strlen(text), 'x', 107);
	strcat(text, "\n");
	refused(text, 2, "too long for a Unix socket");
}

static void a_routes_name_is_fit_for_logs(void **state)
{
	(void)state;
	refused("[route web]\nalpn = x\n", 2, "is not 'web'");
	refused("[route a b]\nalpn = x\n", 2, "a route's name");
	refused("[route a\"]\nalpn = x\n", 2, "a route's name");
	refused("[route aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\nalpn = x\n", 2, "a route's name");
}

static void sections_of_the_same_route_are_one(void **state)
{
	struct conf *c = fresh();

	(void)state;
	reads(c, "[route a]\nalpn = x\n[route b]\nalpn = z\n[route a]\nalpn = y\nfdpass = /a\n");
	assert_int_equal(c->n_routes, 2);
	assert_int_equal(c->routes[0].alpn.n, 2);
	assert_string_equal(c->routes[0].alpn.v[1], "y");
	conf_unref(c);
}

static void lists_and_tables_are_bounded(void **state)
{
	struct conf *c = fresh();
	char name[300];

	(void)state;
	for (int i = 0; i < CONF_LISTEN_MAX; i++) {
		snprintf(name, sizeof(name), "127.0.0.1:%d", i + 1);
		assert_int_equal(set(c, "shim", "listen", name), 0);
	}
	assert_int_equal(set(c, "shim", "listen", "127.0.0.1:999"), -EINVAL);
	for (int i = 0; i < CONF_ROUTES_MAX; i++) {
		snprintf(name, sizeof(name), "route r%d", i);
		assert_int_equal(set(c, name, "alpn", "x"), 0);
	}
	assert_int_equal(set(c, "route more", "alpn", "x"), -EINVAL);
	for (int i = 0; i < CONF_TRUSTED_MAX; i++)
		assert_int_equal(set(c, "shim", "trusted-proxies", "192.0.2.1"), 0);
	assert_int_equal(set(c, "shim", "trusted-proxies", "192.0.2.1"), -EINVAL);
	for (int i = 1; i < 256; i++)
		assert_int_equal(set(c, "route r0", "alpn", "x"), 0);
	assert_int_equal(set(c, "route r0", "alpn", "x"), -EINVAL);
	memset(name, 'a', sizeof(name));
	name[256] = '\0';
	assert_int_equal(set(c, "route r1", "alpn", name), -EINVAL);
	name[255] = '\0';
	assert_int_equal(set(c, "route r1", "alpn", name), 0);
	conf_unref(c);
}

static void peers_are_trusted_by_prefix_and_nobody_is_by_default(void **state)
{
	struct conf *c = fresh();
	struct addr a, unknown = {.family = AF_UNSPEC};

	(void)state;
	assert_int_equal(addr_parse("192.0.2.7", "1", &a), 0);
	assert_false(conf_trusts(c, &a));
	assert_int_equal(set(c, "shim", "trusted-proxies", "10.0.0.0/8, 192.0.2.0/29"), 0);
	assert_true(conf_trusts(c, &a));
	assert_int_equal(addr_parse("192.0.2.8", "1", &a), 0);
	assert_false(conf_trusts(c, &a));
	assert_int_equal(addr_parse("10.255.0.1", "65535", &a), 0);
	assert_true(conf_trusts(c, &a));
	assert_int_equal(addr_parse("::1", "1", &a), 0);
	assert_false(conf_trusts(c, &a));
	assert_false(conf_trusts(c, &unknown));
	conf_unref(c);
}

static void an_idle_timeout_can_be_set_and_taken_back(void **state)
{
	struct conf *c = fresh();

	(void)state;
	assert_int_equal(set(c, "shim", "idle-timeout", "1500ms"), 0);
	assert_int_equal(c->idle_timeout_ms, 1500);
	assert_int_equal(set(c, "shim", "idle-timeout", "off"), 0);
	assert_int_equal(c->idle_timeout_ms, 0);
	conf_unref(c);
}

static void the_tlvs_of_several_lines_add_up(void **state)
{
	struct conf *c = fresh();

	(void)state;
	assert_int_equal(set(c, "web", "proxy-tlvs", "alpn"), 0);
	assert_int_equal(c->web.tlvs, ROUTE_TLV_ALPN);
	assert_int_equal(set(c, "web", "proxy-tlvs", "unique-id,authority"), 0);
	assert_int_equal(c->web.tlvs, ROUTE_TLV_ALPN | ROUTE_TLV_AUTHORITY | ROUTE_TLV_UNIQUE_ID);
	conf_unref(c);
}

static void a_bad_item_of_a_list_is_named(void **state)
{
	(void)state;
	refused("[shim]\ntrusted-proxies = 192.0.2.1, proxy.example\n", 2, "'proxy.example'");
	refused("[shim]\ntrusted-proxies = 192.0.2.1/24\n", 2, "no bit set behind the prefix");
	refused("[web]\nproxy-tlvs = alpn, ssl\n", 2, "'ssl' is not alpn, authority or unique-id");
}

static void what_is_missing_is_said(void **state)
{
	struct conf *c = fresh();
	struct conf_error err;

	(void)state;
	assert_int_equal(conf_check(c, false, &err), -EINVAL);
	assert_non_null(strstr(err.text, "nothing to listen on"));
	assert_int_equal(err.line, 0);
	assert_int_equal(conf_check(c, true, &err), -EINVAL);
	assert_non_null(strstr(err.text, "no web server"));
	assert_int_equal(set(c, "web", "proxy", "127.0.0.1:1"), 0);
	assert_int_equal(conf_check(c, true, &err), 0);
	assert_int_equal(set(c, "shim", "listen", "127.0.0.1:1"), 0);
	assert_int_equal(conf_check(c, false, &err), 0);
	assert_int_equal(set(c, "route a", "alpn", "x"), 0);
	assert_int_equal(conf_check(c, false, &err), -EINVAL);
	assert_non_null(strstr(err.text, "[route a] leads nowhere"));
	assert_int_equal(set(c, "route a", "fdpass", "/a"), 0);
	assert_int_equal(conf_check(c, false, &err), 0);
	assert_int_equal(set(c, "route b", "fdpass", "/a"), 0);
	assert_int_equal(conf_check(c, false, &err), -EINVAL);
	assert_non_null(strstr(err.text, "[route b] would match everything"));
	assert_int_equal(set(c, "route b", "alpn", "none"), 0);
	assert_int_equal(conf_check(c, false, &err), 0);
	conf_unref(c);
}

static void a_file_that_is_missing_or_a_directory_is_an_error(void **state)
{
	struct conf *c = fresh();
	struct conf_error err;

	(void)state;
	memset(&err, 0x5a, sizeof(err));
	assert_int_equal(conf_read(c, "/nonexistent/shim.conf", &err), -ENOENT);
	assert_int_equal(err.line, 0);
	assert_non_null(strstr(err.text, "cannot be opened: No such file"));
	memset(&err, 0x5a, sizeof(err));
	assert_int_equal(conf_read(c, "/", &err), -EISDIR);
	assert_int_equal(err.line, 0);
	assert_non_null(strstr(err.text, "cannot be read"));
	conf_unref(c);
}

static void out_of_memory_is_reported_at_every_allocation(void **state)
{
	static const enum call calls[] = {CALL_MALLOC, CALL_REALLOC, CALL_STRDUP};
	struct conf_error err;

	(void)state;
	fail_calls(CALL_MALLOC, 0, 1, ENOMEM);
	assert_null(conf_new());
	for (size_t k = 1; k < sizeof(calls) / sizeof(calls[0]); k++) {
		for (unsigned good = 0; good < 5; good++) {
			struct conf *c = fresh();
			int ret;

			fail_calls(calls[k], good, 1, ENOMEM);
			ret = conf_set(c, "route a", "alpn", "x, y", &err);
			if (ret == 0) {
				assert_true(good > 1);
				fail_none();
			} else {
				assert_int_equal(ret, -ENOMEM);
				/* It can be used and freed. */
				assert_int_equal(conf_set(c, "route a", "sni", "b.example", &err), 0);
			}
			conf_unref(c);
		}
	}
}

static void out_of_memory_while_reading_a_file_is_reported(void **state)
{
	static const char text[] = "[route a]\nalpn = x\nfdpass = /a\n";
	struct conf *c = fresh();
	struct conf_error err;

	(void)state;
	fail_calls(CALL_STRDUP, 1, 1, ENOMEM);
	assert_int_equal(read_bytes(c, text, sizeof(text) - 1, &err), -ENOMEM);
	conf_unref(c);
}

static void the_last_owner_frees(void **state)
{
	struct conf *c = fresh();

	(void)state;
	assert_int_equal(set(c, "route a", "alpn", "x"), 0);
	assert_ptr_equal(conf_ref(c), c);
	conf_unref(c);
	assert_string_equal(c->routes[0].alpn.v[0], "x");
	conf_unref(c);
	conf_unref(NULL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(the_defaults_are_those_of_the_manual),
		TEST(each_default_is_a_good_value),
		TEST(a_whole_file_is_read),
		TEST(an_empty_file_leaves_the_defaults),
		TEST(each_key_takes_its_good_values_and_refuses_bad_ones),
		TEST(the_line_of_a_bad_value_is_named_for_each_key),
		TEST(a_name_instead_of_an_address_is_told_that_names_are_never_looked_up),
		TEST(unknown_keys_and_sections_are_named_with_their_line),
		TEST(a_key_before_the_first_section_is_refused),
		TEST(a_line_that_is_nothing_is_refused_by_its_number),
		TEST(the_first_of_several_mistakes_is_the_one_reported),
		TEST(a_line_that_is_too_long_is_refused),
		TEST(names_that_inih_would_cut_are_refused),
		TEST(an_indented_line_is_refused),
		TEST(a_nul_byte_is_refused_wherever_it_stands),
		TEST(a_route_has_one_target),
		TEST(a_socket_path_that_does_not_fit_is_refused),
		TEST(a_routes_name_is_fit_for_logs),
		TEST(sections_of_the_same_route_are_one),
		TEST(lists_and_tables_are_bounded),
		TEST(peers_are_trusted_by_prefix_and_nobody_is_by_default),
		TEST(an_idle_timeout_can_be_set_and_taken_back),
		TEST(the_tlvs_of_several_lines_add_up),
		TEST(a_bad_item_of_a_list_is_named),
		TEST(what_is_missing_is_said),
		TEST(a_file_that_is_missing_or_a_directory_is_an_error),
		TEST(out_of_memory_is_reported_at_every_allocation),
		TEST(out_of_memory_while_reading_a_file_is_reported),
		TEST(the_last_owner_frees),
	};

	return cmocka_run_group_tests_name("conf", tests, group_begin, NULL);
}
