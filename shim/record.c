#include "record.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FORMAT "xmpp443-connection "

/* One letter for each enum record_fd. */
static const char fd_letters[RECORD_FDS + 1] = "cbuUdD";

void record_init(struct record *r)
{
	*r = (struct record){0};
	for (int i = 0; i < RECORD_FDS; i++)
		r->fd[i] = -1;
}

static const char *endpoint(const struct addr *a, char *buf, size_t size)
{
	char ip[ADDR_TEXT_MAX];

	if (a->family == AF_UNSPEC)
		return "-";
	snprintf(buf, size, "%s %u", addr_ip_text(a, ip), a->port);
	return buf;
}

size_t record_write(const struct record *r, char *buf, int *fds, size_t *n_fds)
{
	char peer[ADDR_TEXT_MAX], local[ADDR_TEXT_MAX], letters[RECORD_FDS + 1] = "", flags[8] = "-";
	size_t n = 0, f = 0;

	for (size_t i = 0; i < RECORD_FDS; i++) {
		if (r->fd[i] < 0)
			continue;
		fds[n] = r->fd[i];
		letters[n++] = fd_letters[i];
	}
	*n_fds = n;
	if (r->header)
		flags[f++] = 'h';
	if (r->sent)
		flags[f++] = 's';
	if (r->broken[0])
		flags[f++] = 'c';
	if (r->broken[1])
		flags[f++] = 'b';
	return (size_t)snprintf(buf, RECORD_MAX,
				FORMAT "%d\nid=%016" PRIx64 "\nborn=%" PRIu64 "\nused=%" PRIu64
				"\nflags=%s\npeer=%s\nlocal=%s\nroute=%s\nfds=%s\n",
				RECORD_VERSION, r->id, r->born, r->used, flags, endpoint(&r->peer, peer, sizeof(peer)),
				endpoint(&r->local, local, sizeof(local)), r->relay ? r->route : "-", letters);
}

/* Digits only, none too many. */
static bool read_number(const char *s, int base, uint64_t *ret)
{
	uint64_t n = 0;
	size_t len = strlen(s);

	if (len == 0 || len > (base == 16 ? 16 : 19))
		return false;
	for (; *s != '\0'; s++) {
		const char *digits = "0123456789abcdef", *at = strchr(digits, *s);

		if (at == NULL || at - digits >= base)
			return false;
		n = n * (uint64_t)base + (uint64_t)(at - digits);
	}
	*ret = n;
	return true;
}

static bool read_addr(char *s, struct addr *ret)
{
	char *blank = strchr(s, ' ');

	if (strcmp(s, "-") == 0)
		return true;
	if (blank == NULL)
		return false;
	*blank = '\0';
	return addr_parse(s, blank + 1, ret) == 0;
}

static bool read_flags(const char *s, struct record *r)
{
	if (strcmp(s, "-") == 0)
		return true;
	for (; *s != '\0'; s++) {
		bool *flag = *s == 'h' ? &r->header : *s == 's' ? &r->sent : *s == 'c' ? &r->broken[0]
			   : *s == 'b' ? &r->broken[1] : NULL;

		if (flag == NULL || *flag)
			return false;
		*flag = true;
	}
	return true;
}

static bool read_route(const char *s, struct record *r)
{
	size_t len = strlen(s);

	if (len == 0 || len > ROUTE_NAME_MAX)
		return false;
	r->relay = strcmp(s, "-") != 0;
	if (r->relay)
		memcpy(r->route, s, len + 1);
	return true;
}

static bool read_fds(const char *s, const int *fds, size_t n_fds, struct record *r)
{
	if (strlen(s) != n_fds)
		return false;
	for (size_t i = 0; i < n_fds; i++) {
		const char *at = strchr(fd_letters, s[i]);

		if (at == NULL || r->fd[at - fd_letters] >= 0)
			return false;
		r->fd[at - fd_letters] = fds[i];
	}
	return true;
}

/* The text's lines come in one order, so that none can be missing or there twice. */
static bool read_values(char *text, const int *fds, size_t n_fds, struct record *r)
{
	static const char *const keys[] = {"id=", "born=", "used=", "flags=", "peer=", "local=", "route=", "fds="};
	char *value[sizeof(keys) / sizeof(keys[0])];

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		char *end = strchr(text, '\n');

		if (end == NULL || strncmp(text, keys[i], strlen(keys[i])) != 0)
			return false;
		*end = '\0';
		value[i] = text + strlen(keys[i]);
		text = end + 1;
	}
	return *text == '\0' && read_number(value[0], 16, &r->id) && read_number(value[1], 10, &r->born) &&
	       read_number(value[2], 10, &r->used) && read_flags(value[3], r) && read_addr(value[4], &r->peer) &&
	       read_addr(value[5], &r->local) && read_route(value[6], r) && read_fds(value[7], fds, n_fds, r);
}

/* Do its parts belong together? */
static bool is_whole(const struct record *r)
{
	bool up = r->fd[RECORD_UP_OUT] >= 0, down = r->fd[RECORD_DOWN_OUT] >= 0;

	if (r->fd[RECORD_CLIENT] < 0 || r->peer.family == AF_UNSPEC)
		return false;
	if (!r->relay)
		return r->fd[RECORD_BACKEND] < 0 && !up && !down && r->fd[RECORD_UP_IN] < 0 && r->fd[RECORD_DOWN_IN] < 0 &&
		       !r->broken[0] && !r->broken[1];
	return r->fd[RECORD_BACKEND] >= 0 && up == (r->fd[RECORD_UP_IN] >= 0) && down == (r->fd[RECORD_DOWN_IN] >= 0) &&
	       !r->header && !r->sent;
}

int record_read(const char *text, size_t len, const int *fds, size_t n_fds, struct record *ret)
{
	char copy[RECORD_MAX], first[sizeof(FORMAT) + 12];
	size_t first_len = (size_t)snprintf(first, sizeof(first), FORMAT "%d\n", RECORD_VERSION);
	struct record r;

	if (len < first_len || memcmp(text, first, first_len) != 0)
		return -EPROTONOSUPPORT;
	if (len >= sizeof(copy) || memchr(text, '\0', len) != NULL)
		return -EBADMSG;
	memcpy(copy, text, len);
	copy[len] = '\0';
	record_init(&r);
	if (!read_values(copy + first_len, fds, n_fds, &r) || !is_whole(&r))
		return -EBADMSG;
	*ret = r;
	return 0;
}

void record_close(struct record *r)
{
	for (int i = 0; i < RECORD_FDS; i++) {
		if (r->fd[i] >= 0)
			close(r->fd[i]);
		r->fd[i] = -1;
	}
}
