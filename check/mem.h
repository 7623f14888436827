#ifndef XMPP443_CHECK_MEM_H
#define XMPP443_CHECK_MEM_H

/*
 * mem: memory for a program that runs once. No function fails: without memory
 * the program says so and ends with exit code 2.
 */

#include <stddef.h>

/* Zeroed; to be freed with free(3). */
void *mem_new(size_t size);

/* An array of n items of size bytes each, the first of which are those of old. */
void *mem_grow(void *old, size_t n, size_t size);

/* A copy; NULL gives NULL. */
char *mem_copy(const char *text);

char *mem_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Adds to *text, which may be NULL and is replaced. */
void mem_append(char **text, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
