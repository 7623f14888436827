/* The adopted socket: what a LuaSocket tcp{client} is to net.server and LuaSec,
 * up to the moment when LuaSec takes the descriptor over. It neither reads nor
 * writes; tosocket() makes a real tcp{client} of it. */
#include "fdpass.h"

#include <arpa/inet.h>
#include <errno.h>
#include <lauxlib.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENT_MT "fdpass{client}"

static struct client *check_client(lua_State *L)
{
	return luaL_checkudata(L, 1, CLIENT_MT);
}

struct client *client_new(lua_State *L)
{
	struct client *s = lua_newuserdata(L, sizeof(*s));

	*s = (struct client){.fd = -1};
	luaL_setmetatable(L, CLIENT_MT);
	return s;
}

static void push_ip(lua_State *L, const struct v2_addr *addr)
{
	char buf[INET6_ADDRSTRLEN];

	lua_pushstring(L, inet_ntop(addr->family, addr->ip, buf, sizeof(buf)));
}

static void push_family(lua_State *L, const struct v2_addr *addr)
{
	lua_pushstring(L, addr->family == AF_INET6 ? "inet6" : "inet");
}

void client_set_addrs(lua_State *L, const struct v2_addr *source, const struct v2_addr *dest)
{
	push_family(L, source);
	lua_setfield(L, -2, "family");
	push_ip(L, source);
	lua_setfield(L, -2, "source_ip");
	lua_pushinteger(L, source->port);
	lua_setfield(L, -2, "source_port");
	push_ip(L, dest);
	lua_setfield(L, -2, "dest_ip");
	lua_pushinteger(L, dest->port);
	lua_setfield(L, -2, "dest_port");
}

/* client:getfd() -> integer, -1 once closed or taken over */
static int client_getfd(lua_State *L)
{
	lua_pushinteger(L, check_client(L)->fd);
	return 1;
}

/* client:setfd(fd)
 * As in LuaSocket: replaces the descriptor without closing the old one. */
static int client_setfd(lua_State *L)
{
	struct client *s = check_client(L);
	lua_Integer fd = luaL_checkinteger(L, 2);

	luaL_argcheck(L, fd >= -1 && fd <= 0x7fffffff, 2, "not a descriptor");
	s->fd = (int)fd;
	return 0;
}

/* client:settimeout(seconds) -> 1
 * There is nothing to wait for: the socket is always non-blocking. */
static int client_settimeout(lua_State *L)
{
	check_client(L);
	lua_pushinteger(L, 1);
	return 1;
}

static int push_name(lua_State *L, const struct client *s, const struct v2_addr *addr)
{
	if (s->fd < 0) {
		lua_pushnil(L);
		lua_pushliteral(L, "closed");
		return 2;
	}
	push_ip(L, addr);
	lua_pushinteger(L, addr->port);
	push_family(L, addr);
	return 3;
}

/* client:getpeername() -> ip, port, family | nil, "closed"
 * The address in the hand-off message, not the kernel's: they differ when the
 * sender is behind a proxy itself. */
static int client_getpeername(lua_State *L)
{
	struct client *s = check_client(L);

	return push_name(L, s, &s->source);
}

/* client:getsockname() -> ip, port, family | nil, "closed" */
static int client_getsockname(lua_State *L)
{
	struct client *s = check_client(L);

	return push_name(L, s, &s->dest);
}

/* client:setoption(name, value) -> 1 | nil, "setsockopt failed"
 * keepalive and tcp-nodelay take a boolean; tcp-keepidle, tcp-keepintvl and
 * tcp-keepcnt a number. Throws on any other name, as LuaSocket does. */
static int client_setoption(lua_State *L)
{
	static const char *const NAMES[] = {
		"keepalive", "tcp-nodelay", "tcp-keepidle", "tcp-keepintvl", "tcp-keepcnt", NULL,
	};
	static const struct {
		int level;
		int name;
		bool is_boolean;
	} OPTIONS[] = {
		{SOL_SOCKET, SO_KEEPALIVE, true},
		{IPPROTO_TCP, TCP_NODELAY, true},
		{IPPROTO_TCP, TCP_KEEPIDLE, false},
		{IPPROTO_TCP, TCP_KEEPINTVL, false},
		{IPPROTO_TCP, TCP_KEEPCNT, false},
	};
	struct client *s = check_client(L);
	int i = luaL_checkoption(L, 2, NULL, NAMES);
	int value;

	if (OPTIONS[i].is_boolean) {
		luaL_checktype(L, 3, LUA_TBOOLEAN);
		value = lua_toboolean(L, 3);
	} else {
		value = (int)luaL_checknumber(L, 3);
	}
	if (setsockopt(s->fd, OPTIONS[i].level, OPTIONS[i].name, &value, sizeof(value)) < 0) {
		lua_pushnil(L);
		lua_pushliteral(L, "setsockopt failed");
		return 2;
	}
	lua_pushinteger(L, 1);
	return 1;
}

/* client:dirty() -> false: nothing is ever read ahead */
static int client_dirty(lua_State *L)
{
	check_client(L);
	lua_pushboolean(L, false);
	return 1;
}

/* client:close() -> 1 */
static int client_close(lua_State *L)
{
	struct client *s = check_client(L);

	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	lua_pushinteger(L, 1);
	return 1;
}

static int client_tostring(lua_State *L)
{
	lua_pushfstring(L, "fdpass{client}: %p", (void *)check_client(L));
	return 1;
}

/* fdpass.tosocket(client) -> tcp{client} | nil, message
 * Makes a LuaSocket object of an adopted socket, which is empty afterwards. Its
 * getpeername() is the kernel's. On failure the adopted socket is as before. */
int client_tosocket(lua_State *L)
{
	struct client *s = check_client(L);
	bool ipv6;
	int domain = AF_INET;
	socklen_t len = sizeof(domain);

	luaL_argcheck(L, s->fd >= 0, 1, "socket is closed");
	lua_settop(L, 1);

	if (getsockopt(s->fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0)
		return fdpass_push_errno(L, errno);
	ipv6 = domain == AF_INET6;

	/* LuaSocket has no constructor for a connected socket. Its tcp{master}
	 * and tcp{client} are one structure and differ in the metatable, which
	 * its own connect() exchanges in this way too. */
	lua_getglobal(L, "require");
	lua_pushliteral(L, "socket");
	lua_call(L, 1, 1);
	luaL_getmetatable(L, "tcp{client}");
	if (lua_isnil(L, -1)) {
		lua_pushnil(L);
		lua_pushliteral(L, "no tcp{client} in this LuaSocket");
		return 2;
	}
	lua_getfield(L, 2, ipv6 ? "tcp6" : "tcp4");
	lua_call(L, 0, 2);
	if (lua_isnil(L, -2))
		return 2;
	lua_pop(L, 1);

	/* Stack: client, socket, metatable, master. Its own descriptor goes... */
	lua_getfield(L, 4, "close");
	lua_pushvalue(L, 4);
	lua_call(L, 1, 0);
	/* ...and ours comes. */
	lua_getfield(L, 4, "setfd");
	lua_pushvalue(L, 4);
	lua_pushinteger(L, s->fd);
	lua_call(L, 2, 0);
	s->fd = -1;
	lua_pushvalue(L, 3);
	lua_setmetatable(L, 4);
	lua_settop(L, 4);
	return 1;
}

void client_register(lua_State *L)
{
	static const luaL_Reg METHODS[] = {
		{"getfd", client_getfd},
		{"setfd", client_setfd},
		{"settimeout", client_settimeout},
		{"getpeername", client_getpeername},
		{"getsockname", client_getsockname},
		{"setoption", client_setoption},
		{"dirty", client_dirty},
		{"close", client_close},
		{"__gc", client_close},
		{"__tostring", client_tostring},
		{NULL, NULL},
	};

	fdpass_new_class(L, CLIENT_MT, METHODS);
}
