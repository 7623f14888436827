#include "pp2.h"

#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V4        "\xc0\x00\x02\x01" "\xc6\x33\x64\x02" "\x12\x34" "\x01\xbb"
#define V4_TEXT   "192.0.2.1:4660", "198.51.100.2:443"
#define V6                                                     \
	"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"               \
	"\x20\x01\x0d\xb8\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c" "\xff\xff" "\x01\xbb"
#define V6_TEXT   "[2001:db8::1]:65535", "[2001:db8:102:304:506:708:90a:b0c]:443"
#define NOBODY    "unknown", "unknown"
#define UNIX_LEN  216 /* two paths of 108 bytes */

#define READS(bytes, ...)  reads((const uint8_t *)(bytes), sizeof(bytes) - 1, __VA_ARGS__)
#define MALFORMED(bytes)   malformed((const uint8_t *)(bytes), sizeof(bytes) - 1)
#define NEED_MORE(bytes)   assert_int_equal(status_of((const uint8_t *)(bytes), sizeof(bytes) - 1), PP2_NEED_MORE)

/* What pp2_read() says of bytes that end where memory ends. */
static enum pp2_status status_of(const uint8_t *bytes, size_t len)
{
	struct guarded g = guarded_copy(bytes, len);
	struct addr src, dst;
	size_t header_len;
	enum pp2_status status = pp2_read(g.p, len, &header_len, &src, &dst);

	guarded_free(&g);
	return status;
}

static void read_as(const uint8_t *bytes, size_t len, size_t header_len, const char *src, const char *dst)
{
	struct guarded g = guarded_copy(bytes, len);
	char text[ADDR_TEXT_MAX];
	struct addr a, b;
	size_t n = 0;

	memset(&a, 0x5a, sizeof(a));
	memset(&b, 0x5a, sizeof(b));
	assert_int_equal(pp2_read(g.p, len, &n, &a, &b), PP2_OK);
	assert_int_equal(n, header_len);
	assert_string_equal(addr_text(&a, text), src);
	assert_string_equal(addr_text(&b, text), dst);
	guarded_free(&g);
}

/* A whole header: each of its beginnings needs more, and what follows it is not looked at. */
static void reads(const uint8_t *bytes, size_t len, const char *src, const char *dst)
{
	uint8_t *more = malloc(len + 300);

	assert_non_null(more);
	for (size_t n = 0; n < len; n++)
		if (status_of(bytes, n) != PP2_NEED_MORE)
			fail_msg("the first %zu of %zu bytes", n, len);
	read_as(bytes, len, len, src, dst);
	for (int with = 0; with < 256; with += 5) {
		memcpy(more, bytes, len);
		memset(more + len, with, 300);
		read_as(more, len + 300, len, src, dst);
	}
	free(more);
}

/* It is so for whatever may follow, too. */
static void malformed(const uint8_t *bytes, size_t len)
{
	uint8_t *more = calloc(1, len + PP2_READ_MAX);

	assert_non_null(more);
	memcpy(more, bytes, len);
	if (status_of(bytes, len) != PP2_MALFORMED)
		fail_msg("'%s' was not refused", (const char *)bytes);
	assert_int_equal(status_of(more, len + PP2_READ_MAX), PP2_MALFORMED);
	free(more);
}

static void version_1_tells_ipv4_addresses(void **state)
{
	(void)state;
	READS("PROXY TCP4 192.0.2.1 198.51.100.2 4660 443\r\n", V4_TEXT);
	READS("PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", "0.0.0.0:0", "255.255.255.255:65535");
}

static void version_1_tells_ipv6_addresses(void **state)
{
	(void)state;
	READS("PROXY TCP6 2001:db8::1 2001:DB8:102:304:506:708:90a:b0c 65535 443\r\n", V6_TEXT);
	READS("PROXY TCP6 :: ::1 1 2\r\n", "[::]:1", "[::1]:2");
}

static void version_1_unknown_tells_nobody_whatever_follows(void **state)
{
	(void)state;
	READS("PROXY UNKNOWN\r\n", NOBODY);
	READS("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", NOBODY);
	READS("PROXY UNKNOWN \r\n", NOBODY);
	READS("PROXY UNKNOWN not an address at all\r\n", NOBODY);
}

static void the_longest_version_1_line_is_read_and_one_byte_more_is_refused(void **state)
{
	char line[PP2_V1_MAX + 2];

	(void)state;
	memset(line, 'x', sizeof(line));
	memcpy(line, "PROXY UNKNOWN ", 14);
	memcpy(line + PP2_V1_MAX - 2, "\r\n", 2);
	reads((const uint8_t *)line, PP2_V1_MAX, NOBODY);
	memset(line, 'x', sizeof(line));
	memcpy(line, "PROXY UNKNOWN ", 14);
	memcpy(line + PP2_V1_MAX - 1, "\r\n", 2);
	assert_int_equal(status_of((const uint8_t *)line, PP2_V1_MAX - 1), PP2_NEED_MORE);
	assert_int_equal(status_of((const uint8_t *)line, PP2_V1_MAX), PP2_MALFORMED);
	malformed((const uint8_t *)line, PP2_V1_MAX + 1);
	READS("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
	      "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
}

static void a_version_1_line_ends_with_cr_and_lf(void **state)
{
	(void)state;
	MALFORMED("PROXY TCP4 192.0.2.1 198.51.100.2 4660 443\n");
	MALFORMED("PROXY UNKNOWN\n");
	MALFORMED("PROXY \n");
	MALFORMED("PROXY UNKNOWN\n\r\n");
	MALFORMED("PROXY TCP4 192.0.2.1 198.51.100.2 4660 443\r\r\n");
	NEED_MORE("PROXY TCP4 192.0.2.1 198.51.100.2 4660 443\r");
}

static void a_version_1_line_has_exactly_its_words(void **state)
{
	static const char *const lines[] = {
		"PROXY \r\n",
		"PROXY  \r\n",
		"PROXY TCP4\r\n",
		"PROXY TCP4 192.0.2.1\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.2\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.2 1 \r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.2 1 2 \r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n",
		"PROXY TCP4  192.0.2.1 198.51.100.2 1 2\r\n",
		"PROXY  TCP4 192.0.2.1 198.51.100.2 1 2\r\n",
		"PROXY TCP4 192.0.2.1\t198.51.100.2 1 2\r\n",
		"PROXY UNKNOWNS\r\n",
		"PROXY UNKNOW\r\n",
		"PROXY unknown\r\n",
		"PROXY tcp4 192.0.2.1 198.51.100.2 1 2\r\n",
		"PROXY TCP 192.0.2.1 198.51.100.2 1 2\r\n",
		"PROXY TCP5 192.0.2.1 198.51.100.2 1 2\r\n",
		"PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		malformed((const uint8_t *)lines[i], strlen(lines[i]));
}

static void version_1_addresses_are_of_the_family_that_it_names(void **state)
{
	(void)state;
	MALFORMED("PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n");
	MALFORMED("PROXY TCP4 192.0.2.1 2001:db8::2 1 2\r\n");
	MALFORMED("PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n");
	MALFORMED("PROXY TCP6 2001:db8::1 198.51.100.2 1 2\r\n");
	MALFORMED("PROXY TCP4 ::ffff:192.0.2.1 ::ffff:198.51.100.2 1 2\r\n");
	MALFORMED("PROXY TCP4 192.0.2 198.51.100.2 1 2\r\n");
	MALFORMED("PROXY TCP4 192.0.2.256 198.51.100.2 1 2\r\n");
	MALFORMED("PROXY TCP4 192.0.02.1 198.51.100.2 1 2\r\n");
	MALFORMED("PROXY TCP6 [2001:db8::1] [2001:db8::2] 1 2\r\n");
	MALFORMED("PROXY TCP6 fe80::1%lo fe80::2 1 2\r\n");
	MALFORMED("PROXY TCP4 example.org 198.51.100.2 1 2\r\n");
}

static void version_1_ports_are_plain_numbers_without_leading_zeros(void **state)
{
	(void)state;
	MALFORMED("PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n");
	MALFORMED("PROXY TCP4 192.0.2.1 198.51.100.2 1 00\r\n");
	MALFORMED("PROXY TCP4 192.0.2.1 198.51.100.2 65536 2\r\n");
	MALFORMED("PROXY TCP4 192.0.2.1 198.51.100.2 1 65537\r\n");
	MALFORMED("PROXY TCP4 192.0.2.1 198.51.100.2 1 4294967297\r\n");
	MALFORMED("PROXY TCP4 192.0.2.1 198.51.100.2 -1 2\r\n");
	MALFORMED("PROXY TCP4 192.0.2.1 198.51.100.2 +1 2\r\n");
	MALFORMED("PROXY TCP4 192.0.2.1 198.51.100.2 1 0x2\r\n");
	MALFORMED("PROXY TCP4 192.0.2.1 198.51.100.2 1 2x\r\n");
	MALFORMED("PROXY TCP4 192.0.2.1 198.51.100.2  2\r\n");
}

static void version_1_has_no_nul_bytes(void **state)
{
	(void)state;
	MALFORMED("PROXY TCP4 192.0.2.1 198.51.100.2 1 2\0\r\n");
	MALFORMED("PROXY TCP4 192.0.2.1\0 198.51.100.2 1 2\r\n");
	MALFORMED("PROXY UNKNOWN\0\r\n");
	MALFORMED("PROXY UNKNOWN \0\r\n");
}

static void version_2_tells_ipv4_addresses(void **state)
{
	(void)state;
	READS(SIGNATURE "\x21\x11\x00\x0c" V4, V4_TEXT);
}

static void version_2_tells_ipv6_addresses(void **state)
{
	(void)state;
	READS(SIGNATURE "\x21\x21\x00\x24" V6, V6_TEXT);
}

static void what_follows_the_addresses_of_version_2_is_part_of_it(void **state)
{
	(void)state;
	READS(SIGNATURE "\x21\x11\x00\x31" V4 "\x01\x00\x0bxmpp-client" "\x02\x00\x09" "a.example" "\x05\x00\x08" "12345678", V4_TEXT);
	READS(SIGNATURE "\x21\x21\x00\x25" V6 "x", V6_TEXT); /* not even a TLV; nobody reads it */
}

static void version_2_local_tells_nobody_whatever_its_family(void **state)
{
	(void)state;
	READS(SIGNATURE "\x20\x00\x00\x00", NOBODY);
	READS(SIGNATURE "\x20\x11\x00\x0c" V4, NOBODY);
	READS(SIGNATURE "\x20\x21\x00\x01x", NOBODY);
	READS(SIGNATURE "\x20\xff\x00\x02xy", NOBODY);
}

static void version_2_unspec_tells_nobody(void **state)
{
	(void)state;
	READS(SIGNATURE "\x21\x00\x00\x00", NOBODY);
	READS(SIGNATURE "\x21\x00\x00\x05" "abcde", NOBODY);
}

static void version_2_of_unix_sockets_tells_nobody(void **state)
{
	uint8_t header[16 + UNIX_LEN] = SIGNATURE "\x21\x31\x00\xd8";

	(void)state;
	strcpy((char *)header + 16, "/run/a");
	strcpy((char *)header + 16 + 108, "/run/b");
	reads(header, sizeof(header), NOBODY);
}

static void other_versions_commands_and_families_are_refused(void **state)
{
	uint8_t header[16 + 36] = SIGNATURE;

	(void)state;
	header[15] = 36;
	for (int command = 0; command < 256; command++) {
		for (int family = 0; family < 256; family++) {
			bool good = command == 0x20 || (command == 0x21 && (family == 0 || family == 0x11 || family == 0x21 || family == 0x31));
			struct addr src, dst;
			size_t len;

			header[12] = (uint8_t)command;
			header[13] = (uint8_t)family;
			if (pp2_read(header, sizeof(header), &len, &src, &dst) != (good ? PP2_OK : PP2_MALFORMED))
				fail_msg("command %02x, family %02x", (unsigned)command, (unsigned)family);
		}
	}
}

static void an_address_block_that_is_too_short_is_refused(void **state)
{
	uint8_t header[16 + 36] = SIGNATURE "\x21";

	(void)state;
	for (size_t body = 0; body <= 36; body++) {
		header[15] = (uint8_t)body;
		header[13] = 0x11;
		assert_int_equal(status_of(header, 16 + body), body < 12 ? PP2_MALFORMED : PP2_OK);
		header[13] = 0x21;
		assert_int_equal(status_of(header, 16 + body), body < 36 ? PP2_MALFORMED : PP2_OK);
		/* That is known before the body is there. */
		assert_int_equal(status_of(header, 16), body < 36 ? PP2_MALFORMED : PP2_NEED_MORE);
	}
}

static void the_longest_version_2_header_is_read_and_a_longer_one_is_refused(void **state)
{
	static const char start[] = SIGNATURE "\x21\x11\0\0" V4;
	uint8_t *header = calloc(1, PP2_READ_MAX + 1);

	(void)state;
	assert_non_null(header);
	memcpy(header, start, sizeof(start) - 1);
	header[14] = (PP2_READ_MAX - 16) >> 8;
	header[15] = (PP2_READ_MAX - 16) & 0xff;
	reads(header, PP2_READ_MAX, V4_TEXT);
	header[15]++;
	malformed(header, 16);
	malformed(header, PP2_READ_MAX + 1);
	header[14] = header[15] = 0xff;
	malformed(header, 16);
	free(header);
}

static void what_begins_otherwise_is_refused_at_its_first_wrong_byte(void **state)
{
	static const char v1[] = "PROXY ", v2[] = SIGNATURE;
	uint8_t buf[sizeof(v2)];

	(void)state;
	MALFORMED("GET / HTTP/1.1\r\n");
	MALFORMED("\x16\x03\x01");
	MALFORMED(" ");
	MALFORMED("\0");
	for (size_t i = 0; i < sizeof(v1) - 1; i++) {
		memcpy(buf, v1, sizeof(v1));
		buf[i] ^= 0x20;
		assert_int_equal(status_of(buf, i), PP2_NEED_MORE);
		malformed(buf, i + 1);
	}
	for (size_t i = 0; i < sizeof(v2) - 1; i++) {
		memcpy(buf, v2, sizeof(v2));
		buf[i] ^= 0x20;
		assert_int_equal(status_of(buf, i), PP2_NEED_MORE);
		malformed(buf, i + 1);
	}
}

static void addresses_mapped_into_ipv6_become_ipv4(void **state)
{
	(void)state;
	READS("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.2 4660 443\r\n", V4_TEXT);
	READS(SIGNATURE "\x21\x21\x00\x24"
	      "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\x00\x02\x01" "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc6\x33\x64\x02" "\x12\x34" "\x01\xbb", V4_TEXT);
	READS("PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 4660 443\r\n", "192.0.2.1:4660", "[2001:db8::1]:443");
}

static struct addr random_addr(uint8_t family, unsigned *seed)
{
	struct addr a = {.family = family, .port = (uint16_t)rand_r(seed)};

	for (int i = 0; i < (family == AF_INET ? 4 : 16); i++)
		a.ip[i] = (uint8_t)(rand_r(seed) >> 8);
	return a;
}

static void assert_same(const struct addr *a, const struct addr *b)
{
	assert_int_equal(a->family, b->family);
	assert_int_equal(a->port, b->port);
	assert_memory_equal(a->ip, b->ip, sizeof(a->ip));
}

static void what_pp2_write_writes_is_read_back(void **state)
{
	static const struct pp2_tlvs tlvs = {.alpn = (const uint8_t *)"h2", .alpn_len = 2, .id = (const uint8_t *)"12345678"};
	unsigned seed = 7;

	(void)state;
	for (int i = 0; i < 4000; i++) {
		uint8_t family = i & 1 ? AF_INET : AF_INET6, buf[PP2_V2_MAX];
		struct addr src = random_addr(family, &seed), dst = random_addr(family, &seed), a, b;
		size_t len = pp2_write(i & 2 ? PP2_V1 : PP2_V2, &src, &dst, i & 4 ? &tlvs : NULL, buf), n;
		struct guarded g = guarded_copy(buf, len);

		assert_int_equal(pp2_read(g.p, len, &n, &a, &b), PP2_OK);
		assert_int_equal(n, len);
		assert_same(&a, &src);
		assert_same(&b, &dst);
		assert_int_equal(pp2_read(g.p, len - 1, &n, &a, &b), PP2_NEED_MORE);
		guarded_free(&g);
	}
}

static void a_header_of_nobody_is_read_back_as_one(void **state)
{
	static const struct addr unknown = {.family = AF_UNSPEC};

	(void)state;
	for (int version = PP2_V1; version <= PP2_V2; version++) {
		uint8_t buf[PP2_V2_MAX];
		size_t len = pp2_write((enum pp2_version)version, &unknown, &unknown, NULL, buf);

		reads(buf, len, NOBODY);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(version_1_tells_ipv4_addresses),
		TEST(version_1_tells_ipv6_addresses),
		TEST(version_1_unknown_tells_nobody_whatever_follows),
		TEST(the_longest_version_1_line_is_read_and_one_byte_more_is_refused),
		TEST(a_version_1_line_ends_with_cr_and_lf),
		TEST(a_version_1_line_has_exactly_its_words),
		TEST(version_1_addresses_are_of_the_family_that_it_names),
		TEST(version_1_ports_are_plain_numbers_without_leading_zeros),
		TEST(version_1_has_no_nul_bytes),
		TEST(version_2_tells_ipv4_addresses),
		TEST(version_2_tells_ipv6_addresses),
		TEST(what_follows_the_addresses_of_version_2_is_part_of_it),
		TEST(version_2_local_tells_nobody_whatever_its_family),
		TEST(version_2_unspec_tells_nobody),
		TEST(version_2_of_unix_sockets_tells_nobody),
		TEST(other_versions_commands_and_families_are_refused),
		TEST(an_address_block_that_is_too_short_is_refused),
		TEST(the_longest_version_2_header_is_read_and_a_longer_one_is_refused),
		TEST(what_begins_otherwise_is_refused_at_its_first_wrong_byte),
		TEST(addresses_mapped_into_ipv6_become_ipv4),
		TEST(what_pp2_write_writes_is_read_back),
		TEST(a_header_of_nobody_is_read_back_as_one),
	};

	return cmocka_run_group_tests_name("pp2_read", tests, group_begin, NULL);
}
