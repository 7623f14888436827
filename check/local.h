#ifndef XMPP443_CHECK_LOCAL_H
#define XMPP443_CHECK_LOCAL_H

/*
 * local: the parts on one host, looked at from inside. Each function adds what
 * it finds to the report.
 */

#include "options.h"
#include "probe.h"
#include "report.h"

#include "../shim/conf.h"

/* Everything below, in order. */
void local_check(struct report *r, const struct options *o);

/* The settings. NULL: they cannot be read. To be released with conf_unref(). */
struct conf *local_settings(struct report *r, const struct options *o);

/* systemd's units, if systemd runs here. */
void local_units(struct report *r, const struct options *o);

/* The shim's process. */
void local_shim(struct report *r, const struct conf *conf);

/* The socket of one route, whoever listens there, and whether the shim gets in. */
void local_handoff(struct report *r, const struct route *route);

/* Prosody, asked through its shell. */
void local_prosody(struct report *r, const struct options *o);

/* One backend: does it take the header, and from whom? */
void local_backend(struct report *r, const struct options *o, const struct route *route);

/* Connections to the shim itself: which addresses do Prosody and the web server see? */
void local_seen(struct report *r, const struct options *o, const struct conf *conf);

/* Does the text have this address in it, not as a part of another? */
bool local_mentions(const char *text, const char *address);

/* Runs prosodyctl shell with one command; as run_program(). */
int local_shell(const struct options *o, const char *command, char **ret_text);

#endif
