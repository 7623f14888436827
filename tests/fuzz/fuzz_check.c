/*
 * What xmpp443-check reads of strangers by itself: records of DNS, the
 * beginnings of answers, streams. All text that comes out is printable.
 *
 * Input: a byte that chooses the reader, then what it reads.
 */

#include "../../check/http.h"
#include "../../check/rdata.h"
#include "../../check/stream.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void printable(const char *text, size_t size)
{
	assert(memchr(text, 0, size) != NULL);
	for (; *text != '\0'; text++)
		assert(*text >= ' ' && *text < 0x7f);
}

static void records(const uint8_t *data, size_t size)
{
	struct rdata_srv srv;
	struct rdata_caa caa;
	struct rdata_tlsa tlsa;

	if (rdata_srv(data, size, &srv)) {
		printable(srv.target, sizeof(srv.target));
		assert(strchr(srv.target, ' ') == NULL);
		assert(size == 7 ? srv.target[0] == '\0' : size >= 9 && strlen(srv.target) + 8 >= size);
		assert(!rdata_srv(data, size - 1, &srv));
	}
	if (rdata_caa(data, size, &caa)) {
		printable(caa.tag, sizeof(caa.tag));
		printable(caa.value, sizeof(caa.value));
		assert(caa.tag[0] != '\0');
	}
	if (rdata_tlsa(data, size, &tlsa))
		assert(tlsa.len > 0 && tlsa.data + tlsa.len == data + size);
}

static void answers(const char *data, size_t size)
{
	struct http_said http;

	if (!http_read(data, size, &http))
		return;
	assert(answer_kind(data, size) == ANSWER_HTTP);
	assert(http.status >= 100 && http.status <= 999);
	printable(http.server, sizeof(http.server));
	printable(http.location, sizeof(http.location));
	/* What follows the header changes nothing. */
	for (size_t n = size; n-- > 0;) {
		struct http_said less;

		if (!http_read(data, n, &less))
			break;
		assert(less.status == http.status && strcmp(less.server, http.server) == 0 && less.date == http.date);
	}
}

static void check_said(const struct stream_said *s)
{
	assert(s->mechanisms.n <= STREAM_LIST_MAX && s->bindings.n <= STREAM_LIST_MAX);
	for (size_t i = 0; i < s->mechanisms.n; i++)
		printable(s->mechanisms.v[i], STREAM_WORD_MAX);
	for (size_t i = 0; i < s->bindings.n; i++)
		printable(s->bindings.v[i], STREAM_WORD_MAX);
	printable(s->condition, sizeof(s->condition));
	printable(s->text, sizeof(s->text));
	assert(s->header || (!s->features && !s->error));
}

/* In one piece and byte by byte: the same is read, of all that is XML. (Of what is not, expat gives up one sooner than the other.) */
static void streams(const char *data, size_t size)
{
	struct stream *whole = stream_new(), *bytes = stream_new();
	bool ok = stream_feed(whole, data, size), ok_bytes = true;

	for (size_t i = 0; i < size && ok_bytes; i++)
		ok_bytes = stream_feed(bytes, data + i, 1);
	check_said(stream_said(whole));
	check_said(stream_said(bytes));
	if (ok && ok_bytes)
		assert(memcmp(stream_said(whole), stream_said(bytes), sizeof(struct stream_said)) == 0);
	stream_free(whole);
	stream_free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy;

	if (size == 0)
		return 0;
	/* Of exactly that size, and without a 0 behind it. */
	copy = malloc(size > 1 ? size - 1 : 1);
	assert(copy != NULL);
	memcpy(copy, data + 1, size - 1);
	switch (data[0] % 3) {
	case 0:
		records((const uint8_t *)copy, size - 1);
		break;
	case 1:
		answers(copy, size - 1);
		break;
	default:
		streams(copy, size - 1);
	}
	free(copy);
	return 0;
}
