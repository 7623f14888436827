#include "route.h"

#include "support.h"

#include <string.h>

/* Lists are written as texts parted by blanks. */
struct names {
	char text[400];
	char *v[8];
};

static struct route_names split(struct names *n, const char *text)
{
	struct route_names ret = {.v = n->v};
	char *rest = n->text, *item;

	strcpy(n->text, text);
	while ((item = strsep(&rest, " ")) != NULL)
		if (*item != '\0')
			n->v[ret.n++] = item;
	return ret;
}

static struct hello_info info_of(const char *sni, const char *alpn)
{
	struct hello_info info = {.sni_len = strlen(sni)};
	struct names n;
	struct route_names list = split(&n, alpn);

	memcpy(info.sni, sni, info.sni_len);
	for (size_t i = 0; i < list.n; i++) {
		size_t len = strlen(list.v[i]);

		info.alpn[info.alpn_len++] = (uint8_t)len;
		memcpy(info.alpn + info.alpn_len, list.v[i], len);
		info.alpn_len += len;
	}
	return info;
}

static bool matches(const char *rule_sni, const char *rule_alpn, const char *sni, const char *alpn)
{
	struct names n_sni, n_alpn;
	struct route r = {.sni = split(&n_sni, rule_sni)};
	struct hello_info info = info_of(sni, alpn);
	const char *matched;

	if (strcmp(rule_alpn, "none") == 0)
		r.alpn_none = true;
	else
		r.alpn = split(&n_alpn, rule_alpn);
	return route_find(&r, 1, &info, &matched) == &r;
}

static void a_rule_matches_any_one_of_its_protocols(void **state)
{
	(void)state;
	assert_true(matches("", "xmpp-client", "", "xmpp-client"));
	assert_true(matches("", "xmpp-client", "", "h2 http/1.1 xmpp-client"));
	assert_true(matches("", "a b", "", "b"));
	assert_false(matches("", "xmpp-client", "", "h2 http/1.1"));
	assert_false(matches("", "xmpp-client", "", ""));
}

static void protocols_are_compared_byte_by_byte(void **state)
{
	(void)state;
	assert_false(matches("", "xmpp-client", "", "XMPP-client"));
	assert_false(matches("", "xmpp-client", "", "xmpp-clien"));
	assert_false(matches("", "xmpp-client", "", "xmpp-client2"));
}

static void a_protocol_with_a_nul_byte_is_not_the_one_before_it(void **state)
{
	struct names n;
	struct route r = {.alpn = split(&n, "ab")};
	struct hello_info info = {.alpn_len = 4, .alpn = {3, 'a', 'b', 0}};
	const char *matched;

	(void)state;
	assert_null(route_find(&r, 1, &info, &matched));
}

static void alpn_none_matches_only_without_the_extension(void **state)
{
	(void)state;
	assert_true(matches("", "none", "", ""));
	assert_false(matches("", "none", "", "h2"));
}

static void none_and_names_match_both(void **state)
{
	struct names n;
	struct route r = {.alpn_none = true, .alpn = split(&n, "xmpp-client")};
	struct hello_info without = info_of("", ""), with = info_of("", "xmpp-client"), other = info_of("", "h2");
	const char *matched = "untouched";

	(void)state;
	assert_ptr_equal(route_find(&r, 1, &without, &matched), &r);
	assert_null(matched);
	assert_ptr_equal(route_find(&r, 1, &with, &matched), &r);
	assert_string_equal(matched, "xmpp-client");
	assert_null(route_find(&r, 1, &other, &matched));
	assert_null(matched);
}

static void the_protocol_that_matched_is_the_rules_first_not_the_clients(void **state)
{
	struct names n;
	struct route r = {.alpn = split(&n, "second first")};
	struct hello_info info = info_of("", "first second");
	const char *matched;

	(void)state;
	assert_ptr_equal(route_find(&r, 1, &info, &matched), &r);
	assert_string_equal(matched, "second");
}

static void names_match_without_regard_to_case_and_a_trailing_dot(void **state)
{
	(void)state;
	assert_true(matches("chat.example.org", "", "chat.example.org", "h2"));
	assert_true(matches("chat.example.org", "", "CHAT.Example.ORG", ""));
	assert_true(matches("chat.example.org", "", "chat.example.org.", ""));
	assert_true(matches("other.example chat.example.org", "", "chat.example.org", ""));
	assert_false(matches("chat.example.org", "", "chat.example.orga", ""));
	assert_false(matches("chat.example.org", "", "hat.example.org", ""));
	assert_false(matches("chat.example.org", "", "x.chat.example.org", ""));
	assert_false(matches("chat.example.org", "", "", ""));
}

static void a_wildcard_takes_one_label_or_more_but_not_none(void **state)
{
	(void)state;
	assert_true(matches("*.example.org", "", "a.example.org", ""));
	assert_true(matches("*.example.org", "", "a.b.example.org", ""));
	assert_true(matches("*.example.org", "", "A.EXAMPLE.ORG.", ""));
	assert_false(matches("*.example.org", "", "example.org", ""));
	assert_false(matches("*.example.org", "", ".example.org", ""));
	assert_false(matches("*.example.org", "", "aexample.org", ""));
	assert_false(matches("*.example.org", "", "a.example.com", ""));
}

static void a_name_that_is_no_host_name_matches_no_rule_with_names(void **state)
{
	static const uint8_t bad[][8] = {"a b.c", "a..b", ".", "a/b.c", "\xc3\xa9.de", "a\0.c"};
	struct names n;
	struct route r = {.sni = split(&n, "*.c")};
	const char *matched;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct hello_info info = {.sni_len = 5};

		memcpy(info.sni, bad[i], 5);
		if (bad[i][1] == 0 && i != 5)
			info.sni_len = strlen((const char *)bad[i]);
		assert_null(route_find(&r, 1, &info, &matched));
	}
}

static void a_rule_with_names_and_protocols_wants_both(void **state)
{
	(void)state;
	assert_true(matches("a.example", "x", "a.example", "x"));
	assert_false(matches("a.example", "x", "a.example", "y"));
	assert_false(matches("a.example", "x", "b.example", "x"));
	assert_true(matches("a.example", "none", "a.example", ""));
}

static void the_first_rule_that_matches_wins(void **state)
{
	struct names n[3];
	struct route r[3] = {
		{.alpn = split(&n[0], "x")},
		{.sni = split(&n[1], "a.example")},
		{.alpn = split(&n[2], "x y")},
	};
	struct hello_info both = info_of("a.example", "x"), name = info_of("a.example", "y"), last = info_of("b.example", "y"),
			  nothing = info_of("b.example", "z");
	const char *matched = "untouched";

	(void)state;
	assert_ptr_equal(route_find(r, 3, &both, &matched), &r[0]);
	assert_string_equal(matched, "x");
	assert_ptr_equal(route_find(r, 3, &name, &matched), &r[1]);
	assert_null(matched);
	assert_ptr_equal(route_find(r, 3, &last, &matched), &r[2]);
	assert_string_equal(matched, "y");
	assert_null(route_find(r, 3, &nothing, &matched));
	assert_null(matched);
	assert_null(route_find(NULL, 0, &both, &matched));
}

static bool hostname(const char *name)
{
	struct guarded g = guarded_copy((const uint8_t *)name, strlen(name));
	bool ret = route_is_hostname(g.p, g.len);

	guarded_free(&g);
	return ret;
}

static void host_names_are_letters_digits_and_hyphens_in_labels(void **state)
{
	char name[260];

	(void)state;
	assert_true(hostname("a"));
	assert_true(hostname("a."));
	assert_true(hostname("xn--bcher-kva.example"));
	assert_true(hostname("xmpp.tcp.9-Z"));
	assert_false(hostname("_xmpp.example.org"));
	assert_false(hostname(""));
	assert_false(hostname("."));
	assert_false(hostname("a.."));
	assert_false(hostname(".a"));
	assert_false(hostname("a..b"));
	assert_false(hostname("a b"));
	assert_false(hostname("*.a"));
	assert_false(hostname("a\n"));
	assert_false(hostname("[::1]"));

	memset(name, 'a', sizeof(name));
	name[63] = '\0';
	assert_true(hostname(name));
	name[63] = 'a';
	name[64] = '\0';
	assert_false(hostname(name));

	for (size_t i = 0; i < sizeof(name); i++)
		name[i] = i % 2 ? '.' : 'a';
	name[253] = '\0';
	assert_true(hostname(name));
	memcpy(name + 253, ".", 2);
	assert_true(hostname(name));
	memcpy(name + 252, "aaa", 4);
	assert_false(hostname(name));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_rule_matches_any_one_of_its_protocols),
		TEST(protocols_are_compared_byte_by_byte),
		TEST(a_protocol_with_a_nul_byte_is_not_the_one_before_it),
		TEST(alpn_none_matches_only_without_the_extension),
		TEST(none_and_names_match_both),
		TEST(the_protocol_that_matched_is_the_rules_first_not_the_clients),
		TEST(names_match_without_regard_to_case_and_a_trailing_dot),
		TEST(a_wildcard_takes_one_label_or_more_but_not_none),
		TEST(a_name_that_is_no_host_name_matches_no_rule_with_names),
		TEST(a_rule_with_names_and_protocols_wants_both),
		TEST(the_first_rule_that_matches_wins),
		TEST(host_names_are_letters_digits_and_hyphens_in_labels),
	};

	return cmocka_run_group_tests_name("route", tests, group_begin, NULL);
}
