#include "rdata.h"

#include "clean.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define NAME_WIRE_MAX 255 /* RFC 1035 section 2.3.4 */
#define LABEL_MAX 63

/* One label as text, with the escapes of RFC 4343 section 2.1 for what is not plain. Returns the characters written. */
static size_t label_text(char *out, const uint8_t *label, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		if (isalnum(label[i]) || label[i] == '-' || label[i] == '_')
			out[n++] = (char)label[i];
		else
			n += (size_t)sprintf(out + n, "\\%03u", label[i]);
	}
	return n;
}

/* A whole name that takes exactly len bytes. */
static bool name_text(const uint8_t *data, size_t len, char *out)
{
	size_t pos = 0, n = 0;

	if (len == 0 || len > NAME_WIRE_MAX)
		return false;
	while (pos < len && data[pos] != 0) {
		size_t label = data[pos++];

		if (label > LABEL_MAX || label >= len - pos)
			return false;
		if (n > 0)
			out[n++] = '.';
		n += label_text(out + n, data + pos, label);
		pos += label;
	}
	if (pos + 1 != len)
		return false;
	out[n] = '\0';
	return true;
}

static uint16_t u16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

bool rdata_srv(const uint8_t *data, size_t len, struct rdata_srv *ret)
{
	char target[RDATA_NAME_MAX];

	if (len < 7 || !name_text(data + 6, len - 6, target))
		return false;
	*ret = (struct rdata_srv){.priority = u16(data), .weight = u16(data + 2), .port = u16(data + 4)};
	memcpy(ret->target, target, sizeof(target));
	return true;
}

bool rdata_caa(const uint8_t *data, size_t len, struct rdata_caa *ret)
{
	size_t tag;

	if (len < 3)
		return false;
	tag = data[1];
	if (tag == 0 || tag > sizeof(ret->tag) - 1 || tag > len - 2)
		return false;
	for (size_t i = 0; i < tag; i++)
		if (!isalnum(data[2 + i]))
			return false;
	*ret = (struct rdata_caa){.critical = (data[0] & 0x80) != 0};
	memcpy(ret->tag, data + 2, tag);
	clean_text(ret->value, sizeof(ret->value), data + 2 + tag, len - 2 - tag);
	return true;
}

bool rdata_tlsa(const uint8_t *data, size_t len, struct rdata_tlsa *ret)
{
	if (len < 4)
		return false;
	*ret = (struct rdata_tlsa){
		.usage = data[0], .selector = data[1], .matching = data[2], .data = data + 3, .len = len - 3};
	return true;
}
