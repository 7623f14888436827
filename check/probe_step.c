#include "probe_work.h"

#include "clock.h"
#include "mem.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RECORD_HEADER 5
#define RECORD_CUT 100  /* bytes of the hello in each record */
#define PAUSE_MS 100    /* between the pieces of a hello */

/* Where a hello is cut into segments: within the record's header, and soon after it. */
static const size_t cuts[] = {3, 60};

static int step_took(struct probe_work *w)
{
	int64_t now = clock_ms();
	int ms = (int)(now - w->step_begun);

	w->step_begun = now;
	return ms;
}

static void queue(struct probe_work *w, const void *bytes, size_t len)
{
	w->out = mem_grow(w->out, w->out_len + len + 1, 1);
	memcpy(w->out + w->out_len, bytes, len);
	w->out_len += len;
}

/* The message in one record becomes the same in many, RFC 8446 section 5.1. */
static void queue_in_records(struct probe_work *w, const uint8_t *record, size_t len)
{
	uint8_t header[RECORD_HEADER];

	memcpy(header, record, RECORD_HEADER);
	for (size_t pos = RECORD_HEADER; pos < len; pos += RECORD_CUT) {
		size_t n = len - pos < RECORD_CUT ? len - pos : RECORD_CUT;

		header[3] = 0;
		header[4] = (uint8_t)n;
		queue(w, header, sizeof(header));
		queue(w, record + pos, n);
	}
}

/* What TLS has to say goes to out. */
static void queue_tls(struct probe *p)
{
	struct probe_work *w = p->work;
	uint8_t buf[16384];
	size_t n;

	while ((n = tls_take(w->tls, buf, sizeof(buf))) > 0) {
		if (!w->hello_taken && p->shape == PROBE_SHAPE_RECORDS && n > RECORD_HEADER)
			queue_in_records(w, buf, n);
		else
			queue(w, buf, n);
		if (!w->hello_taken && p->shape != PROBE_SHAPE_SEGMENTS)
			w->cuts = sizeof(cuts) / sizeof(cuts[0]);
		w->hello_taken = true;
	}
}

/* Says text, in TLS or not. */
static void say(struct probe *p, const char *text)
{
	struct probe_work *w = p->work;

	if (w->tls == NULL) {
		queue(w, text, strlen(text));
		return;
	}
	tls_write(w->tls, text, strlen(text));
	queue_tls(p);
}

static void say_stream_header(struct probe *p)
{
	char *text = mem_printf("<?xml version='1.0'?><stream:stream to='%s' version='1.0' xml:lang='en' xmlns='%s' "
				"xmlns:stream='http://etherx.jabber.org/streams'>", p->domain, p->xmlns);

	stream_free(p->work->stream);
	p->work->stream = stream_new();
	p->work->said_len = 0;
	say(p, text);
	free(text);
}

static void say_get(struct probe *p)
{
	char *text = mem_printf("GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: xmpp443-check\r\nAccept: */*\r\n"
				"Connection: close\r\n\r\n", p->path != NULL ? p->path : "/", p->sni);

	say(p, text);
	free(text);
}

static void begin_talk(struct probe *p)
{
	struct probe_work *w = p->work;

	w->state = STATE_TALK;
	switch (p->talk) {
	case PROBE_TALK_NONE:
		probe_end(p, PROBE_OK);
		return;
	case PROBE_TALK_STREAM:
		say_stream_header(p);
		return;
	case PROBE_TALK_HTTP1:
		say_get(p);
		return;
	case PROBE_TALK_HTTP2: { /* RFC 9113 section 3.4: the preface, and SETTINGS without settings */
		static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";

		tls_write(w->tls, preface, sizeof(preface));
		queue_tls(p);
		return;
	}
	}
}

static void go_on_with_handshake(struct probe *p)
{
	struct probe_work *w = p->work;
	enum tls_status status = tls_handshake(w->tls);

	queue_tls(p);
	if (status == TLS_AGAIN)
		return;
	p->tls_ms = step_took(w);
	if (status == TLS_FAILED) {
		probe_end(p, PROBE_TLS_FAILED);
		return;
	}
	snprintf(p->version, sizeof(p->version), "%s", tls_version(w->tls));
	tls_alpn(w->tls, p->chosen, sizeof(p->chosen));
	tls_cert(w->tls, &p->cert);
	begin_talk(p);
}

static void begin_tls(struct probe *p)
{
	struct probe_work *w = p->work;
	struct tls_wants wants = {.sni = p->sni, .alpn = p->alpn, .big = p->shape == PROBE_SHAPE_BIG,
				  .name = p->domain, .service = p->service};

	w->state = STATE_HANDSHAKE;
	w->tls = tls_new(&wants);
	if (w->tls == NULL) {
		snprintf(p->error, sizeof(p->error), "the name does not fit into TLS");
		probe_end(p, PROBE_TLS_FAILED);
		return;
	}
	go_on_with_handshake(p);
}

void probe_begin(struct probe *p)
{
	struct probe_work *w = mem_new(sizeof(*w));
	int one = 1;

	p->work = w;
	p->alert = p->connect_ms = p->tls_ms = p->answer_ms = -1;
	p->http.date = -1;
	w->begun = w->step_begun = clock_ms();
	w->fd = socket(p->to.u.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (w->fd >= 0 && p->to.u.sa.sa_family != AF_UNIX)
		setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* a segment for each piece */
	if (w->fd < 0 || (p->from.len > 0 && bind(w->fd, &p->from.u.sa, p->from.len) < 0) ||
	    (connect(w->fd, &p->to.u.sa, p->to.len) < 0 && errno != EINPROGRESS)) {
		p->err = errno;
		p->no_way = p->err == ENETUNREACH || p->err == EADDRNOTAVAIL || p->err == EAFNOSUPPORT;
		probe_end(p, PROBE_CONNECT_FAILED);
	}
}

static void connected(struct probe *p)
{
	struct probe_work *w = p->work;
	socklen_t len = sizeof(p->err);

	getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &p->err, &len);
	if (p->err != 0) {
		probe_end(p, PROBE_CONNECT_FAILED);
		return;
	}
	p->connect_ms = step_took(w);
	p->local.len = sizeof(p->local.u);
	getsockname(w->fd, &p->local.u.sa, &p->local.len);
	if (p->prefix_len > 0)
		queue(w, p->prefix, p->prefix_len);
	switch (p->tls) {
	case PROBE_TLS_NO:
		begin_talk(p);
		break;
	case PROBE_TLS_AT_ONCE:
		begin_tls(p);
		break;
	case PROBE_TLS_STARTTLS:
		w->state = STATE_PLAIN_STREAM;
		say_stream_header(p);
		break;
	}
}

/* Has the server said all that is of interest? */
static bool said_enough(const struct probe *p)
{
	const struct probe_work *w = p->work;
	struct http_said http;

	switch (answer_kind(w->said, w->said_len)) {
	case ANSWER_NONE:
		return false;
	case ANSWER_XMPP:
		return stream_said(w->stream)->features || stream_said(w->stream)->error;
	case ANSWER_HTTP:
		return http_read(w->said, w->said_len, &http);
	case ANSWER_HTTP2:
	case ANSWER_TLS:
		return true;
	case ANSWER_OTHER:
		break;
	}
	return w->said_len >= 64; /* enough to know that it is nothing we know */
}

/* More text of the server, out of TLS or not. */
static void heard(struct probe *p, const char *text, size_t len)
{
	struct probe_work *w = p->work;
	size_t n = len < sizeof(w->said) - w->said_len ? len : sizeof(w->said) - w->said_len;

	memcpy(w->said + w->said_len, text, n);
	w->said_len += n;
	if (w->stream == NULL)
		w->stream = stream_new();
	if (!stream_feed(w->stream, text, len) && answer_kind(w->said, w->said_len) == ANSWER_XMPP) {
		probe_end(p, PROBE_ANSWER_CLOSED); /* no proper XML */
		return;
	}
	if (w->state == STATE_PROCEED) {
		if (stream_said(w->stream)->proceed)
			begin_tls(p);
		return;
	}
	if (!said_enough(p))
		return;
	p->answer_ms = step_took(w);
	if (w->state == STATE_PLAIN_STREAM && !stream_said(w->stream)->starttls) {
		probe_end(p, PROBE_NO_STARTTLS);
	} else if (w->state == STATE_PLAIN_STREAM) {
		w->state = STATE_PROCEED;
		say(p, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
	} else {
		probe_end(p, PROBE_OK);
	}
}

static void heard_in_tls(struct probe *p)
{
	char text[4096];
	bool end = false;
	size_t n;

	while (p->end == PROBE_WAITING && (n = tls_read(p->work->tls, text, sizeof(text), &end)) > 0)
		heard(p, text, n);
	if (p->end == PROBE_WAITING && end)
		probe_end(p, PROBE_ANSWER_CLOSED);
}

static void received(struct probe *p, const char *bytes, size_t len)
{
	struct probe_work *w = p->work;

	if (w->tls == NULL) {
		heard(p, bytes, len);
		return;
	}
	tls_put(w->tls, (const uint8_t *)bytes, len);
	if (w->state == STATE_HANDSHAKE) {
		/* What is not TLS may be an answer in plain text, worth a look. */
		if (w->said_len == 0 && p->tls == PROBE_TLS_AT_ONCE) {
			w->said_len = len < sizeof(w->said) ? len : sizeof(w->said);
			memcpy(w->said, bytes, w->said_len);
		}
		go_on_with_handshake(p);
		if (p->end == PROBE_WAITING && w->state == STATE_TALK && w->stream == NULL)
			w->said_len = 0;
	}
	if (p->end == PROBE_WAITING && w->state == STATE_TALK)
		heard_in_tls(p);
}

/* The connection is over: by an orderly end, or err. */
static void closed(struct probe *p, int err)
{
	p->err = err;
	probe_end(p, p->work->state == STATE_HANDSHAKE ? PROBE_TLS_CLOSED : PROBE_ANSWER_CLOSED);
}

static void read_some(struct probe *p)
{
	char buf[16384];
	ssize_t n = recv(p->work->fd, buf, sizeof(buf), 0);

	if (n > 0)
		received(p, buf, (size_t)n);
	else if (n == 0)
		closed(p, 0);
	else if (errno != EAGAIN && errno != EINTR)
		closed(p, errno);
}

/* A cut hello goes out in pieces, with a pause after each. */
static void write_some(struct probe *p)
{
	struct probe_work *w = p->work;
	size_t end = w->out_len;
	ssize_t n;

	if (w->tls != NULL && w->cuts < sizeof(cuts) / sizeof(cuts[0]) && p->prefix_len + cuts[w->cuts] < end)
		end = p->prefix_len + cuts[w->cuts];
	n = send(w->fd, w->out + w->out_sent, end - w->out_sent, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		int err = errno;

		/* What the server said before it hung up counts more. */
		read_some(p);
		if (p->end == PROBE_WAITING)
			closed(p, err);
		return;
	}
	if (n > 0)
		w->out_sent += (size_t)n;
	if (w->out_sent == w->out_len) {
		w->out_sent = w->out_len = 0;
		w->cuts = sizeof(cuts) / sizeof(cuts[0]);
	} else if (w->out_sent == end) {
		w->cuts++;
		w->resume = clock_ms() + PAUSE_MS;
	}
}

short probe_events(const struct probe *p, int64_t now)
{
	const struct probe_work *w = p->work;

	if (w->state == STATE_CONNECTING)
		return POLLOUT;
	return w->out_sent < w->out_len && now >= w->resume ? POLLIN | POLLOUT : POLLIN;
}

void probe_step(struct probe *p, short revents)
{
	if (p->work->state == STATE_CONNECTING) {
		if (revents != 0)
			connected(p);
		return;
	}
	if (revents & (POLLIN | POLLHUP | POLLERR))
		read_some(p);
	if (p->end == PROBE_WAITING && (revents & POLLOUT))
		write_some(p);
}
