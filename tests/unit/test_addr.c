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
	};

	return cmocka_run_group_tests_name("addr", tests, group_begin, NULL);
}
