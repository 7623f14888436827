/* fdsend: what the specs need and LuaSocket lacks. Plays the sender: connects to
 * a Unix socket, sends packets with any descriptors, and makes descriptors of all
 * the wrong kinds. For tests only; every call blocks. */
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <lua.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_FDS 16

int luaopen_fdsend(lua_State *L);

static int result(lua_State *L, int value)
{
	if (value < 0)
		return luaL_error(L, "%s", strerror(errno));
	lua_pushinteger(L, value);
	return 1;
}

/* unix(kind, path [, listen]) -> fd: kind is "seqpacket" or "stream" */
static int fdsend_unix(lua_State *L)
{
	int type = strcmp(luaL_checkstring(L, 1), "stream") == 0 ? SOCK_STREAM : SOCK_SEQPACKET;
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	int err;

	strncpy(addr.sun_path, luaL_checkstring(L, 2), sizeof(addr.sun_path) - 1);
	if (lua_toboolean(L, 3)) {
		err = bind(fd, (struct sockaddr *)&addr, sizeof(addr));
		if (err == 0)
			err = listen(fd, 4);
	} else {
		err = connect(fd, (struct sockaddr *)&addr, sizeof(addr));
	}
	if (err < 0) {
		err = errno;
		close(fd);
		errno = err;
		return result(L, -1);
	}
	return result(L, fd);
}

/* pair() -> fd, fd: a pair of Unix stream sockets */
static int fdsend_pair(lua_State *L)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return result(L, -1);
	lua_pushinteger(L, fds[0]);
	lua_pushinteger(L, fds[1]);
	return 2;
}

/* pipe() -> fd, fd */
static int fdsend_pipe(lua_State *L)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return result(L, -1);
	lua_pushinteger(L, fds[0]);
	lua_pushinteger(L, fds[1]);
	return 2;
}

/* inet(kind [, family]) -> fd: kind is "tcp" or "udp", family "inet" or "inet6" */
static int fdsend_inet(lua_State *L)
{
	int type = strcmp(luaL_checkstring(L, 1), "udp") == 0 ? SOCK_DGRAM : SOCK_STREAM;
	int family = strcmp(luaL_optstring(L, 2, "inet"), "inet6") == 0 ? AF_INET6 : AF_INET;

	return result(L, socket(family, type | SOCK_CLOEXEC, 0));
}

/* send(fd, data, {fd, ...}): one packet */
static int fdsend_send(lua_State *L)
{
	union {
		char bytes[CMSG_SPACE(MAX_FDS * sizeof(int))];
		struct cmsghdr align;
	} control;
	size_t len, count;
	struct iovec iov;
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	int fds[MAX_FDS];

	iov.iov_base = (void *)(uintptr_t)luaL_checklstring(L, 2, &len);
	iov.iov_len = len;
	luaL_checktype(L, 3, LUA_TTABLE);
	count = lua_rawlen(L, 3);
	luaL_argcheck(L, count <= MAX_FDS, 3, "too many");
	for (size_t i = 0; i < count; i++) {
		lua_rawgeti(L, 3, (int)i + 1);
		fds[i] = (int)luaL_checkinteger(L, -1);
	}
	if (count > 0) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof(control));
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, count * sizeof(int));
	}
	return result(L, (int)sendmsg((int)luaL_checkinteger(L, 1), &msg, MSG_NOSIGNAL));
}

/* recv(fd) -> data, "" at the end */
static int fdsend_recv(lua_State *L)
{
	char buf[4096];
	ssize_t n = recv((int)luaL_checkinteger(L, 1), buf, sizeof(buf), 0);

	if (n < 0)
		return result(L, -1);
	lua_pushlstring(L, buf, (size_t)n);
	return 1;
}

/* close(fd, ...) */
static int fdsend_close(lua_State *L)
{
	for (int i = 1; i <= lua_gettop(L); i++)
		close((int)luaL_checkinteger(L, i));
	return 0;
}

/* readable(fd) -> boolean */
static int fdsend_readable(lua_State *L)
{
	struct pollfd p = {.fd = (int)luaL_checkinteger(L, 1), .events = POLLIN};

	lua_pushboolean(L, poll(&p, 1, 0) == 1 && (p.revents & POLLIN));
	return 1;
}

/* fcntl(fd) -> cloexec, nonblock */
static int fdsend_flags(lua_State *L)
{
	int fd = (int)luaL_checkinteger(L, 1);

	lua_pushboolean(L, fcntl(fd, F_GETFD) & FD_CLOEXEC);
	lua_pushboolean(L, fcntl(fd, F_GETFL) & O_NONBLOCK);
	return 2;
}

/* keepalive(fd) -> boolean */
static int fdsend_keepalive(lua_State *L)
{
	int value = 0;
	socklen_t len = sizeof(value);

	getsockopt((int)luaL_checkinteger(L, 1), SOL_SOCKET, SO_KEEPALIVE, &value, &len);
	lua_pushboolean(L, value);
	return 1;
}

/* stat(path) -> mode, inode | nil */
static int fdsend_stat(lua_State *L)
{
	struct stat st;

	if (lstat(luaL_checkstring(L, 1), &st) < 0) {
		lua_pushnil(L);
		return 1;
	}
	lua_pushinteger(L, st.st_mode & 07777);
	lua_pushinteger(L, (lua_Integer)st.st_ino);
	return 2;
}

/* umask(mask) -> the one before */
static int fdsend_umask(lua_State *L)
{
	return result(L, (int)umask((mode_t)luaL_checkinteger(L, 1)));
}

/* nofile(limit) -> the one before */
static int fdsend_nofile(lua_State *L)
{
	struct rlimit r;
	rlim_t before;

	getrlimit(RLIMIT_NOFILE, &r);
	before = r.rlim_cur;
	r.rlim_cur = (rlim_t)luaL_checkinteger(L, 1);
	if (setrlimit(RLIMIT_NOFILE, &r) < 0)
		return result(L, -1);
	lua_pushinteger(L, (lua_Integer)before);
	return 1;
}

/* dup(fd) -> the lowest free descriptor */
static int fdsend_dup(lua_State *L)
{
	return result(L, dup((int)luaL_checkinteger(L, 1)));
}

/* getpid() */
static int fdsend_getpid(lua_State *L)
{
	return result(L, (int)getpid());
}

int luaopen_fdsend(lua_State *L)
{
	static const luaL_Reg FUNCTIONS[] = {
		{"unix", fdsend_unix},
		{"pair", fdsend_pair},
		{"pipe", fdsend_pipe},
		{"inet", fdsend_inet},
		{"send", fdsend_send},
		{"recv", fdsend_recv},
		{"close", fdsend_close},
		{"readable", fdsend_readable},
		{"flags", fdsend_flags},
		{"keepalive", fdsend_keepalive},
		{"stat", fdsend_stat},
		{"umask", fdsend_umask},
		{"nofile", fdsend_nofile},
		{"dup", fdsend_dup},
		{"getpid", fdsend_getpid},
		{NULL, NULL},
	};

	luaL_newlib(L, FUNCTIONS);
	return 1;
}
