#include "addr.h"

#include "support.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

static void endpoints_are_read_and_written_back_as_they_were(void **state)
{
	static const char *const texts[] = {
		"192.0.2.1:443", "0.0.0.0:1", "255.255.255.255:65535", "[::]:443", "[2001:db8::1]:65535", "[::1]:8443",
		"unix:/run/nginx.sock", "unix:/",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct addr_endpoint e;
		char buf[ADDR_ENDPOINT_TEXT_MAX];

		assert_int_equal(addr_parse_endpoint(texts[i], &e), 0);
		assert_string_equal(addr_endpoint_text(&e, buf), texts[i]);
	}
}

static void what_is_no_endpoint_is_refused_and_the_output_is_untouched(void **state)
{
	static const char *const texts[] = {
		"", ":", "192.0.2.1", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:65536", "192.0.2.1:65537", "192.0.2.1:99999999999",
		"192.0.2.1:-1", "192.0.2.1:+1", "192.0.2.1: 1", "192.0.2.1:1 ", "192.0.2.1:443x", "192.0.2.1:0443",
		"192.0.2:443", "192.0.2.256:443", "192.0.02.1:443", "0x7f.0.0.1:443", "localhost:443", "example.org:443",
		"*:443", ":443", "::1:443", "[::1]", "[::1]443", "[::1]:", "[::1]:0", "[::1:443", "[]:443",
		"[::1%lo]:443", "[192.0.2.1]:443", "[::1]]:443", "[2001:db8:0000:0000:0000:0000:0000:0000:0000:0001]:1",
		"unix:", "unix:relative", "unix:@abstract", "UNIX:/run/x", "/run/x",
	};
	struct addr_endpoint e, before;

	(void)state;
	memset(&e, 0x5a, sizeof(e));
	before = e;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (addr_parse_endpoint(texts[i], &e) != -EINVAL)
			fail_msg("'%s' was taken for an endpoint", texts[i]);
		assert_memory_equal(&e, &before, sizeof(e));
	}
}

static void a_unix_path_of_107_bytes_fits_and_one_of_108_does_not(void **state)
{
	char text[5 + 108 + 1] = "unix:/", buf[ADDR_ENDPOINT_TEXT_MAX];
	struct addr_endpoint e;

	(void)state;
	memset(text + 6, 'x', 107);
	assert_int_equal(addr_parse_endpoint(text, &e), -ENAMETOOLONG);
	text[5 + 107] = '\0';
	assert_int_equal(addr_parse_endpoint(text, &e), 0);
	assert_int_equal(e.len, sizeof(e.u.un));
	assert_string_equal(addr_endpoint_text(&e, buf), text);
}

static void endpoints_are_equal_when_family_address_and_port_are(void **state)
{
	static const char *const texts[] = {
		"192.0.2.1:443", "192.0.2.1:444", "192.0.2.2:443", "[::1]:443", "[::]:443", "[::1]:444", "unix:/a", "unix:/b",
		"unix:/aa",
	};
	const size_t n = sizeof(texts) / sizeof(texts[0]);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		for (size_t j = 0; j < n; j++) {
			struct addr_endpoint a, b;

			memset(&a, 1, sizeof(a));
			memset(&b, 2, sizeof(b));
			assert_int_equal(addr_parse_endpoint(texts[i], &a), 0);
			assert_int_equal(addr_parse_endpoint(texts[j], &b), 0);
			assert_int_equal(addr_endpoint_equal(&a, &b), i == j);
		}
	}
}

static void loopback_is_127_slash_8_and_colon_colon_1(void **state)
{
	static const struct {
		const char *text;
		bool loopback;
	} cases[] = {
		{"127.0.0.1:1", true}, {"127.255.255.254:1", true}, {"126.255.255.255:1", false}, {"128.0.0.1:1", false},
		{"0.0.0.0:1", false}, {"[::1]:1", true}, {"[::2]:1", false}, {"[::]:1", false}, {"unix:/x", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct addr_endpoint e;

		assert_int_equal(addr_parse_endpoint(cases[i].text, &e), 0);
		assert_int_equal(addr_endpoint_is_loopback(&e), cases[i].loopback);
	}
}

static struct addr from_text(const char *text)
{
	struct addr_endpoint e;

	assert_int_equal(addr_parse_endpoint(text, &e), 0);
	return addr_from_sockaddr(&e.u.sa);
}

static void an_ipv4_address_mapped_into_ipv6_becomes_ipv4(void **state)
{
	struct addr a = from_text("[::ffff:192.0.2.7]:99");
	static const uint8_t ip[16] = {192, 0, 2, 7};
	char buf[ADDR_TEXT_MAX];

	(void)state;
	assert_int_equal(a.family, AF_INET);
	assert_int_equal(a.port, 99);
	assert_memory_equal(a.ip, ip, sizeof(ip));
	assert_string_equal(addr_text(&a, buf), "192.0.2.7:99");
	assert_string_equal(addr_ip_text(&a, buf), "192.0.2.7");
}

static void addresses_are_written_with_brackets_only_where_a_port_follows(void **state)
{
	struct addr v4 = from_text("255.255.255.255:65535"), v6 = from_text("[2001:db8:1111:2222:3333:4444:5555:6666]:65535");
	char buf[ADDR_TEXT_MAX];

	(void)state;
	assert_string_equal(addr_text(&v4, buf), "255.255.255.255:65535");
	assert_string_equal(addr_ip_text(&v4, buf), "255.255.255.255");
	assert_string_equal(addr_text(&v6, buf), "[2001:db8:1111:2222:3333:4444:5555:6666]:65535");
	assert_string_equal(addr_ip_text(&v6, buf), "2001:db8:1111:2222:3333:4444:5555:6666");
}

static void other_families_are_unknown(void **state)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "/x"};
	struct addr a = addr_from_sockaddr((const struct sockaddr *)&un);
	char buf[ADDR_TEXT_MAX];

	(void)state;
	assert_int_equal(a.family, AF_UNSPEC);
	assert_string_equal(addr_text(&a, buf), "unknown");
	assert_string_equal(addr_ip_text(&a, buf), "unknown");
}

static void an_address_and_a_port_are_read(void **state)
{
	static const struct {
		const char *ip, *port, *text;
	} cases[] = {
		{"192.0.2.1", "443", "192.0.2.1:443"}, {"0.0.0.0", "0", "0.0.0.0:0"}, {"2001:db8::1", "65535", "[2001:db8::1]:65535"},
		{"::", "1", "[::]:1"}, {"::ffff:192.0.2.1", "7", "192.0.2.1:7"},
	};
	char buf[ADDR_TEXT_MAX];
	struct addr a;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(&a, 0x5a, sizeof(a));
		assert_int_equal(addr_parse(cases[i].ip, cases[i].port, &a), 0);
		assert_string_equal(addr_text(&a, buf), cases[i].text);
	}
	/* What an IPv4 address does not use is 0, so that two of them can be compared as bytes. */
	memset(&a, 0x5a, sizeof(a));
	assert_int_equal(addr_parse("192.0.2.1", "1", &a), 0);
	for (int i = 4; i < 16; i++)
		assert_int_equal(a.ip[i], 0);
}

static void what_is_no_address_and_port_is_refused_and_the_output_is_untouched(void **state)
{
	static const char *const bad[][2] = {
		{"", "1"}, {"192.0.2", "1"}, {"192.0.2.1 ", "1"}, {" 192.0.2.1", "1"}, {"[::1]", "1"}, {"::1%lo", "1"}, {"localhost", "1"},
		{"192.0.2.1", ""}, {"192.0.2.1", "00"}, {"192.0.2.1", "01"}, {"192.0.2.1", "65536"}, {"192.0.2.1", "-1"},
		{"192.0.2.1", "1 "}, {"192.0.2.1", "99999999999999999999"}, {"::1", "x"},
	};
	struct addr a, before;

	(void)state;
	memset(&a, 0x5a, sizeof(a));
	before = a;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (addr_parse(bad[i][0], bad[i][1], &a) != -EINVAL)
			fail_msg("'%s', '%s' was taken", bad[i][0], bad[i][1]);
		assert_memory_equal(&a, &before, sizeof(a));
	}
}

/* A prefix, and for each address whether it is in it. */
static const struct {
	const char *prefix, *in[4], *out[6];
} prefix_cases[] = {
	{"192.0.2.0/24", {"192.0.2.0", "192.0.2.255", "::ffff:192.0.2.7"}, {"192.0.3.0", "192.0.1.255", "::", "2001:db8::1"}},
	{"192.0.2.1", {"192.0.2.1"}, {"192.0.2.0", "192.0.2.2", "192.0.2.129"}},
	{"192.0.2.1/32", {"192.0.2.1"}, {"192.0.2.0", "192.0.2.2"}},
	{"0.0.0.0/0", {"0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4"}, {"::", "::1", "2001:db8::1"}},
	{"128.0.0.0/1", {"128.0.0.0", "255.255.255.255"}, {"127.255.255.255", "0.0.0.0"}},
	{"192.0.2.160/29", {"192.0.2.160", "192.0.2.167"}, {"192.0.2.159", "192.0.2.168"}},
	{"2001:db8::/32", {"2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"}, {"2001:db9::", "2001:db7:ffff::", "32.1.13.184"}},
	{"2001:db8::1", {"2001:db8::1"}, {"2001:db8::", "2001:db8::2", "2001:db8:8000::1"}},
	{"2001:db8::fe/127", {"2001:db8::fe", "2001:db8::ff"}, {"2001:db8::fd", "2001:db8::100"}},
	{"::/0", {"::", "ffff::"}, {"0.0.0.0", "192.0.2.1"}},
	{"::ffff:192.0.2.1", {"192.0.2.1"}, {"192.0.2.2", "::1"}},
};

static struct addr ip_from_text(const char *ip)
{
	struct addr a;

	assert_int_equal(addr_parse(ip, "443", &a), 0);
	return a;
}

static void a_prefix_holds_the_addresses_that_begin_like_it(void **state)
{
	const struct addr unknown = {.family = AF_UNSPEC};

	(void)state;
	for (size_t i = 0; i < sizeof(prefix_cases) / sizeof(prefix_cases[0]); i++) {
		struct addr_prefix p;

		memset(&p, 0x5a, sizeof(p));
		assert_int_equal(addr_parse_prefix(prefix_cases[i].prefix, &p), 0);
		assert_false(addr_in_prefix(&unknown, &p));
		for (int j = 0; j < 4 && prefix_cases[i].in[j] != NULL; j++) {
			struct addr a = ip_from_text(prefix_cases[i].in[j]);

			if (!addr_in_prefix(&a, &p))
				fail_msg("%s is not in %s", prefix_cases[i].in[j], prefix_cases[i].prefix);
		}
		for (int j = 0; j < 6 && prefix_cases[i].out[j] != NULL; j++) {
			struct addr a = ip_from_text(prefix_cases[i].out[j]);

			if (addr_in_prefix(&a, &p))
				fail_msg("%s is in %s", prefix_cases[i].out[j], prefix_cases[i].prefix);
		}
	}
}

static void each_bit_of_a_prefix_counts_and_none_behind_it(void **state)
{
	struct addr_prefix p = {.base = ip_from_text("a5a5:a5a5:a5a5:a5a5:a5a5:a5a5:a5a5:a5a5")};

	(void)state;
	for (p.bits = 0; p.bits <= 128; p.bits++)
		for (unsigned i = 0; i < 128; i++) {
			struct addr a = p.base;

			a.ip[i / 8] ^= (uint8_t)(0x80 >> i % 8);
			assert_int_equal(addr_in_prefix(&a, &p), i >= p.bits);
		}
}

static void what_is_no_prefix_is_refused_and_the_output_is_untouched(void **state)
{
	static const char *const texts[] = {
		"", "/", "/24", "192.0.2.0/", "192.0.2.0/33", "192.0.2.0/-1", "192.0.2.0/024", "192.0.2.0/24/24", "192.0.2.0/24x",
		"192.0.2.0 /24", "192.0.2.0/ 24", "192.0.2.1/24", "192.0.2.1/31", "128.0.0.0/0", "192.0.2/24", "192.0.2.0:443", "2001:db8::/129",
		"2001:db8::1/32", "2001:db8::1/127", "[2001:db8::]/32", "fe80::%lo/10", "::ffff:192.0.2.0/120", "localhost", "*",
		"0000:0000:0000:0000:0000:0000:0000:0000:0000:0000/1", "192.0.2.0/255.255.255.0",
	};
	struct addr_prefix p, before;

	(void)state;
	memset(&p, 0x5a, sizeof(p));
	before = p;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (addr_parse_prefix(texts[i], &p) != -EINVAL)
			fail_msg("'%s' was taken for a prefix", texts[i]);
		assert_memory_equal(&p, &before, sizeof(p));
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(endpoints_are_read_and_written_back_as_they_were),
		TEST(what_is_no_endpoint_is_refused_and_the_output_is_untouched),
		TEST(a_unix_path_of_107_bytes_fits_and_one_of_108_does_not),
		TEST(endpoints_are_equal_when_family_address_and_port_are),
		TEST(loopback_is_127_slash_8_and_colon_colon_1),
		TEST(an_ipv4_address_mapped_into_ipv6_becomes_ipv4),
		TEST(addresses_are_written_with_brackets_only_where_a_port_follows),
		TEST(other_families_are_unknown),
		TEST(an_address_and_a_port_are_read),
		TEST(what_is_no_address_and_port_is_refused_and_the_output_is_untouched),
		TEST(a_prefix_holds_the_addresses_that_begin_like_it),
		TEST(each_bit_of_a_prefix_counts_and_none_behind_it),
		TEST(what_is_no_prefix_is_refused_and_the_output_is_untouched),
	};

	return cmocka_run_group_tests_name("addr", tests, group_begin, NULL);
}
