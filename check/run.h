#ifndef XMPP443_CHECK_RUN_H
#define XMPP443_CHECK_RUN_H

/* run: another program's output. */

#include <stddef.h>

#define RUN_OUTPUT_MAX 65536

/*
 * Runs argv, whose first item is looked for in PATH, without a shell and
 * without input. What it writes to its output and error output goes to
 * *ret_text, to be freed by the caller: cut at RUN_OUTPUT_MAX, and not cleaned.
 * Its exit status; 128 if a signal ended it; -ETIMEDOUT: it took longer than
 * timeout_ms and was killed; -ENOENT and the like: it could not be started.
 * *ret_text is NULL then.
 */
int run_program(const char *const *argv, int timeout_ms, char **ret_text);

#endif
