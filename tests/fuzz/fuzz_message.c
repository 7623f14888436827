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
	return 0;
}
