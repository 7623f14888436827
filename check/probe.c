#include "probe.h"

#include "clock.h"
#include "probe_work.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TICK_MS 100

/* The deadline has come. */
static void give_up(struct probe *p)
{
	switch (p->work->state) {
	case STATE_CONNECTING:
		probe_end(p, PROBE_CONNECT_TIMEOUT);
		break;
	case STATE_HANDSHAKE:
		probe_end(p, PROBE_TLS_TIMEOUT);
		break;
	case STATE_PLAIN_STREAM:
	case STATE_PROCEED:
	case STATE_TALK:
		probe_end(p, PROBE_ANSWER_TIMEOUT);
		break;
	}
}

static bool is_running(const struct probe *p)
{
	return p->work != NULL && p->end == PROBE_WAITING;
}

/* Starts as many as there is room for. */
static void begin_some(struct probe **probes, size_t n)
{
	size_t running = 0;

	for (size_t i = 0; i < n; i++)
		running += is_running(probes[i]);
	for (size_t i = 0; i < n && running < PROBE_PARALLEL; i++) {
		if (probes[i]->end == PROBE_WAITING && probes[i]->work == NULL) {
			probe_begin(probes[i]);
			running += is_running(probes[i]);
		}
	}
}

static size_t poll_some(struct probe **probes, size_t n, struct pollfd *fds, struct probe **polled)
{
	int64_t now = clock_ms();
	size_t n_fds = 0;

	for (size_t i = 0; i < n; i++) {
		if (!is_running(probes[i]))
			continue;
		polled[n_fds] = probes[i];
		fds[n_fds++] = (struct pollfd){.fd = probes[i]->work->fd, .events = probe_events(probes[i], now)};
	}
	return n_fds;
}

void probe_run(struct probe **probes, size_t n, int timeout_ms, void (*tick)(void *arg), void *arg)
{
	struct pollfd fds[PROBE_PARALLEL];
	struct probe *polled[PROBE_PARALLEL];
	int64_t last_tick = 0;
	size_t n_fds;

	for (;;) {
		begin_some(probes, n);
		n_fds = poll_some(probes, n, fds, polled);
		if (n_fds == 0)
			break;
		poll(fds, n_fds, TICK_MS / 2);
		for (size_t i = 0; i < n_fds; i++) {
			probe_step(polled[i], fds[i].revents);
			if (is_running(polled[i]) && clock_ms() - polled[i]->work->begun >= timeout_ms)
				give_up(polled[i]);
		}
		if (tick != NULL && clock_ms() - last_tick >= TICK_MS) {
			last_tick = clock_ms();
			tick(arg);
		}
	}
}

size_t probe_count_ended(struct probe **probes, size_t n)
{
	size_t ended = 0;

	for (size_t i = 0; i < n; i++)
		ended += probes[i]->end != PROBE_WAITING;
	return ended;
}

/* Frees the machinery; what was found stays. */
static void stop(struct probe *p)
{
	struct probe_work *w = p->work;

	if (w == NULL)
		return;
	if (w->fd >= 0)
		close(w->fd);
	tls_free(w->tls);
	stream_free(w->stream);
	free(w->out);
	free(w);
	p->work = NULL;
}

void probe_end(struct probe *p, enum probe_end end)
{
	struct probe_work *w = p->work;

	p->end = end;
	if (w->tls != NULL) {
		p->alert = tls_alert(w->tls);
		if (end == PROBE_TLS_FAILED)
			snprintf(p->error, sizeof(p->error), "%s", tls_error(w->tls));
	}
	if (w->stream != NULL)
		p->stream = *stream_said(w->stream);
	p->answer = w->said_len > 0 ? answer_kind(w->said, w->said_len) : p->answer;
	http_read(w->said, w->said_len, &p->http);
	if (!p->keep || end != PROBE_OK)
		stop(p);
}

void probe_close(struct probe *p)
{
	stop(p);
	cert_free(&p->cert);
}
