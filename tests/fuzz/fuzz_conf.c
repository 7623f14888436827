/* The config file, and the rules that come out of it. */

#include "../../shim/conf.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define DAY_MS 86400000u

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int file = -1;
static char file_name[40];

static struct hello_info infos[12];
static size_t n_infos;

static void add_info(const char *sni, const char *alpn)
{
	struct hello_info *info = &infos[n_infos++];

	assert(n_infos <= sizeof(infos) / sizeof(infos[0]));
	info->sni_len = strlen(sni);
	memcpy(info->sni, sni, info->sni_len);
	info->alpn_len = strlen(alpn);
	memcpy(info->alpn, alpn, info->alpn_len);
}

static void make_infos(void)
{
	struct hello_info *info;

	add_info("", "");
	add_info("", "\013xmpp-client");
	add_info("example.org", "\013xmpp-server");
	add_info("CHAT.Example.ORG", "");
	add_info("chat.example.org.", "\002h2\010http/1.1");
	add_info(".", "\001a");
	add_info("a\xff b", "\004none");
	add_info("*.example.org", "\002h2\013xmpp-client");

	info = &infos[n_infos++]; /* as long as they can be */
	info->sni_len = sizeof(info->sni);
	memset(info->sni, 'a', sizeof(info->sni));
	info->alpn_len = sizeof(info->alpn);
	memset(info->alpn, 255, sizeof(info->alpn));

	info = &infos[n_infos++]; /* 64 names of 255 bytes, a label of 63 */
	info->sni_len = 64;
	memset(info->sni, 'a', 63);
	info->sni[63] = '.';
	info->alpn_len = (size_t)64 * 256;
	memset(info->alpn, 255, info->alpn_len);
	for (size_t i = 0; i < info->alpn_len; i++)
		if (i % 256 != 0)
			info->alpn[i] = 'a';
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	make_infos();
	file = memfd_create("shim.conf", MFD_CLOEXEC);
	assert(file >= 0);
	snprintf(file_name, sizeof(file_name), "/proc/self/fd/%d", file);
	return 0;
}

static void write_file(const uint8_t *data, size_t size)
{
	assert(ftruncate(file, 0) == 0);
	assert(pwrite(file, data, size, 0) == (ssize_t)size);
}

static unsigned count_lines(const uint8_t *data, size_t size)
{
	unsigned lines = size > 0 && data[size - 1] != '\n';

	for (size_t i = 0; i < size; i++)
		lines += data[i] == '\n';
	return lines;
}

static void check_error(const struct conf_error *err, unsigned lines)
{
	assert(err->line <= lines);
	assert(memchr(err->text, '\0', sizeof(err->text)) != NULL);
	assert(err->text[0] != '\0');
}

static void check_endpoint(const struct addr_endpoint *e)
{
	char text[ADDR_ENDPOINT_TEXT_MAX];
	struct addr_endpoint again;

	assert(e->len > sizeof(sa_family_t) && e->len <= sizeof(e->u));
	assert(addr_parse_endpoint(addr_endpoint_text(e, text), &again) == 0);
	/* ::ffff:192.0.2.1 is written as 192.0.2.1, which reads as IPv4. */
	assert(addr_endpoint_equal(e, &again) ||
	       (e->u.sa.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&e->u.in6.sin6_addr)));
}

static void check_sni(const char *name)
{
	const char *host = strncmp(name, "*.", 2) == 0 ? name + 2 : name;
	size_t len = strlen(host);

	assert(len > 0 && len <= 253 && host[len - 1] != '.');
	assert(route_is_hostname((const uint8_t *)host, len));
	for (; *host != '\0'; host++)
		assert(!isupper((unsigned char)*host));
}

static void check_route(const struct route *r)
{
	assert(strlen(r->name) >= 1 && strlen(r->name) <= ROUTE_NAME_MAX);
	assert(r->alpn.n <= 256 && r->sni.n <= 256);
	for (size_t i = 0; i < r->alpn.n; i++)
		assert(strlen(r->alpn.v[i]) >= 1 && strlen(r->alpn.v[i]) <= 255);
	for (size_t i = 0; i < r->sni.n; i++)
		check_sni(r->sni.v[i]);
	assert(r->pp == PP2_NONE || r->pp == PP2_V1 || r->pp == PP2_V2);
	assert(r->hold_ms <= DAY_MS);
	if (r->target.len > 0)
		check_endpoint(&r->target);
	assert(!r->fdpass || r->target.u.sa.sa_family == AF_UNIX);
}

static void check_conf(const struct conf *c)
{
	assert(c->n_listen <= CONF_LISTEN_MAX && c->n_routes <= CONF_ROUTES_MAX);
	assert(c->workers <= CONF_WORKERS_MAX);
	assert(c->hello_timeout_ms >= 1 && c->hello_timeout_ms <= DAY_MS);
	assert(c->connect_timeout_ms >= 1 && c->connect_timeout_ms <= DAY_MS);
	assert(c->max_connections >= 1 && c->max_connections <= CONF_CONNECTIONS_MAX);
	assert(c->max_pending_per_ip >= 1);
	assert(c->log_level >= LOG_LEVEL_ERROR && c->log_level <= LOG_LEVEL_DEBUG);
	for (size_t i = 0; i < c->n_listen; i++) {
		assert(c->listen[i].u.sa.sa_family != AF_UNIX);
		check_endpoint(&c->listen[i]);
	}
	for (size_t i = 0; i < c->n_routes; i++) {
		check_route(&c->routes[i]);
		for (size_t k = 0; k < i; k++)
			assert(strcmp(c->routes[i].name, c->routes[k].name) != 0);
	}
	check_route(&c->web);
	assert(!c->web.fdpass && c->web.alpn.n == 0 && c->web.sni.n == 0 && !c->web.alpn_none);
}

static bool offered(const struct hello_info *info, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < info->alpn_len; i += 1 + (size_t)info->alpn[i])
		if (info->alpn[i] == len && info->alpn_len - i > len && memcmp(info->alpn + i + 1, name, len) == 0)
			return true;
	return false;
}

/* Of the protocols only: does any rule before r match as well? */
static void check_match(const struct conf *c, const struct route *r, const char *alpn, const struct hello_info *info)
{
	if (r == NULL) {
		assert(alpn == NULL);
		return;
	}
	assert(r >= c->routes && r < c->routes + c->n_routes);
	if (alpn != NULL) {
		bool listed = false;

		for (size_t i = 0; i < r->alpn.n; i++)
			listed = listed || r->alpn.v[i] == alpn;
		assert(listed && offered(info, alpn));
	} else {
		assert(r->alpn.n == 0 || (r->alpn_none && info->alpn_len == 0));
	}
	for (const struct route *before = c->routes; before < r; before++) {
		bool any = before->alpn.n == 0 && !before->alpn_none;

		for (size_t i = 0; i < before->alpn.n; i++)
			any = any || offered(info, before->alpn.v[i]);
		assert(before->sni.n > 0 || !any);
	}
}

static void check_find(const struct conf *c)
{
	for (size_t i = 0; i < n_infos; i++) {
		const char *alpn = "";

		check_match(c, route_find(c->routes, c->n_routes, &infos[i], &alpn), alpn, &infos[i]);
	}
}

/* The length of the first n lines. */
static size_t first_lines(const uint8_t *data, size_t size, unsigned n)
{
	size_t i = 0;

	for (; i < size && n > 0; i++)
		n -= data[i] == '\n';
	return i;
}

static int read_start(const uint8_t *data, size_t size, struct conf_error *err)
{
	struct conf *c = conf_new();
	int ret;

	assert(c != NULL);
	write_file(data, size);
	ret = conf_read(c, file_name, err);
	conf_unref(c);
	return ret;
}

/* The line that is named is the first bad one: without it all is well, and what follows does not matter. */
static void check_error_line(const uint8_t *data, size_t size, const struct conf_error *err)
{
	struct conf_error other;

	assert(read_start(data, first_lines(data, size, err->line - 1), &other) == 0);
	assert(read_start(data, first_lines(data, size, err->line), &other) == -EINVAL);
	assert(other.line == err->line && strcmp(other.text, err->text) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned lines = count_lines(data, size);
	struct conf_error err = {.line = ~0u};
	struct conf *c = conf_new();
	int ret;

	assert(c != NULL);
	write_file(data, size);

	ret = conf_read(c, file_name, &err);
	assert(ret == 0 || ret == -EINVAL);
	if (ret < 0) {
		check_error(&err, lines);
		assert(err.line > 0);
		check_error_line(data, size, &err);
	} else {
		assert(err.line == 0);
		assert(memchr(data, '\0', size) == NULL); /* it would hide the rest of its line */
		check_conf(c);
		check_find(c);
		for (int passed = 0; passed <= 1; passed++) {
			memset(&err, 0, sizeof(err));
			ret = conf_check(c, passed, &err);
			assert(ret == 0 || ret == -EINVAL);
			if (ret < 0)
				check_error(&err, 0);
			else
				assert((passed || c->n_listen > 0) && c->web.target.len > 0);
		}
	}
	conf_unref(c);
	return 0;
}
