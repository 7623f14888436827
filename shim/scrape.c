#include "scrape.h"

#include "http.h"
#include "list.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS_MAX 8
#define REQUEST_MAX 4096
#define DEADLINE_MS 5000 /* for all of a connection */
#define PAUSE_MS    1000 /* after an accept that failed for want of descriptors or memory */

struct scrape {
	struct loop *loop;
	scrape_writer writer;
	void *arg;
	struct addr_endpoint addr;
	struct loop_watch listener; /* fd -1: none */
	struct loop_timer pause;
	struct list clients;
	unsigned n;
};

struct client {
	struct scrape *scrape;
	struct list link;
	struct loop_watch watch;
	struct loop_timer deadline;
	size_t len;          /* of the request, so far */
	char *answer;        /* NULL while the request is being read */
	size_t left;         /* of the answer, from its end */
	size_t answer_len;
	char request[REQUEST_MAX];
};

static void start_accepting(struct scrape *s)
{
	if (s->listener.fd < 0 || s->listener.watched || s->pause.place != 0 || s->n == CLIENTS_MAX)
		return;
	if (loop_add(s->loop, &s->listener, EPOLLIN) < 0)
		loop_timer_set(s->loop, &s->pause, PAUSE_MS);
}

static void on_pause_over(struct loop_timer *t)
{
	start_accepting(container_of(t, struct scrape, pause));
}

static void end(struct client *c)
{
	struct scrape *s = c->scrape;

	loop_del(s->loop, &c->watch);
	loop_timer_unset(s->loop, &c->deadline);
	close(c->watch.fd);
	list_remove(&c->link);
	free(c->answer);
	free(c);
	s->n--;
	start_accepting(s);
}

static void on_deadline(struct loop_timer *t)
{
	end(container_of(t, struct client, deadline));
}

/* The document, or NULL: no memory. */
static char *write_document(struct scrape *s, bool openmetrics, size_t *ret_len)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, ret_len);
	bool failed;

	if (out == NULL)
		return NULL;
	s->writer(s->arg, out, openmetrics);
	failed = ferror(out) != 0;
	if (fclose(out) == 0 && !failed)
		return text;
	free(text);
	return NULL;
}

/* Puts head and body together. body may be NULL, and only its length be told. False: no memory. */
static bool answer(struct client *c, const char *status, const char *type, const char *body, size_t len)
{
	FILE *out = open_memstream(&c->answer, &c->answer_len);
	bool failed;

	if (out == NULL)
		return false;
	fprintf(out, "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n%s\r\n", status, type, len,
		strncmp(status, "405", 3) == 0 ? "Allow: GET, HEAD\r\n" : "");
	if (body != NULL)
		fwrite(body, 1, len, out);
	failed = ferror(out) != 0;
	if (fclose(out) != 0 || failed) {
		free(c->answer);
		c->answer = NULL;
		return false;
	}
	c->left = c->answer_len;
	return true;
}

static bool refuse(struct client *c, const char *status)
{
	return answer(c, status, "text/plain", "", 0);
}

/* What the request deserves. False: no memory. */
static bool make_answer(struct client *c, const struct http_request *r)
{
	static const char path[] = "/metrics";
	char *document;
	size_t len;
	bool made;

	if (!r->get && !r->head)
		return refuse(c, "405 Method Not Allowed");
	if (r->path_len != sizeof(path) - 1 || memcmp(r->path, path, r->path_len) != 0)
		return refuse(c, "404 Not Found");
	document = write_document(c->scrape, r->openmetrics, &len);
	if (document == NULL)
		return false;
	made = answer(c, "200 OK",
		      r->openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
				     : "text/plain; version=0.0.4; charset=utf-8",
		      r->get ? document : NULL, len);
	free(document);
	return made;
}

/* Reads on. False: the client is to be ended. */
static bool read_request(struct client *c)
{
	struct http_request r;
	ssize_t n = recv(c->watch.fd, c->request + c->len, sizeof(c->request) - c->len, 0);

	if (n <= 0)
		return n < 0 && errno == EAGAIN;
	c->len += (size_t)n;
	switch (http_read(c->request, c->len, &r)) {
	case HTTP_OK:
		return make_answer(c, &r);
	case HTTP_MALFORMED:
		return refuse(c, "400 Bad Request");
	case HTTP_NEED_MORE:
		return c->len < sizeof(c->request) || refuse(c, "431 Request Header Fields Too Large");
	}
	return false;
}

/*
 * Writes on; after that, reads to the end: a socket that is closed with
 * something unread resets, and the answer may be lost with it. False: the client is to be ended.
 */
static bool write_answer(struct client *c)
{
	ssize_t n = 0;

	while (c->left > 0 && n >= 0) {
		n = send(c->watch.fd, c->answer + c->answer_len - c->left, c->left, MSG_NOSIGNAL);
		if (n > 0)
			c->left -= (size_t)n;
	}
	if (n < 0)
		return errno == EAGAIN && loop_again(c->scrape->loop, &c->watch, EPOLLOUT) == 0;
	return shutdown(c->watch.fd, SHUT_WR) == 0 && loop_again(c->scrape->loop, &c->watch, EPOLLIN) == 0;
}

static void on_client(struct loop_watch *w, uint32_t events)
{
	struct client *c = container_of(w, struct client, watch);
	bool goes_on;

	(void)events; /* errors and hang-ups show up in recv() and send() */
	if (c->answer == NULL) {
		goes_on = read_request(c);
		if (goes_on && c->answer != NULL)
			goes_on = write_answer(c);
	} else if (c->left > 0) {
		goes_on = write_answer(c);
	} else {
		ssize_t n = recv(w->fd, c->request, sizeof(c->request), 0);

		goes_on = n > 0 || (n < 0 && errno == EAGAIN);
	}
	if (!goes_on)
		end(c);
}

static int add_client(struct scrape *s, int fd)
{
	struct client *c = calloc(1, sizeof(*c));
	int err;

	if (c == NULL) {
		close(fd);
		return -ENOMEM;
	}
	c->scrape = s;
	c->watch = (struct loop_watch){.fd = fd, .ready = on_client};
	c->deadline.expired = on_deadline;
	list_add_last(&s->clients, &c->link);
	s->n++;
	err = loop_timer_set(s->loop, &c->deadline, DEADLINE_MS);
	if (err == 0)
		err = loop_add(s->loop, &c->watch, EPOLLIN);
	if (err < 0)
		end(c);
	return err;
}

static void on_listener(struct loop_watch *w, uint32_t events)
{
	struct scrape *s = container_of(w, struct scrape, listener);
	int fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), err;

	(void)events;
	err = fd < 0 ? -errno : add_client(s, fd);
	if (err == -EMFILE || err == -ENFILE || err == -ENOBUFS || err == -ENOMEM || err == -ENOSPC) {
		loop_del(s->loop, w);
		if (loop_timer_set(s->loop, &s->pause, PAUSE_MS) < 0)
			start_accepting(s);
	} else if (s->n == CLIENTS_MAX) {
		loop_del(s->loop, w);
	}
}

int scrape_new(struct loop *loop, scrape_writer writer, void *arg, struct scrape **ret)
{
	struct scrape *s = malloc(sizeof(*s));

	if (s == NULL)
		return -ENOMEM;
	*s = (struct scrape){
		.loop = loop,
		.writer = writer,
		.arg = arg,
		.listener = {.fd = -1, .ready = on_listener},
		.pause = {.expired = on_pause_over},
	};
	list_init(&s->clients);
	*ret = s;
	return 0;
}

void scrape_free(struct scrape *s)
{
	struct list *next;

	if (s == NULL)
		return;
	scrape_use(s, -1, NULL);
	for (struct list *l = s->clients.next; l != &s->clients; l = next) {
		next = l->next;
		end(container_of(l, struct client, link));
	}
	loop_timer_unset(s->loop, &s->pause);
	free(s);
}

void scrape_use(struct scrape *s, int fd, const struct addr_endpoint *e)
{
	if (s->listener.fd >= 0) {
		loop_del(s->loop, &s->listener);
		scrape_discard(&s->addr, s->listener.fd);
	}
	s->listener.fd = fd;
	if (fd >= 0) {
		s->addr = *e;
		start_accepting(s);
	}
}
