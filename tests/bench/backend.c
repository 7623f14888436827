#include "load.h"

#include "net.h"
#include "serve.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ID_LEN  8
#define PACKETS 64 /* in one go */

struct listener {
	struct watch watch;
	struct serve *serve;
};

/* One shim's control connection. */
struct control {
	struct watch watch;
	struct serve *serve;
};

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

static void on_listener(struct watch *w, uint32_t events)
{
	struct listener *l = container_of(w, struct listener, watch);
	int fd;

	(void)events;
	while ((fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
		serve_new(l->serve, fd);
	if (errno != EAGAIN && errno != ECONNABORTED)
		die(errno, "cannot accept", "a connection");
}

/* Finds the 8 bytes of the UNIQUE_ID in a PROXY header, doc/protocol.md. */
static const uint8_t *find_id(const uint8_t *buf, size_t len)
{
	size_t pos = 16 + (len > 13 && buf[13] == 0x21 ? 36 : 12);

	while (pos + 3 <= len) {
		size_t n = (size_t)(buf[pos + 1] << 8 | buf[pos + 2]);

		if (buf[pos] == 5 && n == ID_LEN && pos + 3 + n <= len)
			return buf + pos + 3;
		pos += 3 + n;
	}
	return NULL;
}

/* One message with its descriptor. 1: got it; 0: nothing there; -1: the sender has gone. */
static int receive(int sock, uint8_t id[ID_LEN], int *fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	uint8_t buf[1024];
	struct iovec iov = {.iov_base = buf, .iov_len = sizeof(buf)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	ssize_t n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	const struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	const uint8_t *found;

	if (n <= 0)
		return n < 0 && errno == EAGAIN ? 0 : -1;
	found = find_id(buf, (size_t)n);
	if (found == NULL || c == NULL || c->cmsg_type != SCM_RIGHTS)
		die(0, "a message without", "id or descriptor");
	memcpy(id, found, ID_LEN);
	memcpy(fd, CMSG_DATA(c), sizeof(*fd));
	return 1;
}

/* Adopts what is there; the answers go out in one packet before any of it is read. */
static void on_control(struct watch *w, uint32_t events)
{
	struct control *c = container_of(w, struct control, watch);
	uint8_t answers[PACKETS * (1 + ID_LEN)];
	int fds[PACKETS];
	size_t n = 0;
	int got = 0;

	(void)events;
	while (n < PACKETS && (got = receive(w->fd, answers + n * (1 + ID_LEN) + 1, &fds[n])) > 0) {
		answers[n * (1 + ID_LEN)] = 'A';
		n++;
	}
	if (n > 0 && send(w->fd, answers, n * (1 + ID_LEN), MSG_NOSIGNAL) < 0)
		die(errno, "cannot answer", "the shim");
	for (size_t i = 0; i < n; i++)
		serve_new(c->serve, fds[i]);
	if (got < 0)
		die(0, "the shim", "has gone");
}

static void on_control_listener(struct watch *w, uint32_t events)
{
	/* A shim of one worker has one; a few more for a shim of several. */
	static struct control controls[16];
	static size_t n;
	struct listener *l = container_of(w, struct listener, watch);
	int fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)events;
	if (fd < 0)
		return;
	if (n == sizeof(controls) / sizeof(controls[0]))
		die(0, "too many", "control connections");
	controls[n] = (struct control){.watch = {.fd = fd, .ready = on_control}, .serve = l->serve};
	net_watch(l->serve->epoll, &controls[n++].watch, EPOLLIN);
}

_Noreturn static void run(const struct load_options *o, int type)
{
	struct net_addr addr = net_parse(o->addr);
	struct serve serve = {
		.epoll = net_loop(),
		.script = o->script,
		.hello_len = o->hello.len,
		.file = o->sendfile ? serve_file() : -1,
		/* What a receiver adopts is TCP. */
		.skip = type == SOCK_STREAM && addr.u.sa.sa_family == AF_UNIX ? 0 : MSG_TRUNC,
	};
	struct listener listener = {
		.watch = {
			.fd = net_listen(&addr, type),
			.ready = type == SOCK_STREAM ? on_listener : on_control_listener,
		},
		.serve = &serve,
	};

	net_watch(serve.epoll, &listener.watch, EPOLLIN);
	puts("{\"ready\": true}");
	fflush(stdout);
	for (;;)
		net_run_once(serve.epoll, -1);
}

void backend_run(const struct load_options *o)
{
	run(o, SOCK_STREAM);
}

void receiver_run(const struct load_options *o)
{
	run(o, SOCK_SEQPACKET);
}
