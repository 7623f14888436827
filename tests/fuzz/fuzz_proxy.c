/*
 * The Lua module's reader of the header that a proxy puts ahead of a connection,
 * with what must hold for any bytes, and beside the shim's, which was written
 * apart from it: they differ in TLVs only, which the shim does not look at.
 */

#include "../../lua-module/proxy.h"
#include "../../shim/pp2.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Memory of exactly that size, so that a byte too far is seen. */
static enum proxy_status parse_exactly(const uint8_t *data, size_t size, struct proxy *ret)
{
	uint8_t *copy = malloc(size + (size == 0));
	enum proxy_status status;

	assert(copy != NULL);
	memcpy(copy, data, size);
	status = proxy_parse(copy, size, ret);
	if (status == PROXY_OK && ret->alpn != NULL)
		ret->alpn = data + (ret->alpn - copy);
	free(copy);
	return status;
}

static void check_addr(const struct v2_addr *got, const struct addr *want)
{
	assert(got->family == want->family && got->port == want->port);
	assert(memcmp(got->ip, want->ip, got->family == AF_INET ? 4 : 16) == 0);
}

static void check_beside_the_shim(const uint8_t *data, size_t size, enum proxy_status status, const struct proxy *h)
{
	struct addr src, dst;
	size_t len;
	enum pp2_status shim = pp2_read(data, size, &len, &src, &dst);

	switch (status) {
	case PROXY_OK:
		assert(shim == PP2_OK && len == h->len);
		assert(h->has_addrs == (src.family != AF_UNSPEC));
		if (h->has_addrs) {
			check_addr(&h->source, &src);
			check_addr(&h->dest, &dst);
		}
		return;
	case PROXY_NEED_MORE:
		assert(shim == PP2_NEED_MORE);
		return;
	case PROXY_BAD_TLV:
		return;
	case PROXY_NO_HEADER:
	case PROXY_BAD_TEXT:
	case PROXY_BAD_COMMAND:
	case PROXY_BAD_FAMILY:
	case PROXY_TOO_LONG:
		assert(shim == PP2_MALFORMED);
		return;
	}
}

/* Whoever takes out what has come so far, as long as more is needed, has taken
 * the header and nothing else. */
static void check_prefixes(const uint8_t *data, const struct proxy *h)
{
	struct proxy part;

	for (size_t n = 0; n < h->len; n++)
		assert(parse_exactly(data, n, &part) == PROXY_NEED_MORE);
	assert(parse_exactly(data, h->len, &part) == PROXY_OK && part.len == h->len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct proxy header;
	enum proxy_status status = parse_exactly(data, size, &header);

	assert(strcmp(proxy_strerror(status), "unknown error") != 0);
	check_beside_the_shim(data, size, status, &header);
	if (status != PROXY_OK)
		return 0;

	assert(header.len > 0 && header.len <= size && header.len <= PROXY_MAX);
	if (header.alpn != NULL)
		assert(header.alpn_len > 0 && header.alpn_len <= 255 && data < header.alpn &&
		       header.alpn + header.alpn_len <= data + header.len);
	check_prefixes(data, &header);
	return 0;
}
