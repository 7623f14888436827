/* What the files of the Lua module fdpass share. */
#ifndef FDPASS_H
#define FDPASS_H

#include <lua.h>

#include "message.h"

/* Pushes nil, the message for the (positive) errno, and the errno. */
int fdpass_push_errno(lua_State *L, int err);

/* Makes a metatable with the given methods, its own __index. Leaves nothing. */
struct luaL_Reg;
void fdpass_new_class(lua_State *L, const char *name, const struct luaL_Reg *methods);

/* client.c: the adopted socket */
struct client {
	int fd; /* -1 once it was closed or taken away with setfd(-1) */
	struct v2_addr source;
	struct v2_addr dest;
};

void client_register(lua_State *L);
struct client *client_new(lua_State *L);    /* pushes an empty one */
int client_tosocket(lua_State *L);          /* fdpass.tosocket */
/* Sets family (of the source), source_ip, source_port, dest_ip and dest_port in the
 * table on top of the stack. */
void client_set_addrs(lua_State *L, const struct v2_addr *source, const struct v2_addr *dest);

/* control.c: one sender's connection */
void control_register(lua_State *L);
int *control_new(lua_State *L);             /* pushes one without a descriptor, returns its slot */
int control_parse(lua_State *L);            /* fdpass.parse */

/* proxied.c: a connection that begins with a proxy's header */
void proxied_register(lua_State *L);
int proxied_new(lua_State *L);              /* fdpass.proxied */
int proxied_parse(lua_State *L);            /* fdpass.parse_proxy */

/* queue.c: something to accept() from */
void queue_register(lua_State *L);
int queue_new(lua_State *L);                /* fdpass.queue */

#endif
