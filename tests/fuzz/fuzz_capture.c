/*
 * A recording of packets, as --explain reads it. It may hold anything; what
 * comes out is within bounds, and a packet more never changes a byte that was
 * there, nor takes one away.
 *
 * Input: even first byte: the rest is a file. Odd: packets, each with a byte
 * that chooses the link, two bytes of length.
 */

#include "../../shim/capture.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct capture *c)
{
	assert(c->n <= CAPTURE_STREAMS_MAX);
	for (size_t i = 0; i < c->n; i++) {
		const struct capture_stream *s = &c->streams[i];

		assert(s->len <= CAPTURE_BYTES_MAX);
		assert(s->from.family == AF_INET || s->from.family == AF_INET6);
		for (size_t k = 0; k < s->len; k++)
			assert((s->seen[k / 8] & 1u << k % 8) != 0);
		assert(s->len == CAPTURE_BYTES_MAX || (s->seen[s->len / 8] & 1u << s->len % 8) == 0);
		assert(s->len == 0 || s->segments > 0);
		capture_is_client(s);
	}
}

static void packets(const uint8_t *data, size_t size)
{
	static const unsigned links[] = {0, 1, 12, 101, 108, 113, 276, 147};
	struct capture c = {0};
	uint8_t first[64];
	size_t first_len = 0;

	while (size >= 3) {
		size_t len = (size_t)data[1] << 8 | data[2];
		unsigned link = links[data[0] % 8];
		uint8_t *copy;

		data += 3;
		size -= 3;
		if (len > size)
			len = size;
		copy = malloc(len + 1);
		assert(copy != NULL);
		memcpy(copy, data, len);
		assert((capture_packet(&c, link, copy, len) == 0) == (link != 147));
		free(copy);
		data += len;
		size -= len;
		if (c.n > 0) {
			assert(c.streams[0].len >= first_len);
			assert(memcmp(c.streams[0].bytes, first, first_len) == 0);
			first_len = c.streams[0].len < sizeof(first) ? c.streams[0].len : sizeof(first);
			memcpy(first, c.streams[0].bytes, first_len);
		}
	}
	check(&c);
	capture_free(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct capture c;

	if (size == 0)
		return 0;
	if (data[0] % 2 == 1) {
		packets(data + 1, size - 1);
	} else if (capture_read(data + 1, size - 1, &c) == 0) {
		assert(capture_is(data + 1, size - 1));
		check(&c);
		capture_free(&c);
	}
	return 0;
}
