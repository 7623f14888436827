#include "pp2.h"

#include "support.h"

#include <stdio.h>
#include <string.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static const struct addr v4_a = {.family = AF_INET, .ip = {192, 0, 2, 1}, .port = 0x1234};
static const struct addr v4_b = {.family = AF_INET, .ip = {198, 51, 100, 2}, .port = 443};
static const struct addr v6_a = {
	.family = AF_INET6,
	.ip = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1},
	.port = 65535,
};
static const struct addr v6_b = {
	.family = AF_INET6,
	.ip = {0x20, 1, 0xd, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12},
	.port = 443,
};
static const struct addr unknown = {.family = AF_UNSPEC};

#define EXPECT(want, version, src, dst, tlvs) expect((const uint8_t *)(want), sizeof(want) - 1, version, src, dst, tlvs)

static void expect(const uint8_t *want, size_t want_len, enum pp2_version version, const struct addr *src,
		   const struct addr *dst, const struct pp2_tlvs *tlvs)
{
	uint8_t buf[PP2_V2_MAX + 1];
	size_t len;

	memset(buf, 0x5a, sizeof(buf));
	len = pp2_write(version, src, dst, tlvs, buf);
	assert_int_equal(len, want_len);
	assert_memory_equal(buf, want, want_len);
	for (size_t i = len; i < sizeof(buf); i++)
		assert_int_equal(buf[i], 0x5a);
}

static void version_none_writes_nothing(void **state)
{
	(void)state;
	EXPECT("", PP2_NONE, &v4_a, &v4_b, NULL);
}

static void version_1_writes_one_line_of_text(void **state)
{
	(void)state;
	EXPECT("PROXY TCP4 192.0.2.1 198.51.100.2 4660 443\r\n", PP2_V1, &v4_a, &v4_b, NULL);
	EXPECT("PROXY TCP6 2001:db8::1 2001:db8:102:304:506:708:90a:b0c 65535 443\r\n", PP2_V1, &v6_a, &v6_b, NULL);
}

static void version_1_has_room_for_the_longest_addresses(void **state)
{
	struct addr longest = {.family = AF_INET6, .port = 65535};

	(void)state;
	memset(longest.ip, 0xff, sizeof(longest.ip));
	EXPECT("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
	       PP2_V1, &longest, &longest, NULL);
}

static void version_1_says_unknown_where_families_are_not_known_or_differ(void **state)
{
	(void)state;
	EXPECT("PROXY UNKNOWN\r\n", PP2_V1, &unknown, &unknown, NULL);
	EXPECT("PROXY UNKNOWN\r\n", PP2_V1, &unknown, &v4_b, NULL);
	EXPECT("PROXY UNKNOWN\r\n", PP2_V1, &v4_a, &unknown, NULL);
	EXPECT("PROXY UNKNOWN\r\n", PP2_V1, &v4_a, &v6_b, NULL);
}

static void version_2_writes_ipv4_in_12_bytes(void **state)
{
	(void)state;
	EXPECT(SIGNATURE "\x21\x11\x00\x0c" "\xc0\x00\x02\x01" "\xc6\x33\x64\x02" "\x12\x34" "\x01\xbb",
	       PP2_V2, &v4_a, &v4_b, NULL);
}

static void version_2_writes_ipv6_in_36_bytes(void **state)
{
	(void)state;
	EXPECT(SIGNATURE "\x21\x21\x00\x24"
	       "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
	       "\x20\x01\x0d\xb8\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c" "\xff\xff" "\x01\xbb",
	       PP2_V2, &v6_a, &v6_b, NULL);
}

static void version_2_says_unspec_where_families_are_not_known_or_differ(void **state)
{
	(void)state;
	EXPECT(SIGNATURE "\x21\x00\x00\x00", PP2_V2, &unknown, &unknown, NULL);
	EXPECT(SIGNATURE "\x21\x00\x00\x00", PP2_V2, &unknown, &v6_b, NULL);
	EXPECT(SIGNATURE "\x21\x00\x00\x00", PP2_V2, &v6_a, &unknown, NULL);
	EXPECT(SIGNATURE "\x21\x00\x00\x00", PP2_V2, &v6_a, &v4_b, NULL);
}

static void tlvs_follow_the_addresses_and_count_in_the_length(void **state)
{
	static const struct pp2_tlvs all = {
		.alpn = (const uint8_t *)"xmpp-client",
		.alpn_len = 11,
		.authority = (const uint8_t *)"a.example",
		.authority_len = 9,
		.id = (const uint8_t *)"\1\2\3\4\5\6\7\x08",
	};
	static const struct pp2_tlvs only_id = {.id = (const uint8_t *)"\1\2\3\4\5\6\7\x08"};
	static const struct pp2_tlvs none = {0};

	(void)state;
	EXPECT(SIGNATURE "\x21\x11\x00\x31" "\xc0\x00\x02\x01" "\xc6\x33\x64\x02" "\x12\x34" "\x01\xbb"
	       "\x01\x00\x0bxmpp-client" "\x02\x00\x09" "a.example" "\x05\x00\x08\1\2\3\4\5\6\7\x08",
	       PP2_V2, &v4_a, &v4_b, &all);
	EXPECT(SIGNATURE "\x21\x11\x00\x17" "\xc0\x00\x02\x01" "\xc6\x33\x64\x02" "\x12\x34" "\x01\xbb"
	       "\x05\x00\x08\1\2\3\4\5\6\7\x08",
	       PP2_V2, &v4_a, &v4_b, &only_id);
	EXPECT(SIGNATURE "\x21\x11\x00\x0c" "\xc0\x00\x02\x01" "\xc6\x33\x64\x02" "\x12\x34" "\x01\xbb",
	       PP2_V2, &v4_a, &v4_b, &none);
	EXPECT(SIGNATURE "\x21\x00\x00\x0b" "\x05\x00\x08\1\2\3\4\5\6\7\x08", PP2_V2, &unknown, &unknown, &only_id);
}

static void version_1_leaves_tlvs_out(void **state)
{
	static const struct pp2_tlvs only_id = {.id = (const uint8_t *)"\1\2\3\4\5\6\7\x08"};

	(void)state;
	EXPECT("PROXY TCP4 192.0.2.1 198.51.100.2 4660 443\r\n", PP2_V1, &v4_a, &v4_b, &only_id);
}

static void the_longest_header_fits_exactly(void **state)
{
	uint8_t name[255], buf[PP2_V2_MAX];
	struct pp2_tlvs tlvs = {
		.alpn = name,
		.alpn_len = sizeof(name),
		.authority = name,
		.authority_len = sizeof(name),
		.id = name,
	};

	(void)state;
	memset(name, 'n', sizeof(name));
	assert_int_equal(pp2_write(PP2_V2, &v6_a, &v6_b, &tlvs, buf), PP2_V2_MAX);
	assert_int_equal(buf[14] << 8 | buf[15], PP2_V2_MAX - 16);
}

/* For tests/unit/pp2_decode.py: each header in hex, one a line. */
static int print_headers(void)
{
	static const struct pp2_tlvs tlvs = {
		.alpn = (const uint8_t *)"xmpp-client",
		.alpn_len = 11,
		.authority = (const uint8_t *)"a.example",
		.authority_len = 9,
		.id = (const uint8_t *)"\1\2\3\4\5\6\7\x08",
	};
	const struct addr *const pairs[][2] = {{&v4_a, &v4_b}, {&v6_a, &v6_b}, {&unknown, &unknown}, {&v4_a, &v6_b}};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		for (int version = PP2_V1; version <= PP2_V2; version++)
			for (int with = 0; with < 2; with++) {
				uint8_t buf[PP2_V2_MAX];
				size_t len = pp2_write((enum pp2_version)version, pairs[i][0], pairs[i][1],
						       with ? &tlvs : NULL, buf);

				for (size_t j = 0; j < len; j++)
					printf("%02x", buf[j]);
				putchar('\n');
			}
	return 0;
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		TEST(version_none_writes_nothing),
		TEST(version_1_writes_one_line_of_text),
		TEST(version_1_has_room_for_the_longest_addresses),
		TEST(version_1_says_unknown_where_families_are_not_known_or_differ),
		TEST(version_2_writes_ipv4_in_12_bytes),
		TEST(version_2_writes_ipv6_in_36_bytes),
		TEST(version_2_says_unspec_where_families_are_not_known_or_differ),
		TEST(tlvs_follow_the_addresses_and_count_in_the_length),
		TEST(version_1_leaves_tlvs_out),
		TEST(the_longest_header_fits_exactly),
	};

	if (argc == 2 && strcmp(argv[1], "--print") == 0)
		return print_headers();
	return cmocka_run_group_tests_name("pp2", tests, group_begin, NULL);
}
