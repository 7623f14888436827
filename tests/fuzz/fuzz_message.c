/* The hand-off parser of the Lua module, with what must hold for any packet. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "../../lua-module/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_view(const uint8_t *p, size_t len, const uint8_t *data, size_t size)
{
	if (p == NULL)
		return;
	assert(data <= p && len > 0 && len <= 255 && p + len <= data + size);
}

/* An accepted packet with one more TLV at its end. */
static enum message_status with_tlv(const uint8_t *data, size_t size, const uint8_t *tlv, size_t tlv_len,
				    struct message *ret)
{
	enum message_status status;
	size_t len = size + tlv_len;
	uint8_t *more = malloc(len);

	assert(more != NULL);
	memcpy(more, data, size);
	memcpy(more + size, tlv, tlv_len);
	more[14] = (uint8_t)((len - 16) >> 8);
	more[15] = (uint8_t)(len - 16);
	status = message_parse(more, len, ret);
	free(more);
	return status;
}

/* Types that nobody knows are skipped; those that are known stand there once. */
static void check_one_more(const uint8_t *data, size_t size, const struct message *m)
{
	static const uint8_t unknown[] = {0x20, 0, 1, 'x'}, alpn[] = {0x01, 0, 1, 'x'}, authority[] = {0x02, 0, 1, 'x'};
	static const uint8_t id[] = {0x05, 0, MESSAGE_ID_LEN, 1, 2, 3, 4, 5, 6, 7, 8}, no_id[] = {0x05, 0, 1, 'x'};
	struct message got;

	if (size + sizeof(id) > 16 + UINT16_MAX)
		return;
	assert(with_tlv(data, size, unknown, sizeof(unknown), &got) == MESSAGE_OK);
	assert(got.has_id && memcmp(got.id, m->id, MESSAGE_ID_LEN) == 0);
	assert(with_tlv(data, size, alpn, sizeof(alpn), &got) == (m->alpn == NULL ? MESSAGE_OK : MESSAGE_BAD_ALPN));
	assert(got.has_id);
	assert(with_tlv(data, size, authority, sizeof(authority), &got) ==
	       (m->authority == NULL ? MESSAGE_OK : MESSAGE_BAD_AUTHORITY));
	assert(got.has_id);
	assert(with_tlv(data, size, id, sizeof(id), &got) == MESSAGE_BAD_ID && !got.has_id);
	assert(with_tlv(data, size, no_id, sizeof(no_id), &got) == MESSAGE_BAD_ID && !got.has_id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct message m, shorter, longer;
	enum message_status status = message_parse(data, size, &m);
	uint8_t *more;

	assert(strcmp(message_strerror(status), "unknown error") != 0);
	if (status != MESSAGE_OK)
		return 0;

	assert(m.has_id);
	assert(m.source.family == AF_INET || m.source.family == AF_INET6);
	check_view(m.alpn, m.alpn_len, data, size);
	check_view(m.authority, m.authority_len, data, size);

	/* Nothing may be missing and nothing may be left. */
	assert(message_parse(data, size - 1, &shorter) == MESSAGE_SHORT);
	more = malloc(size + 1);
	assert(more != NULL);
	memcpy(more, data, size);
	more[size] = 0;
	assert(message_parse(more, size + 1, &longer) == MESSAGE_TRAILING && longer.has_id);
	free(more);
	check_one_more(data, size, &m);
	return 0;
}
