#include "mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *need(void *memory)
{
	if (memory == NULL) {
		fputs("xmpp443-check: out of memory\n", stderr);
		exit(2);
	}
	return memory;
}

void *mem_new(size_t size)
{
	return need(calloc(1, size));
}

void *mem_grow(void *old, size_t n, size_t size)
{
	return need(reallocarray(old, n, size));
}

char *mem_copy(const char *text)
{
	return text == NULL ? NULL : need(strdup(text));
}

static char *print(const char *format, va_list args)
{
	char *text;

	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	return need(text);
}

char *mem_printf(const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	text = print(format, args);
	va_end(args);
	return text;
}

void mem_append(char **text, const char *format, ...)
{
	va_list args;
	char *more, *both;

	va_start(args, format);
	more = print(format, args);
	va_end(args);
	if (*text == NULL) {
		*text = more;
		return;
	}
	both = mem_printf("%s%s", *text, more);
	free(*text);
	free(more);
	*text = both;
}
