/* fdpass: receive TCP connections from another process over a Unix socket, or from
 * a proxy with a PROXY header ahead.
 *
 * Every function that can fail for a reason outside the program returns nil, a
 * message and, where there is one, an errno; wrong use throws. Nothing blocks. */
#include "fdpass.h"

#include <errno.h>
#include <lauxlib.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unixsock.h"

#define LISTENER_MT "fdpass{listener}"

#define DEFAULT_MODE 0660

struct listener {
	int fd;
	struct unixsock_file file;
	char path[108];
};

int luaopen_fdpass(lua_State *L);

int fdpass_push_errno(lua_State *L, int err)
{
	lua_pushnil(L);
	lua_pushstring(L, strerror(err));
	lua_pushinteger(L, err);
	return 3;
}

void fdpass_new_class(lua_State *L, const char *name, const luaL_Reg *methods)
{
	luaL_newmetatable(L, name);
	luaL_setfuncs(L, methods, 0);
	lua_pushvalue(L, -1);
	lua_setfield(L, -2, "__index");
	lua_pop(L, 1);
}

static struct listener *check_listener(lua_State *L)
{
	return luaL_checkudata(L, 1, LISTENER_MT);
}

/* fdpass.listen(path [, mode]) -> listener | nil, message, errno
 * Listens on a new Unix socket at path, with the permission bits of mode (0660
 * unless given). A socket file left behind by a dead process is replaced.
 * EADDRINUSE: somebody listens there. EEXIST: the path is not a socket. */
static int fdpass_listen(lua_State *L)
{
	const char *path = luaL_checkstring(L, 1);
	lua_Integer mode = luaL_optinteger(L, 2, DEFAULT_MODE);
	struct listener *l;
	int fd;

	luaL_argcheck(L, strlen(path) == lua_rawlen(L, 1), 1, "path contains a zero byte");
	luaL_argcheck(L, mode >= 0 && mode <= 0777, 2, "mode out of range");

	l = lua_newuserdata(L, sizeof(*l));
	*l = (struct listener){.fd = -1};
	luaL_setmetatable(L, LISTENER_MT);

	fd = unixsock_listen(path, (mode_t)mode, &l->file);
	if (fd < 0)
		return fdpass_push_errno(L, -fd);
	l->fd = fd;
	memcpy(l->path, path, strlen(path) + 1); /* fits: the kernel's own limit is as small */
	return 1;
}

/* listener:getfd() -> integer, -1 once closed */
static int listener_getfd(lua_State *L)
{
	lua_pushinteger(L, check_listener(L)->fd);
	return 1;
}

/* listener:accept() -> control | nil, message, errno
 * nil, "timeout" if nobody is waiting. */
static int listener_accept(lua_State *L)
{
	struct listener *l = check_listener(L);
	int *owner, fd;

	luaL_argcheck(L, l->fd >= 0, 1, "listener is closed");
	owner = control_new(L); /* first: it throws if memory is short */

	do
		fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
	if (fd < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
		lua_pushnil(L);
		lua_pushliteral(L, "timeout");
		return 2;
	}
	if (fd < 0)
		return fdpass_push_errno(L, errno);

	*owner = fd;
	return 1;
}

/* listener:close() -> true
 * Also removes the socket file, if the path still names it. */
static int listener_close(lua_State *L)
{
	struct listener *l = check_listener(L);

	if (l->fd >= 0) {
		unixsock_unlink(l->path, &l->file);
		close(l->fd);
		l->fd = -1;
	}
	lua_pushboolean(L, true);
	return 1;
}

/* fdpass.getuid(name) -> uid | nil
 * Looks a user up. This may ask whatever nsswitch.conf names, so it is not for
 * the path of every connection. */
static int fdpass_getuid(lua_State *L)
{
	const char *name = luaL_checkstring(L, 1);
	struct passwd pw, *found = NULL;
	char buf[16384]; /* larger than any entry met in the wild */

	if (getpwnam_r(name, &pw, buf, sizeof(buf), &found) != 0 || found == NULL) {
		lua_pushnil(L);
		return 1;
	}
	lua_pushinteger(L, (lua_Integer)pw.pw_uid);
	return 1;
}

/* fdpass.geteuid() -> uid of this process */
static int fdpass_geteuid(lua_State *L)
{
	lua_pushinteger(L, (lua_Integer)geteuid());
	return 1;
}

static const luaL_Reg LISTENER_METHODS[] = {
	{"getfd", listener_getfd},
	{"accept", listener_accept},
	{"close", listener_close},
	{"__gc", listener_close},
	{NULL, NULL},
};

static const luaL_Reg FUNCTIONS[] = {
	{"listen", fdpass_listen},
	{"queue", queue_new},
	{"tosocket", client_tosocket},
	{"parse", control_parse},
	{"proxied", proxied_new},
	{"parse_proxy", proxied_parse},
	{"getuid", fdpass_getuid},
	{"geteuid", fdpass_geteuid},
	{NULL, NULL},
};

/* What listen() may say that a caller can do something about. */
static const struct {
	const char *name;
	int value;
} ERRNOS[] = {
	{"EACCES", EACCES},
	{"EADDRINUSE", EADDRINUSE},
	{"EEXIST", EEXIST},
	{"ENAMETOOLONG", ENAMETOOLONG},
	{"ENOENT", ENOENT},
};

__attribute__((visibility("default"))) int luaopen_fdpass(lua_State *L)
{
	fdpass_new_class(L, LISTENER_MT, LISTENER_METHODS);
	control_register(L);
	client_register(L);
	proxied_register(L);
	queue_register(L);
	luaL_newlib(L, FUNCTIONS);
	for (size_t i = 0; i < sizeof(ERRNOS) / sizeof(ERRNOS[0]); i++) {
		lua_pushinteger(L, ERRNOS[i].value);
		lua_setfield(L, -2, ERRNOS[i].name);
	}
	lua_pushinteger(L, MESSAGE_MAX);
	lua_setfield(L, -2, "MESSAGE_MAX");
	lua_pushinteger(L, MESSAGE_ID_LEN);
	lua_setfield(L, -2, "ID_LEN");
	return 1;
}
