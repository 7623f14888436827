/*
 * hello: however the bytes are cut, there is one verdict, one server name and
 * one ALPN list, and they are what tls.c finds in its own way.
 */

#include "tls.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t seed_of(const uint8_t *data, size_t size)
{
	uint32_t seed = 2166136261u;

	for (size_t i = 0; i < size; i++)
		seed = (seed ^ data[i]) * 16777619u;
	return seed;
}

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 16;
}

/* Each piece lies in memory of exactly its size, so that a read beyond it shows. */
static enum hello_status in_pieces(const uint8_t *data, size_t size, uint32_t seed)
{
	uint32_t longest = (uint32_t)size / 64 + (1u << next_random(&seed) % 12);
	enum hello_status status = HELLO_NEED_MORE;
	struct hello h;

	hello_init(&h);
	for (size_t i = 0; i < size; ) {
		size_t len = 1 + next_random(&seed) % longest;
		enum hello_status before = status;
		uint8_t *piece;

		if (len > size - i)
			len = size - i;
		piece = malloc(len);
		assert(piece != NULL);
		memcpy(piece, data + i, len);
		status = hello_scan(&h, piece, len);
		free(piece);
		assert(before == HELLO_NEED_MORE || status == before); /* final */
		i += len;
	}
	return status;
}

/* By single steps, with the parts put together from what each step says. */
static enum hello_status in_steps(const uint8_t *data, size_t size, const struct hello_info *info)
{
	enum hello_status status = HELLO_NEED_MORE;
	size_t sni_len = 0, alpn_len = 0, i;
	enum hello_part part;
	struct hello h, end;

	hello_init(&h);
	for (i = 0; i < size && status == HELLO_NEED_MORE; i++) {
		status = hello_step(&h, data[i], &part);
		assert(status == h.status);
		if (part == HELLO_PART_SNI) {
			assert(sni_len >= info->sni_len || info->sni[sni_len] == data[i]);
			sni_len++;
		} else if (part == HELLO_PART_ALPN) {
			assert(alpn_len < info->alpn_len && info->alpn[alpn_len] == data[i]);
			alpn_len++;
		}
	}
	assert(alpn_len == info->alpn_len);
	assert(info->sni_len == (sni_len <= HELLO_SNI_MAX ? sni_len : 0));

	/* Whatever still comes, a final status stays. */
	memcpy(&end, &h, sizeof(h));
	for (unsigned byte = 0; byte < 256 && status != HELLO_NEED_MORE; byte++) {
		assert(hello_step(&h, (uint8_t)byte, &part) == status && part == HELLO_PART_OTHER);
		assert(memcmp(&end, &h, sizeof(h)) == 0);
	}
	return status;
}

static void check_alpn(const struct hello_info *info)
{
	size_t pos = 0, sum = 0, len;
	const uint8_t *name;

	assert(info->alpn_len <= sizeof(info->alpn));
	while (hello_alpn_next(info, &pos, &name, &len)) {
		assert(len >= 1 && len <= 255);
		assert(name == info->alpn + sum + 1 && name[-1] == len);
		sum += 1 + len;
		assert(sum <= info->alpn_len && pos == sum);
	}
	assert(sum == info->alpn_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct tls_hello expected;
	static struct hello_info info;
	enum hello_status status, wanted;
	struct hello h;

	if (size > TLS_INPUT_MAX)
		return 0;
	wanted = tls_expect(data, size, &expected);

	/* What is left over from another hello must not show. */
	memset(&info, 0xa5, sizeof(info));
	status = hello_read(&h, data, size, &info);
	assert(info.sni_len <= HELLO_SNI_MAX && info.alpn_len <= HELLO_MESSAGE_MAX);

	assert(in_steps(data, size, &info) == status);
	assert(in_pieces(data, size, seed_of(data, size)) == status);

	/* Complete by its own length: no byte that might follow can change it. */
	if (expected.declared != 0 && expected.len >= expected.declared)
		assert(status != HELLO_NEED_MORE);
	assert(status == wanted);
	assert(strcmp(hello_status_name(status), "?") != 0);

	if (status != HELLO_OK)
		return 0;
	check_alpn(&info);
	assert(info.alpn_len == expected.alpn_len);
	assert(info.alpn_len == 0 || memcmp(info.alpn, expected.alpn, info.alpn_len) == 0);
	assert(info.sni_len == (expected.sni_len <= HELLO_SNI_MAX ? expected.sni_len : 0));
	assert(info.sni_len == 0 || memcmp(info.sni, expected.sni, info.sni_len) == 0);
	return 0;
}
