/* One sender's control connection. */
#include "fdpass.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include "recvfd.h"

#define CONTROL_MT "fdpass{control}"

struct control {
	int fd;
};

static struct control *check_control(lua_State *L)
{
	return luaL_checkudata(L, 1, CONTROL_MT);
}

static struct control *check_open(lua_State *L)
{
	struct control *c = check_control(L);

	luaL_argcheck(L, c->fd >= 0, 1, "control connection is closed");
	return c;
}

int *control_new(lua_State *L)
{
	struct control *c = lua_newuserdata(L, sizeof(*c));

	c->fd = -1;
	luaL_setmetatable(L, CONTROL_MT);
	return &c->fd;
}

static void push_meta(lua_State *L, const struct message *m)
{
	lua_createtable(L, 0, 8);
	lua_pushlstring(L, (const char *)m->id, MESSAGE_ID_LEN);
	lua_setfield(L, -2, "id");
	if (m->alpn != NULL) {
		lua_pushlstring(L, (const char *)m->alpn, m->alpn_len);
		lua_setfield(L, -2, "alpn");
	}
	if (m->authority != NULL) {
		lua_pushlstring(L, (const char *)m->authority, m->authority_len);
		lua_setfield(L, -2, "authority");
	}
	client_set_addrs(L, &m->source, &m->dest);
}

static void push_id(lua_State *L, const struct message *m)
{
	if (m->has_id)
		lua_pushlstring(L, (const char *)m->id, MESSAGE_ID_LEN);
	else
		lua_pushnil(L);
}

/* Pushes nil, "invalid", the id or nil, and the reason. */
static int push_invalid(lua_State *L, const struct message *m, const char *reason)
{
	lua_pushnil(L);
	lua_pushliteral(L, "invalid");
	push_id(L, m);
	lua_pushstring(L, reason);
	return 4;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* control:receive() -> client, meta
 *                    | nil, "timeout"              nothing there
 *                    | nil, "closed"               the sender has gone
 *                    | nil, "limit", id            no descriptor left for it: answer R, wait
 *                    | nil, "gone", id             its client has gone already: answer A
 *                    | nil, "invalid", id, reason  answer N
 *                    | nil, "invalid", nil, reason cannot be answered: close the connection
 *                    | nil, "error", errno, message
 * client is the adopted socket, non-blocking. meta: id, alpn or nil, authority or nil,
 * source_ip, source_port, dest_ip, dest_port, and family ("inet" or "inet6", of the
 * source). No descriptor stays open in any case but the first. */
static int control_receive(lua_State *L)
{
	struct control *c = check_open(L);
	uint8_t buf[MESSAGE_MAX];
	enum message_status status;
	struct message m;
	struct recvfd packet;
	struct client *s;
	int err;

	/* The owner exists before the descriptor does: an error thrown by Lua
	 * from here on cannot leak it. */
	s = client_new(L);

	err = recvfd(c->fd, buf, sizeof(buf), &s->fd, &packet);
	if (err == -EAGAIN || err == -EWOULDBLOCK) {
		lua_pushnil(L);
		lua_pushliteral(L, "timeout");
		return 2;
	}
	if (err < 0) {
		lua_pushnil(L);
		lua_pushliteral(L, "error");
		(void)fdpass_push_errno(L, -err);
		lua_insert(L, -2); /* nil, errno, message */
		lua_remove(L, -3);
		return 4;
	}
	if (packet.len == 0 && s->fd < 0 && !packet.surplus && !packet.no_room) {
		lua_pushnil(L);
		lua_pushliteral(L, "closed");
		return 2;
	}

	status = message_parse(buf, packet.len, &m);
	if (packet.truncated || packet.surplus || status != MESSAGE_OK) {
		close_fd(&s->fd);
		return push_invalid(L, &m, packet.truncated ? "packet too long" :
			packet.surplus ? "more than one descriptor" : message_strerror(status));
	}
	if (packet.no_room) {
		lua_pushnil(L);
		lua_pushliteral(L, "limit");
		push_id(L, &m);
		return 3;
	}
	if (s->fd < 0)
		return push_invalid(L, &m, "no descriptor");

	err = recvfd_check_tcp(s->fd);
	if (err == -ENOTCONN) {
		close_fd(&s->fd);
		lua_pushnil(L);
		lua_pushliteral(L, "gone");
		push_id(L, &m);
		return 3;
	}
	if (err < 0) {
		close_fd(&s->fd);
		return push_invalid(L, &m, "not a connected TCP socket");
	}

	fcntl(s->fd, F_SETFL, O_NONBLOCK); /* as the sender should have */
	s->source = m.source;
	s->dest = m.dest;
	push_meta(L, &m);
	return 2;
}

/* control:send(data) -> true | nil, "timeout" | nil, "closed" | nil, message, errno
 * Sends data as one packet: answers, 9 bytes each. */
static int control_send(lua_State *L)
{
	struct control *c = check_open(L);
	size_t len;
	const char *data = luaL_checklstring(L, 2, &len);
	ssize_t n;

	luaL_argcheck(L, len > 0 && len <= MESSAGE_MAX, 2, "bad length");

	do
		n = send(c->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n >= 0) {
		lua_pushboolean(L, true);
		return 1;
	}
	if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EPIPE && errno != ECONNRESET)
		return fdpass_push_errno(L, errno);
	lua_pushnil(L);
	lua_pushstring(L, errno == EPIPE || errno == ECONNRESET ? "closed" : "timeout");
	return 2;
}

/* control:peercred() -> pid, uid, gid | nil, message, errno
 * Of the process that connected, at the time it did. */
static int control_peercred(lua_State *L)
{
	struct control *c = check_open(L);
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return fdpass_push_errno(L, errno);
	lua_pushinteger(L, (lua_Integer)cred.pid);
	lua_pushinteger(L, (lua_Integer)cred.uid);
	lua_pushinteger(L, (lua_Integer)cred.gid);
	return 3;
}

/* control:getfd() -> integer, -1 once closed */
static int control_getfd(lua_State *L)
{
	lua_pushinteger(L, check_control(L)->fd);
	return 1;
}

/* control:close() -> true */
static int control_close(lua_State *L)
{
	close_fd(&check_control(L)->fd);
	lua_pushboolean(L, true);
	return 1;
}

/* fdpass.parse(bytes) -> meta | nil, message, id or nil
 * What receive() makes of a packet's bytes, for tests. */
int control_parse(lua_State *L)
{
	size_t len;
	const char *bytes = luaL_checklstring(L, 1, &len);
	struct message m;
	enum message_status status = message_parse((const uint8_t *)bytes, len, &m);

	if (status == MESSAGE_OK) {
		push_meta(L, &m);
		return 1;
	}
	lua_pushnil(L);
	lua_pushstring(L, message_strerror(status));
	push_id(L, &m);
	return 3;
}

void control_register(lua_State *L)
{
	static const luaL_Reg METHODS[] = {
		{"receive", control_receive},
		{"send", control_send},
		{"peercred", control_peercred},
		{"getfd", control_getfd},
		{"close", control_close},
		{"__gc", control_close},
		{NULL, NULL},
	};

	fdpass_new_class(L, CONTROL_MT, METHODS);
}
