/* A connection from a proxy, up to the end of the header that the proxy puts
 * ahead of the client's bytes. Those are left in the socket, all of them. */
#include "fdpass.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy.h"

#define PROXIED_MT "fdpass{proxied}"

struct proxied {
	int fd; /* -1 once it was closed or given to a client */
	size_t have;
	uint8_t header[PROXY_MAX]; /* what has been read of it */
};

static struct proxied *check_proxied(lua_State *L)
{
	return luaL_checkudata(L, 1, PROXIED_MT);
}

/* fdpass.proxied(fd) -> proxied
 * Takes the connected TCP socket fd over, of which nothing has been read. */
int proxied_new(lua_State *L)
{
	lua_Integer fd = luaL_checkinteger(L, 1);
	struct proxied *p;

	luaL_argcheck(L, fd >= 0 && fd <= 0x7fffffff, 1, "not a descriptor");
	p = lua_newuserdata(L, sizeof(*p));
	p->fd = -1;
	p->have = 0;
	luaL_setmetatable(L, PROXIED_MT);

	p->fd = (int)fd;
	fcntl(p->fd, F_SETFD, FD_CLOEXEC);
	fcntl(p->fd, F_SETFL, O_NONBLOCK);
	return 1;
}

/* Takes n bytes that have been seen already. Returns 0 or a negative errno. */
static int take_seen(struct proxied *p, size_t n)
{
	ssize_t got;

	do
		got = recv(p->fd, p->header + p->have, n, 0);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	p->have += n;
	return (size_t)got == n ? 0 : -EBADMSG; /* TCP urgent data in between: no proxy sends it */
}

static int push_result(lua_State *L, const char *what)
{
	lua_pushnil(L);
	lua_pushstring(L, what);
	return 2;
}

static int push_failure(lua_State *L, int err)
{
	if (err == EAGAIN || err == EWOULDBLOCK)
		return push_result(L, "timeout");
	if (err == ECONNRESET || err == ENOTCONN)
		return push_result(L, "closed");
	lua_pushnil(L);
	lua_pushliteral(L, "invalid");
	lua_pushstring(L, strerror(err));
	return 3;
}

static struct v2_addr from_kernel(const struct sockaddr_storage *ss)
{
	const struct sockaddr_in *in = (const void *)ss;
	const struct sockaddr_in6 *in6 = (const void *)ss;

	if (ss->ss_family == AF_INET)
		return v2_make_addr(AF_INET, (const void *)&in->sin_addr, (const void *)&in->sin_port);
	return v2_make_addr(AF_INET6, (const void *)&in6->sin6_addr, (const void *)&in6->sin6_port);
}

/* Returns 0 or a negative errno. */
static int kernel_addrs(int fd, struct v2_addr *ret_source, struct v2_addr *ret_dest)
{
	struct sockaddr_storage peer = {0}, own = {0};
	socklen_t peer_len = sizeof(peer), own_len = sizeof(own);

	if (getpeername(fd, (struct sockaddr *)&peer, &peer_len) < 0 ||
	    getsockname(fd, (struct sockaddr *)&own, &own_len) < 0)
		return -errno;
	*ret_source = from_kernel(&peer);
	*ret_dest = from_kernel(&own);
	return 0;
}

static void push_meta(lua_State *L, const struct client *s, const struct proxy *header)
{
	lua_createtable(L, 0, 7);
	if (header->alpn != NULL) {
		lua_pushlstring(L, (const char *)header->alpn, header->alpn_len);
		lua_setfield(L, -2, "alpn");
	}
	client_set_addrs(L, &s->source, &s->dest);
	lua_pushboolean(L, !header->has_addrs);
	lua_setfield(L, -2, "unproxied");
}

/* proxied:receive() -> client, meta
 *                    | nil, "timeout"         the header has not come completely
 *                    | nil, "closed"          the proxy has gone
 *                    | nil, "invalid", reason
 * client is the adopted socket, from which exactly the header has been read;
 * proxied is empty afterwards. meta: alpn or nil, source_ip, source_port, dest_ip,
 * dest_port, family, and unproxied: true if the header says that the connection is
 * the proxy's own, or not whose it is; the addresses are then the kernel's. */
static int proxied_receive(lua_State *L)
{
	struct proxied *p = check_proxied(L);
	enum proxy_status status;
	struct proxy header;
	struct client *s;
	ssize_t n;
	int err;

	luaL_argcheck(L, p->fd >= 0, 1, "connection is closed");

	do
		n = recv(p->fd, p->header + p->have, sizeof(p->header) - p->have, MSG_PEEK);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return push_failure(L, errno);
	if (n == 0)
		return push_result(L, "closed");

	status = proxy_parse(p->header, p->have + (size_t)n, &header);
	if (status == PROXY_NEED_MORE) {
		/* All of it belongs to the header. If it stayed in the socket, a
		 * level-triggered event loop would be woken by it again and again. */
		err = take_seen(p, (size_t)n);
		return err < 0 ? push_failure(L, -err) : push_result(L, "timeout");
	}
	if (status != PROXY_OK) {
		lua_pushnil(L);
		lua_pushliteral(L, "invalid");
		lua_pushstring(L, proxy_strerror(status));
		return 3;
	}

	/* The owner first: it throws if memory is short, and nothing is lost yet. */
	s = client_new(L);
	s->source = header.source;
	s->dest = header.dest;
	if (!header.has_addrs) {
		err = kernel_addrs(p->fd, &s->source, &s->dest);
		if (err < 0)
			return push_failure(L, -err);
	}
	err = take_seen(p, header.len - p->have);
	if (err < 0)
		return push_failure(L, -err);
	s->fd = p->fd;
	p->fd = -1;
	push_meta(L, s, &header);
	return 2;
}

/* proxied:getfd() -> integer, -1 once closed or given to a client */
static int proxied_getfd(lua_State *L)
{
	lua_pushinteger(L, check_proxied(L)->fd);
	return 1;
}

/* proxied:close() -> true */
static int proxied_close(lua_State *L)
{
	struct proxied *p = check_proxied(L);

	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
	lua_pushboolean(L, 1);
	return 1;
}

/* fdpass.parse_proxy(bytes) -> length | nil, message
 * How long the header at the beginning of bytes is, for tests. */
int proxied_parse(lua_State *L)
{
	size_t len;
	const char *bytes = luaL_checklstring(L, 1, &len);
	struct proxy header;
	enum proxy_status status = proxy_parse((const uint8_t *)bytes, len, &header);

	if (status != PROXY_OK) {
		lua_pushnil(L);
		lua_pushstring(L, proxy_strerror(status));
		return 2;
	}
	lua_pushinteger(L, (lua_Integer)header.len);
	return 1;
}

void proxied_register(lua_State *L)
{
	static const luaL_Reg METHODS[] = {
		{"receive", proxied_receive},
		{"getfd", proxied_getfd},
		{"close", proxied_close},
		{"__gc", proxied_close},
		{NULL, NULL},
	};

	fdpass_new_class(L, PROXIED_MT, METHODS);
}
