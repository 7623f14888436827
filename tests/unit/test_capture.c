#include "capture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SYN 2
#define ACK 16

/* A recording that is being written. */
struct writer {
	uint8_t bytes[8192];
	size_t len;
	bool big;
};

static void put(struct writer *w, const void *bytes, size_t len)
{
	assert_in_range(len, 0, sizeof(w->bytes) - w->len);
	memcpy(w->bytes + w->len, bytes, len);
	w->len += len;
}

static void put_u16(struct writer *w, unsigned n)
{
	uint8_t b[2] = {(uint8_t)(w->big ? n >> 8 : n), (uint8_t)(w->big ? n : n >> 8)};

	put(w, b, 2);
}

static void put_u32(struct writer *w, uint32_t n)
{
	put_u16(w, w->big ? n >> 16 : n & 0xffff);
	put_u16(w, w->big ? n & 0xffff : n >> 16);
}

static void put_text(struct writer *w, const char *text)
{
	put(w, text, strlen(text));
}

/* Ports 1000 to 443, or back. */
static void put_tcp(struct writer *w, bool back, uint32_t seq, uint8_t flags, const char *text)
{
	w->big = true;
	put_u16(w, back ? 443 : 1000);
	put_u16(w, back ? 1000 : 443);
	put_u32(w, seq);
	put_u32(w, 0);
	put(w, (uint8_t[]){0x50, flags, 0, 0, 0, 0, 0, 0}, 8);
	put_text(w, text);
}

static void put_ipv4(struct writer *w, bool back, uint32_t seq, uint8_t flags, const char *text)
{
	w->big = true;
	put(w, (uint8_t[]){0x45, 0}, 2);
	put_u16(w, (unsigned)(40 + strlen(text)));
	put(w, (uint8_t[]){0, 0, 0x40, 0, 64, 6, 0, 0}, 8);
	put(w, back ? "\300\0\2\1\300\0\2\13" : "\300\0\2\13\300\0\2\1", 8);
	put_tcp(w, back, seq, flags, text);
}

static struct writer ipv4(uint32_t seq, uint8_t flags, const char *text)
{
	struct writer w = {.len = 0};

	put_ipv4(&w, false, seq, flags, text);
	return w;
}

/* One packet into c, from a copy of exactly its size. */
static int feed(struct capture *c, unsigned link, const struct writer *w)
{
	uint8_t *copy = malloc(w->len > 0 ? w->len : 1);
	int ret;

	memcpy(copy, w->bytes, w->len);
	ret = capture_packet(c, link, copy, w->len);
	free(copy);
	return ret;
}

static int read_file(const struct writer *w, struct capture *ret)
{
	uint8_t *copy = malloc(w->len > 0 ? w->len : 1);
	int err;

	memcpy(copy, w->bytes, w->len);
	err = capture_read(copy, w->len, ret);
	free(copy);
	return err;
}

static void assert_says(const struct capture *c, size_t i, const char *text)
{
	assert_in_range(i, 0, c->n - 1);
	assert_int_equal(c->streams[i].len, strlen(text));
	assert_memory_equal(c->streams[i].bytes, text, strlen(text));
}

static void segments_in_any_order_and_twice(void **state)
{
	struct capture c = {0};
	struct writer syn = ipv4(99, SYN, ""), one = ipv4(100, ACK, "abc"), two = ipv4(103, ACK, "def"), over = ipv4(102, ACK, "XYZghi");

	(void)state;
	assert_int_equal(feed(&c, 101, &syn), 0);
	assert_int_equal(feed(&c, 101, &two), 0);
	assert_says(&c, 0, "");
	assert_int_equal(feed(&c, 101, &one), 0);
	assert_int_equal(feed(&c, 101, &one), 0);
	assert_int_equal(feed(&c, 101, &over), 0);
	assert_says(&c, 0, "abcdefhi");
	assert_true(capture_is_client(&c.streams[0]));
	assert_int_equal(c.n, 1);
	capture_free(&c);
}

static void sequence_numbers_wrap_around(void **state)
{
	struct capture c = {0};
	struct writer syn = ipv4(0xfffffffe, SYN, ""), one = ipv4(0xffffffff, ACK, "abc"), two = ipv4(2, ACK, "def");

	(void)state;
	feed(&c, 101, &syn);
	feed(&c, 101, &one);
	feed(&c, 101, &two);
	assert_says(&c, 0, "abcdef");
	capture_free(&c);
}

static void bytes_before_the_first_and_far_away_change_nothing(void **state)
{
	struct capture c = {0};
	struct writer syn = ipv4(1000, SYN, ""), before = ipv4(990, ACK, "abcdefghijklm"), far = ipv4(1001 + CAPTURE_BYTES_MAX, ACK, "x"),
		      last = ipv4(1000 + CAPTURE_BYTES_MAX, ACK, "yz");

	(void)state;
	feed(&c, 101, &syn);
	feed(&c, 101, &before);
	feed(&c, 101, &far);
	feed(&c, 101, &last);
	assert_int_equal(c.streams[0].len, 0);
	assert_int_equal(c.streams[0].bytes[CAPTURE_BYTES_MAX - 1], 'y');
	capture_free(&c);
}

static void a_port_that_is_used_again_is_another_connection(void **state)
{
	struct capture c = {0};
	struct writer syn = ipv4(99, SYN, ""), one = ipv4(100, ACK, "one"), again = ipv4(5000, SYN, ""), two = ipv4(5001, ACK, "two");

	(void)state;
	feed(&c, 101, &syn);
	feed(&c, 101, &one);
	feed(&c, 101, &syn); /* sent again */
	assert_int_equal(c.n, 1);
	feed(&c, 101, &again);
	feed(&c, 101, &two);
	assert_int_equal(c.n, 2);
	assert_says(&c, 0, "one");
	assert_says(&c, 1, "two");
	capture_free(&c);
}

static void who_is_the_client(void **state)
{
	struct capture c = {0};
	struct writer w = {.len = 0};

	(void)state;
	put_ipv4(&w, true, 1, SYN | ACK, ""); /* the server's answer */
	feed(&c, 101, &w);
	w.len = 0;
	put_ipv4(&w, true, 2, ACK, "hello");
	feed(&c, 101, &w);
	assert_false(capture_is_client(&c.streams[0]));
	w.len = 0;
	put_ipv4(&w, false, 7, ACK, "\x16\3\1\1\1\1"); /* the beginning is not in the recording */
	feed(&c, 101, &w);
	assert_true(capture_is_client(&c.streams[1]));
	assert_false(c.streams[1].began);
	assert_int_equal(c.streams[1].from.port, 1000);
	assert_int_equal(c.streams[1].from.ip[3], 11);
	capture_free(&c);
}

static void kinds_of_links(void **state)
{
	static const struct {
		unsigned link;
		const char *head;
		size_t len;
	} rows[] = {
		{0, "\2\0\0\0", 4},
		{1, "aaaaaabbbbbb\x08\0", 14},
		{1, "aaaaaabbbbbb\x81\0\0\5\x08\0", 18},
		{1, "aaaaaabbbbbb\x88\xa8\0\5\x81\0\0\6\x08\0", 22},
		{12, "", 0},
		{101, "", 0},
		{108, "\0\0\0\2", 4},
		{113, "0123456789abcd\x08\0", 16},
		{276, "\x08\0cdefghijklmnopqrst", 20},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct capture c = {0};
		struct writer w = {.len = 0};

		put(&w, rows[i].head, rows[i].len);
		put_ipv4(&w, false, 99, SYN, "x");
		assert_int_equal(feed(&c, rows[i].link, &w), 0);
		assert_int_equal(c.n, 1);
		/* No part of it does any harm. */
		for (size_t len = 0; len < w.len; len++) {
			struct writer part = w;

			part.len = len;
			assert_int_equal(feed(&c, rows[i].link, &part), 0);
		}
		capture_free(&c);
	}
}

static void packets_that_are_not_for_us(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
	} changes[] = {
		{0, 0x44}, /* a header that is too short */
		{0, 0x55}, /* IP version 5 */
		{6, 0x20}, /* a fragment */
		{7, 0x01}, /* a later one */
		{9, 17},   /* UDP */
		{32, 0xf0}, /* TCP options longer than the packet */
	};
	struct capture c = {0};
	struct writer arp = {.bytes = "aaaaaabbbbbb\x08\6", .len = 60};

	(void)state;
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		struct writer w = ipv4(99, SYN, "x");

		w.bytes[changes[i].at] = changes[i].value;
		assert_int_equal(feed(&c, 101, &w), 0);
	}
	assert_int_equal(feed(&c, 1, &arp), 0);
	assert_int_equal(c.n, 0);
	assert_int_equal(feed(&c, 147, &arp), -ENOTSUP);
	capture_free(&c);
}

static void ethernet_pads_short_packets(void **state)
{
	struct capture c = {0};
	struct writer w = {.len = 0};

	(void)state;
	put(&w, "aaaaaabbbbbb\x08\0", 14);
	put_ipv4(&w, false, 99, SYN, "x");
	put(&w, "\0\0\0\0\0\0", 6);
	feed(&c, 1, &w);
	assert_says(&c, 0, "x");
	capture_free(&c);
}

static void ipv6_with_headers_in_between(void **state)
{
	struct capture c = {0};
	struct writer w = {.len = 0};

	(void)state;
	put(&w, "\x60\0\0\0\0\45\0\100", 8); /* 37 bytes, hop-by-hop options first */
	put(&w, "\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\13\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 32);
	put(&w, "\74\0\1\4\0\0\0\0\6\0\1\4\0\0\0\0", 16); /* then destination options, then TCP */
	put_tcp(&w, false, 99, SYN, "x");
	w.bytes[5] = 16 + 21;
	assert_int_equal(feed(&c, 101, &w), 0);
	assert_says(&c, 0, "x");
	assert_int_equal(c.streams[0].from.family, AF_INET6);
	assert_int_equal(c.streams[0].to.ip[15], 1);
	for (size_t len = 0; len < w.len; len++) {
		struct writer part = w;

		part.len = len;
		assert_int_equal(feed(&c, 101, &part), 0);
	}
	w.bytes[40] = 44; /* a fragment */
	assert_int_equal(feed(&c, 101, &w), 0);
	assert_int_equal(c.n, 1);
	capture_free(&c);
}

static void no_more_connections_than_there_is_room_for(void **state)
{
	struct capture c = {0};

	(void)state;
	for (unsigned i = 0; i < CAPTURE_STREAMS_MAX + 10; i++) {
		struct writer w = ipv4(99, SYN, "x");

		w.bytes[20] = (uint8_t)(i >> 8);
		w.bytes[21] = (uint8_t)i;
		assert_int_equal(feed(&c, 101, &w), 0);
	}
	assert_int_equal(c.n, CAPTURE_STREAMS_MAX);
	capture_free(&c);
}

static void write_pcap(struct writer *w, bool big, uint32_t magic, unsigned link, const char *text)
{
	struct writer packet = ipv4(99, SYN, text);

	w->big = big;
	put_u32(w, magic);
	put_u16(w, 2);
	put_u16(w, 4);
	put_u32(w, 0);
	put_u32(w, 0);
	put_u32(w, 65535);
	put_u32(w, link);
	put_u32(w, 1);
	put_u32(w, 2);
	put_u32(w, (uint32_t)packet.len);
	put_u32(w, (uint32_t)packet.len);
	put(w, packet.bytes, packet.len);
}

static void pcap_in_both_byte_orders(void **state)
{
	static const uint32_t magics[] = {0xa1b2c3d4, 0xa1b23c4d};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct writer w = {.len = 0};
		struct capture c;

		write_pcap(&w, i % 2 == 1, magics[i / 2], 101, "hello");
		assert_true(capture_is(w.bytes, w.len));
		assert_int_equal(read_file(&w, &c), 0);
		assert_says(&c, 0, "hello");
		capture_free(&c);
		/* A recording that breaks off. */
		for (w.len--; w.len > 24; w.len--)
			assert_int_equal(read_file(&w, &c), -ENOTSUP);
		for (; w.len > 4; w.len--)
			assert_true(read_file(&w, &c) < 0);
	}
}

static void block(struct writer *w, uint32_t type, const struct writer *body)
{
	size_t padded = (body->len + 3) & ~(size_t)3;

	put_u32(w, type);
	put_u32(w, (uint32_t)padded + 12);
	put(w, body->bytes, padded);
	put_u32(w, (uint32_t)padded + 12);
}

static void write_pcapng(struct writer *w, bool big, bool simple)
{
	struct writer section = {.big = big}, interface = {.big = big}, packet = {.big = big}, ip = ipv4(99, SYN, "hello");

	w->big = big;
	put_u32(&section, 0x1a2b3c4d);
	put_u32(&section, 1);
	put_u32(&section, 0xffffffff);
	put_u32(&section, 0xffffffff);
	block(w, 0x0a0d0d0a, &section);
	put_u16(&interface, 101);
	put_u16(&interface, 0);
	put_u32(&interface, 0);
	block(w, 1, &interface);
	if (!simple) {
		put_u32(&packet, 0);
		put_u32(&packet, 0);
		put_u32(&packet, 0);
		put_u32(&packet, (uint32_t)ip.len);
	}
	put_u32(&packet, (uint32_t)ip.len);
	put(&packet, ip.bytes, ip.len);
	block(w, simple ? 3 : 6, &packet);
}

static void pcapng_in_both_byte_orders(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		struct writer w = {.len = 0};
		struct capture c;

		write_pcapng(&w, i % 2 == 1, i / 2 == 1);
		assert_int_equal(read_file(&w, &c), 0);
		assert_says(&c, 0, "hello");
		capture_free(&c);
		for (w.len--; w.len > 4; w.len--)
			assert_true(read_file(&w, &c) < 0);
	}
}

static void a_packet_of_an_interface_that_is_not_there(void **state)
{
	struct writer w = {.len = 0};
	struct capture c;

	(void)state;
	write_pcapng(&w, false, false);
	w.bytes[28 + 20 + 8] = 1;
	assert_int_equal(read_file(&w, &c), -ENOTSUP);
}

static void a_packet_that_is_longer_than_its_block(void **state)
{
	struct writer w = {.len = 0};
	struct capture c;

	(void)state;
	write_pcapng(&w, false, false);
	w.bytes[28 + 20 + 20]++; /* 45 bytes are there, and 3 that fill up */
	assert_int_equal(read_file(&w, &c), 0);
	capture_free(&c);
	w.bytes[28 + 20 + 20] += 3;
	assert_int_equal(read_file(&w, &c), -ENOTSUP);
}

static void networks_that_are_not_known(void **state)
{
	struct writer w = {.len = 0};
	struct capture c;

	(void)state;
	write_pcap(&w, false, 0xa1b2c3d4, 147, "hello");
	assert_int_equal(read_file(&w, &c), -ENOTSUP);
}

static void what_is_no_recording(void **state)
{
	struct writer w = {.bytes = "\x16\3\1\0\5", .len = 5};
	struct capture c;

	(void)state;
	assert_false(capture_is(w.bytes, w.len));
	assert_false(capture_is(w.bytes, 0));
	assert_int_equal(read_file(&w, &c), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(segments_in_any_order_and_twice),
		cmocka_unit_test(sequence_numbers_wrap_around),
		cmocka_unit_test(bytes_before_the_first_and_far_away_change_nothing),
		cmocka_unit_test(a_port_that_is_used_again_is_another_connection),
		cmocka_unit_test(who_is_the_client),
		cmocka_unit_test(kinds_of_links),
		cmocka_unit_test(packets_that_are_not_for_us),
		cmocka_unit_test(ethernet_pads_short_packets),
		cmocka_unit_test(ipv6_with_headers_in_between),
		cmocka_unit_test(no_more_connections_than_there_is_room_for),
		cmocka_unit_test(pcap_in_both_byte_orders),
		cmocka_unit_test(pcapng_in_both_byte_orders),
		cmocka_unit_test(a_packet_of_an_interface_that_is_not_there),
		cmocka_unit_test(a_packet_that_is_longer_than_its_block),
		cmocka_unit_test(networks_that_are_not_known),
		cmocka_unit_test(what_is_no_recording),
	};

	return cmocka_run_group_tests_name("capture", tests, NULL, NULL);
}
