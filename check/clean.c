#include "clean.h"

#include <stdint.h>
#include <string.h>

char *clean_text(char *out, size_t size, const void *bytes, size_t len)
{
	const uint8_t *in = bytes;
	size_t n = len < size ? len : size - 1;

	for (size_t i = 0; i < n; i++)
		if (in[i] >= ' ' && in[i] < 0x7f)
			out[i] = (char)in[i];
		else
			out[i] = '?';
	out[n] = '\0';
	if (len >= size)
		memcpy(out + n - 3, "...", 3);
	return out;
}
