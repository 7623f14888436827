/* A queue that looks like a listening socket to an event loop: it has a
 * descriptor, readable exactly while something is queued, and accept(). */
#include "fdpass.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define QUEUE_MT "fdpass{queue}"

/* The queued values are in the user value, a table, at first .. first+length-1. */
struct queue {
	int fd;
	lua_Integer first;
	lua_Integer length;
};

static struct queue *check_queue(lua_State *L)
{
	return luaL_checkudata(L, 1, QUEUE_MT);
}

/* fdpass.queue() -> queue | nil, message, errno */
int queue_new(lua_State *L)
{
	struct queue *q = lua_newuserdata(L, sizeof(*q));

	*q = (struct queue){.fd = -1, .first = 1};
	luaL_setmetatable(L, QUEUE_MT);
	lua_newtable(L);
	lua_setuservalue(L, -2);

	q->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (q->fd < 0)
		return fdpass_push_errno(L, errno);
	return 1;
}

/* queue:push(value) -> length | nil, "closed"
 * Any value but nil. */
static int queue_push(lua_State *L)
{
	struct queue *q = check_queue(L);

	luaL_checkany(L, 2);
	luaL_argcheck(L, !lua_isnil(L, 2), 2, "value expected");
	if (q->fd < 0) {
		lua_pushnil(L);
		lua_pushliteral(L, "closed");
		return 2;
	}

	lua_getuservalue(L, 1);
	lua_pushinteger(L, q->first + q->length); /* lua_rawseti() of Lua 5.2 takes no more than an int */
	lua_pushvalue(L, 2);
	lua_rawset(L, -3);
	if (q->length++ == 0)
		eventfd_write(q->fd, 1); /* from 0 it cannot fail */
	lua_pushinteger(L, q->length);
	return 1;
}

/* queue:accept() -> value | nil, "timeout" if empty | nil, "closed"
 * Takes the oldest. The only way anything leaves the queue. */
static int queue_accept(lua_State *L)
{
	struct queue *q = check_queue(L);
	eventfd_t count;

	if (q->fd < 0 || q->length == 0) {
		lua_pushnil(L);
		lua_pushstring(L, q->fd < 0 ? "closed" : "timeout");
		return 2;
	}

	lua_getuservalue(L, 1);
	lua_pushinteger(L, q->first);
	lua_rawget(L, -2);
	lua_pushinteger(L, q->first);
	lua_pushnil(L);
	lua_rawset(L, -4);
	q->first++;
	if (--q->length == 0) {
		q->first = 1;
		eventfd_read(q->fd, &count);
	}
	return 1;
}

/* queue:length() -> integer */
static int queue_length(lua_State *L)
{
	lua_pushinteger(L, check_queue(L)->length);
	return 1;
}

/* queue:getfd() -> integer, -1 once closed */
static int queue_getfd(lua_State *L)
{
	lua_pushinteger(L, check_queue(L)->fd);
	return 1;
}

/* queue:settimeout(seconds) -> 1: accept() never waits */
static int queue_settimeout(lua_State *L)
{
	check_queue(L);
	lua_pushinteger(L, 1);
	return 1;
}

/* queue:getsockname() -> nil, message: it has no address */
static int queue_getsockname(lua_State *L)
{
	check_queue(L);
	lua_pushnil(L);
	lua_pushliteral(L, "no address");
	return 2;
}

/* queue:close() -> 1
 * Drops what is still queued: take it out with accept() first. */
static int queue_close(lua_State *L)
{
	struct queue *q = check_queue(L);

	if (q->fd >= 0) {
		close(q->fd);
		q->fd = -1;
		q->length = 0;
		lua_newtable(L);
		lua_setuservalue(L, 1);
	}
	lua_pushinteger(L, 1);
	return 1;
}

/* The values have finalizers of their own, so here is only the descriptor. */
static int queue_gc(lua_State *L)
{
	struct queue *q = check_queue(L);

	if (q->fd >= 0)
		close(q->fd);
	q->fd = -1;
	return 0;
}

void queue_register(lua_State *L)
{
	static const luaL_Reg METHODS[] = {
		{"push", queue_push},
		{"accept", queue_accept},
		{"length", queue_length},
		{"getfd", queue_getfd},
		{"settimeout", queue_settimeout},
		{"getsockname", queue_getsockname},
		{"close", queue_close},
		{"__gc", queue_gc},
		{NULL, NULL},
	};

	fdpass_new_class(L, QUEUE_MT, METHODS);
}
