#include "serve.h"

#include "net.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE  (128 * 1024)
#define WRITE_SIZE (128 * 1024)
#define FILE_SIZE  (16 * 1024 * 1024)
#define PP2_FIXED  16 /* signature, version, family, length */

enum serve_state {
	SERVE_FIRST,   /* the first 16 bytes tell whether there is a PROXY header */
	SERVE_HEADER,  /* in the rest of it */
	SERVE_HELLO,
	SERVE_REQUEST,
};

struct serve_conn {
	struct serve *serve;
	struct watch watch;
	enum serve_state state;
	size_t want;   /* bytes until the state is over */
	size_t answer; /* bytes still to be sent */
	uint8_t first[PP2_FIXED];
};

/* Nobody looks at what is read or written; one thread, one buffer each. */
static uint8_t read_buf[READ_SIZE];
static uint8_t write_buf[WRITE_SIZE];

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

static void conn_free(struct serve_conn *c)
{
	close(c->watch.fd);
	free(c);
}

/* What the bytes lead to that complete the state. */
static void next_state(struct serve_conn *c)
{
	static const uint8_t signature[] = {13, 10, 13, 10, 0, 13, 10, 81, 85, 73, 84, 10};

	switch (c->state) {
	case SERVE_FIRST:
		if (memcmp(c->first, signature, sizeof(signature)) == 0) {
			c->state = SERVE_HEADER;
			c->want = (size_t)(c->first[14] << 8 | c->first[15]);
			return;
		}
		c->state = SERVE_HELLO;
		c->want = c->serve->hello_len - PP2_FIXED;
		return;
	case SERVE_HEADER:
		c->state = SERVE_HELLO;
		c->want = c->serve->hello_len;
		return;
	case SERVE_HELLO:
		c->answer += SCRIPT_GREETING;
		break;
	case SERVE_REQUEST:
		c->answer += c->serve->script.response;
		break;
	}
	c->state = SERVE_REQUEST;
	c->want = c->serve->script.request;
}

/* The answer under way is the last one. */
static bool is_last(const struct serve_conn *c)
{
	return c->serve->script.closer == SCRIPT_SERVER && c->state == SERVE_REQUEST;
}

static void take(struct serve_conn *c, const uint8_t *buf, size_t len)
{
	while (len > 0 && !is_last(c)) {
		size_t n = len < c->want ? len : c->want;

		if (c->state == SERVE_FIRST)
			memcpy(c->first + PP2_FIXED - c->want, buf, n);
		c->want -= n;
		buf += n;
		len -= n;
		if (c->want == 0)
			next_state(c);
	}
}

/* False: the connection is over. */
static bool read_all(struct serve_conn *c)
{
	for (;;) {
		int flags = c->state == SERVE_REQUEST ? c->serve->skip : 0;
		ssize_t n = recv(c->watch.fd, read_buf, sizeof(read_buf), flags);

		if (n < 0 && errno == EAGAIN)
			return true;
		if (n <= 0)
			return false;
		take(c, read_buf, (size_t)n);
		/* Edge-triggered: after a short read there comes a new event. */
		if ((size_t)n < sizeof(read_buf))
			return true;
	}
}

static ssize_t write_some(struct serve_conn *c)
{
	off_t start = 0;

	if (c->serve->file >= 0)
		return sendfile(c->watch.fd, c->serve->file, &start, c->answer < FILE_SIZE ? c->answer : FILE_SIZE);
	return send(c->watch.fd, write_buf, c->answer < WRITE_SIZE ? c->answer : WRITE_SIZE, MSG_NOSIGNAL);
}

static bool write_all(struct serve_conn *c)
{
	while (c->answer > 0) {
		ssize_t n = write_some(c);

		if (n < 0)
			return errno == EAGAIN;
		c->answer -= (size_t)n;
	}
	return !is_last(c);
}

/* False: the connection has been closed. */
static bool serve(struct serve_conn *c, uint32_t events)
{
	bool open = true;

	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		open = read_all(c);
	/* With the last byte the end came in the same event, and no other will follow. */
	if (open && (events & EPOLLRDHUP))
		open = read_all(c);
	if (open && c->answer > 0)
		open = write_all(c);
	if (!open)
		conn_free(c);
	return open;
}

static void on_ready(struct watch *w, uint32_t events)
{
	serve(container_of(w, struct serve_conn, watch), events);
}

void serve_new(struct serve *s, int fd)
{
	struct serve_conn *c = malloc(sizeof(*c));

	if (c == NULL)
		die(ENOMEM, "cannot serve", "a connection");
	*c = (struct serve_conn){
		.serve = s,
		.watch = {.fd = fd, .ready = on_ready},
		.want = PP2_FIXED,
	};
	/* Often the hello is there already. */
	if (serve(c, EPOLLIN))
		net_watch(s->epoll, &c->watch, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

int serve_file(void)
{
	int fd = memfd_create("answers", MFD_CLOEXEC);

	if (fd < 0)
		die(errno, "cannot make", "a file");
	for (size_t n = 0; n < FILE_SIZE; n += sizeof(write_buf))
		if (write(fd, write_buf, sizeof(write_buf)) != sizeof(write_buf))
			die(errno, "cannot fill", "a file");
	return fd;
}
