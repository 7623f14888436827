#include "explain.h"

#include "hello.h"
#include "relay.h"
#include "route.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a stranger sent must not reach the terminal raw. */
static void print_bytes(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (bytes[i] > ' ' && bytes[i] < 0x7f && bytes[i] != '\\')
			putchar(bytes[i]);
		else
			printf("\\x%02x", bytes[i]);
}

static void print_info(const struct hello_info *info)
{
	const uint8_t *name;
	size_t len, pos = 0;

	printf("sni: ");
	if (info->sni_len == 0)
		printf("(none)");
	print_bytes(info->sni, info->sni_len);
	printf("\nalpn:");
	if (info->alpn_len == 0)
		printf(" (none)");
	while (hello_alpn_next(info, &pos, &name, &len)) {
		putchar(' ');
		print_bytes(name, len);
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

int explain(const struct conf *conf, const char *path)
{
	FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	struct hello hello;
	struct hello_info *info = malloc(sizeof(*info));
	uint8_t *buf = malloc(RELAY_SCRATCH);
	enum hello_status status;
	size_t len;
	int err = 0;

	if (f == NULL || info == NULL || buf == NULL) {
		err = f == NULL ? -errno : -ENOMEM;
		goto out;
	}
	len = fread(buf, 1, RELAY_SCRATCH, f);
	if (ferror(f)) {
		err = -EIO;
		goto out;
	}

	status = hello_read(&hello, buf, len, info);
	printf("verdict: %s\n", hello_status_name(status));
	print_info(info);
	if (status == HELLO_NEED_MORE && len < RELAY_SCRATCH)
		printf("route: (none yet: %zu bytes, and the hello goes on)\n", len);
	else
		print_route(conf, status == HELLO_OK ? info : NULL);
out:
	if (f != NULL && f != stdin)
		fclose(f);
	free(info);
	free(buf);
	return err;
}
