#ifndef XMPP443_TEST_SUPPORT_H
#define XMPP443_TEST_SUPPORT_H

/* support: what the unit tests share. Every wait in here is bounded. */

#include "addr.h"
#include "loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

#define WAIT_MS 10000 /* until a test gives up; nothing that works takes that long */

/* One test; it fails too if it leaves descriptors open, or a failure planned that did not happen. */
#define TEST(f) cmocka_unit_test_setup_teardown(f, test_begin, test_end)

int test_begin(void **state);
int test_end(void **state);

/* For cmocka_run_group_tests(): no SIGPIPE, and a limit to the program's life. */
int group_begin(void **state);

int count_fds(void);

/* Calls that can be made to fail; they are wrapped by the linker, see unit.mk. */
enum call {
	CALL_MALLOC,
	CALL_CALLOC,
	CALL_REALLOC,
	CALL_STRDUP,
	CALL_GETRANDOM,
	CALL_PIPE2,
	CALL_SOCKET,
	CALL_SENDMSG,
	CALL_SEND,
	CALL_SPLICE,
	CALL_MEMSTREAM, /* open_memstream(3) */
	CALL_ACCEPT,
	CALL_EPOLL_CTL,
	CALL_EPOLL_CREATE,
	CALL_SETPIPE,      /* fcntl(2) with F_SETPIPE_SZ */
	CALL_SETPIPE_TINY, /* the same for a pipe that has two pages only */
	CALLS,
};

/* The next times calls of this kind fail with error, after good ones that work. */
void fail_calls(enum call call, unsigned good, unsigned times, int error);

/* No call fails any more. The number of failures that did not happen. */
unsigned fail_none(void);

/* How often this was called since the test began. */
unsigned calls_of(enum call call);

/* What the last call of malloc() asked for. */
size_t last_malloc(void);

/* The next sendmsg(2), or send(2), takes so many bytes only. */
void cut_next(enum call call, size_t len);

/* A copy of the bytes that ends where memory ends: the next page cannot be read. */
struct guarded {
	uint8_t *p;
	size_t len;
	void *map;
	size_t map_len;
};

struct guarded guarded_copy(const uint8_t *bytes, size_t len);
void guarded_free(struct guarded *g);

/* Runs the loop until *done, or fails the test. */
void run_until(struct loop *l, const bool *done);

/* Runs the loop for so long. */
void run_for(struct loop *l, unsigned ms);

/* Non-blocking, close-on-exec TCP sockets on the loopback, connected to each other. */
void tcp_pair(int fd[2]);

/* A listening TCP socket on the loopback, and its address. */
int tcp_listen(struct addr_endpoint *ret);

/* Waits for and takes a connection; non-blocking. */
int accept_one(int listener);

/* Non-blocking connection to e, also while it is only on its way. */
int connect_to(const struct addr_endpoint *e);

/* poll(2) until one of events; fails the test if none comes. */
void wait_fd(int fd, short events);

/* Reads exactly len bytes. */
void read_all(int fd, void *buf, size_t len);

/* The next read gives 0: the other side has ended its direction. */
void assert_eof(int fd);

/* The other side reset the connection. */
void assert_reset(int fd);

/* Closes so that the other side gets a reset. */
void close_reset(int fd);

/* A directory for sockets, mode 0755, and a path in it. */
void dir_make(void);
void dir_remove(void);
const char *dir_path(const char *name);
struct addr_endpoint dir_endpoint(const char *name);

/* A listening Unix socket of that type at a path in the directory. */
int unix_listen(const char *name, int type, int backlog);

bool same_socket(int a, int b);

/* A file of the vectors, in full; the caller frees it. */
uint8_t *file_read(const char *path, size_t *ret_len);

/* Packets that a TCP connection has got so far. */
uint32_t packets_in(int fd);

#endif
