#include "explain.h"

#include "capture.h"
#include "hello.h"
#include "relay.h"
#include "route.h"
#include "trace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX ((size_t)256 << 20) /* bytes of a recording; the rest is left out */

static void print_info(const struct hello_info *info)
{
	const uint8_t *name;
	size_t len, pos = 0;

	printf("sni: ");
	if (info->sni_len == 0)
		printf("(none)");
	trace_bytes(info->sni, info->sni_len);
	printf("\nalpn:");
	if (info->alpn_len == 0)
		printf(" (none)");
	while (hello_alpn_next(info, &pos, &name, &len)) {
		putchar(' ');
		trace_bytes(name, len);
	}
	putchar('\n');
}

static void print_route(const struct conf *conf, const struct hello_info *info)
{
	const char *alpn = NULL;
	const struct route *r = info != NULL ? route_find(conf->routes, conf->n_routes, info, &alpn) : NULL;
	char text[ADDR_ENDPOINT_TEXT_MAX];

	if (r == NULL)
		r = &conf->web;
	if (r->target.len == 0) {
		printf("route: %s\n", r->name);
		return;
	}
	printf("route: %s (%s %s)\n", r->name, r->fdpass ? "hand-off to" : "relay to",
	       addr_endpoint_text(&r->target, text));
}

/* What one client has sent first. As much of it counts as the shim would look at. */
static int explain_bytes(const struct conf *conf, const uint8_t *buf, size_t len)
{
	struct hello_info *info = malloc(sizeof(*info));
	const struct hello_info *seen;
	struct hello hello;
	enum hello_status status;
	bool unfinished;

	if (info == NULL)
		return -ENOMEM;
	if (len > RELAY_SCRATCH)
		len = RELAY_SCRATCH;
	status = hello_read(&hello, buf, len, info);
	seen = status == HELLO_OK ? info : NULL;
	unfinished = status == HELLO_NEED_MORE && len < RELAY_SCRATCH;
	printf("verdict: %s\n", hello_status_name(status));
	print_info(info);
	if (unfinished)
		printf("route: (none yet: %zu bytes, and the hello goes on)\n", len);
	else
		print_route(conf, seen);
	puts("\n  byte");
	trace_hello(buf, len);
	if (!unfinished) {
		putchar('\n');
		trace_rules(conf, seen);
	}
	free(info);
	return 0;
}

static int explain_capture(const struct conf *conf, const uint8_t *file, size_t len)
{
	struct capture c;
	char from[ADDR_TEXT_MAX], to[ADDR_TEXT_MAX];
	int err = capture_read(file, len, &c);
	size_t clients = 0;

	for (size_t i = 0; err == 0 && i < c.n; i++) {
		const struct capture_stream *s = &c.streams[i];

		if (!capture_is_client(s))
			continue;
		printf("%sclient: %s to %s, %zu segments, %zu bytes%s\n", clients++ > 0 ? "\n" : "", addr_text(&s->from, from),
		       addr_text(&s->to, to), s->segments, s->len, s->began ? "" : ", recorded from somewhere in the middle");
		err = explain_bytes(conf, s->bytes, s->len);
	}
	if (err == 0 && clients == 0)
		err = -ENOMSG;
	capture_free(&c);
	return err;
}

/* All of a file, FILE_MAX at most. 0; a negative errno. */
static int read_all(FILE *f, uint8_t **ret, size_t *ret_len)
{
	size_t size = RELAY_SCRATCH, len = 0;
	uint8_t *buf = malloc(size), *more;

	while (buf != NULL) {
		len += fread(buf + len, 1, size - len, f);
		if (len < size || size >= FILE_MAX)
			break;
		size *= 2;
		more = realloc(buf, size);
		if (more == NULL)
			free(buf);
		buf = more;
	}
	if (buf == NULL)
		return -ENOMEM;
	if (ferror(f)) {
		free(buf);
		return -EIO;
	}
	*ret = buf;
	*ret_len = len;
	return 0;
}

int explain(const struct conf *conf, const char *path)
{
	FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	uint8_t *buf = NULL;
	size_t len = 0;
	int err = f == NULL ? -errno : read_all(f, &buf, &len);

	if (err == 0)
		err = capture_is(buf, len) ? explain_capture(conf, buf, len) : explain_bytes(conf, buf, len);
	if (f != NULL && f != stdin)
		fclose(f);
	free(buf);
	return err;
}
