/* Processes, units and the hand-off socket. */
#include "local.h"

#include "clean.h"
#include "procs.h"
#include "run.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHIM "xmpp443-shim"
#define PROSODY_LIMIT_LOW 4096

static const char *user_name(uid_t uid, char out[33])
{
	const struct passwd *p = getpwuid(uid);

	if (p != NULL)
		snprintf(out, 33, "%s", p->pw_name);
	else
		snprintf(out, 33, "uid %u", (unsigned)uid);
	return out;
}

/* low: what it means if fewer than enough are allowed. */
static void judge_limit(struct report *r, const struct procs_one *p, const char *id, long enough, enum verdict low, const char *unit)
{
	struct check *c;

	if (p->fd_limit < 0) {
		c = report_add(r, VERDICT_NOTE, id, "open files", "not known");
		check_advise(c, "Run the check as root.");
		return;
	}
	if (p->fds >= 0 && p->fds > p->fd_limit / 10 * 8) {
		c = report_add(r, VERDICT_ERROR, id, "open files", "%ld of %ld are in use", p->fds, p->fd_limit);
		check_advise(c, "Raise LimitNOFILE= (systemctl edit %s) now: new connections will soon fail.", unit);
	} else if (p->fd_limit < enough) {
		c = report_add(r, low, id, "open files", "%ld allowed, %ld in use", p->fd_limit, p->fds);
		check_advise(c, "For more connections put LimitNOFILE=%ld below [Service] (systemctl edit %s).", enough * 2, unit);
	} else {
		c = report_add(r, VERDICT_OK, id, "open files", "%ld allowed, %ld in use", p->fd_limit, p->fds);
	}
	c->data = json_pack("{s:I, s:I}", "limit", (json_int_t)p->fd_limit, "in_use", (json_int_t)p->fds);
}

void local_shim(struct report *r, const struct conf *conf)
{
	struct procs_one shim;
	struct check *c;
	char user[33];

	if (!procs_find(SHIM, &shim)) {
		c = report_add(r, VERDICT_ERROR, "shim", "shim", "xmpp443-shim does not run");
		check_advise(c, "Start it (systemctl start xmpp443-shim.socket xmpp443-shim); its log tells why it ends (journalctl -u xmpp443-shim).");
		return;
	}
	c = report_add(r, shim.uid == 0 ? VERDICT_WARNING : VERDICT_OK, "shim", "shim", "runs as %s, process %d", user_name(shim.uid, user), (int)shim.pid);
	if (shim.uid == 0)
		check_advise(c, "Run it as a user of its own, as its systemd unit does.");
	/* Each relayed connection has two; see max-connections in xmpp443-shim.conf(5). */
	judge_limit(r, &shim, "shim-files", (long)(conf->max_connections < 2048 ? conf->max_connections : 2048) * 2, VERDICT_WARNING,
		    "xmpp443-shim");
}

static bool shows(const char *text, const char *unit, const char *line)
{
	char id[128];
	const char *at, *end, *found;

	snprintf(id, sizeof(id), "Id=%s\n", unit);
	at = strstr(text, id);
	if (at == NULL)
		return false;
	end = strstr(at, "\n\n"); /* a blank line between units */
	found = strstr(at, line);
	return found != NULL && (end == NULL || found < end);
}

static void judge_unit(struct report *r, const char *text, const char *unit, enum verdict missing)
{
	struct check *c;

	if (shows(text, unit, "LoadState=not-found")) {
		c = report_add(r, missing, "unit", "systemd", "there is no unit %s", unit);
		check_advise(c, "Install it (make install; systemctl daemon-reload), if systemd should start it.");
	} else if (!shows(text, unit, "ActiveState=active")) {
		c = report_add(r, VERDICT_ERROR, "unit", "systemd", "%s is not active", unit);
		check_advise(c, "Start it (systemctl start %s) and look why it was not (journalctl -u %s).", unit, unit);
	} else if (shows(text, unit, "UnitFileState=disabled")) {
		c = report_add(r, VERDICT_WARNING, "unit", "systemd", "%s is active, but not started at boot", unit);
		check_advise(c, "Enable it: systemctl enable %s.", unit);
	} else if (shows(text, unit, "NeedDaemonReload=yes")) {
		c = report_add(r, VERDICT_WARNING, "unit", "systemd", "%s is active, and its file has changed since", unit);
		check_advise(c, "Run systemctl daemon-reload, and restart it when it suits.");
	} else {
		report_add(r, VERDICT_OK, "unit", "systemd", "%s is active", unit);
	}
}

void local_units(struct report *r, const struct options *o)
{
	static const char *const argv[] = {"systemctl", "show", "--property=Id,LoadState,ActiveState,UnitFileState,NeedDaemonReload",
					   "xmpp443-shim.socket", "xmpp443-shim.service", "prosody.service", NULL};
	char *text = NULL;

	if (access("/run/systemd/system", F_OK) < 0) { /* sd_booted(3) */
		report_add(r, VERDICT_NOTE, "unit", "systemd", "does not run here");
		return;
	}
	if (run_program(argv, o->timeout_ms, &text) != 0)
		report_add(r, VERDICT_NOTE, "unit", "systemd", "systemctl gives no answer");
	else
		for (size_t i = 3; argv[i] != NULL; i++)
			judge_unit(r, text, argv[i], i == 5 ? VERDICT_NOTE : VERDICT_WARNING);
	free(text);
}

/* Who listens there? The shim trusts the owner of the directory, root and itself. */
static void judge_listener(struct report *r, int fd, const struct stat *directory)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	struct procs_one p;
	char name[33], owner[33];
	struct check *c;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return;
	user_name(cred.uid, name);
	if (cred.uid != directory->st_uid && cred.uid != 0) {
		c = report_add(r, VERDICT_ERROR, "receiver", "receiver", "process %d of %s listens there, but the directory belongs to %s", (int)cred.pid,
			       name, user_name(directory->st_uid, owner));
		check_advise(c, "Look who that is (ss -xlp): xmpp443-shim hands connections only to the owner of the directory.");
		return;
	}
	if (!procs_read(cred.pid, &p)) {
		report_add(r, VERDICT_OK, "receiver", "receiver", "process %d of %s", (int)cred.pid, name);
		return;
	}
	report_add(r, VERDICT_OK, "receiver", "receiver", "%s, process %d, of %s", p.name, (int)cred.pid, name);
	judge_limit(r, &p, "receiver-files", PROSODY_LIMIT_LOW, VERDICT_NOTE, "prosody"); /* 1,024 by default, enough for many */
}

static void judge_way_in(struct report *r, const struct stat *socket_file, const struct stat *directory)
{
	struct procs_one shim;
	struct check *c;
	char user[33];

	if (!procs_find(SHIM, &shim))
		return;
	if (procs_may(&shim, directory->st_uid, directory->st_gid, directory->st_mode, X_OK) &&
	    procs_may(&shim, socket_file->st_uid, socket_file->st_gid, socket_file->st_mode, W_OK)) {
		report_add(r, VERDICT_OK, "way-in", "shim's access", "%s may connect", user_name(shim.uid, user));
		return;
	}
	c = report_add(r, VERDICT_ERROR, "way-in", "shim's access", "%s may not connect: the socket's mode is %03o", user_name(shim.uid, user),
		       (unsigned)(socket_file->st_mode & 0777));
	check_advise(c, "Put the shim's user into the socket's group: SupplementaryGroups=prosody in its unit.");
}

static void connect_handoff(struct report *r, const struct route *route, const struct stat *directory)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct check *c;

	if (fd >= 0 && connect(fd, &route->target.u.sa, route->target.len) == 0) {
		judge_listener(r, fd, directory);
	} else if (errno == ECONNREFUSED) {
		c = report_add(r, VERDICT_ERROR, "receiver", "receiver", "nobody listens at the socket");
		check_advise(c, "Start Prosody (systemctl start prosody): it has gone away and left the socket behind.");
	} else if (errno == EPROTOTYPE) {
		c = report_add(r, VERDICT_ERROR, "receiver", "receiver", "the socket is of another kind");
		check_advise(c, "Put the path of mod_net_fdpass (fdpass_socket) into the route, not another server's.");
	} else if (errno == EACCES) {
		c = report_add(r, VERDICT_NOTE, "receiver", "receiver", "not checked: this user may not connect");
		check_advise(c, "Run the check as root.");
	} else {
		c = report_add(r, VERDICT_ERROR, "receiver", "receiver", "no connection: %s", strerror(errno));
		check_advise(c, "Look whether Prosody is stuck (systemctl status prosody).");
	}
	if (fd >= 0)
		close(fd);
}

void local_handoff(struct report *r, const struct route *route)
{
	const char *path = route->target.u.un.sun_path;
	char copy[sizeof(route->target.u.un.sun_path) + 1], user[33];
	struct stat socket_file, directory;
	struct check *c;
	bool open_to_all;

	report_group(r, "%s", path);
	snprintf(copy, sizeof(copy), "%s", path);
	if (lstat(path, &socket_file) < 0 || stat(dirname(copy), &directory) < 0) {
		c = report_add(r, errno == EACCES ? VERDICT_NOTE : VERDICT_ERROR, "socket", "socket", "%s",
			       errno == EACCES ? "not checked: this user may not look" : "there is none");
		if (errno == EACCES)
			check_advise(c, "Run the check as root.");
		else
			check_advise(c, "Start Prosody with \"net_fdpass\" in its global modules_enabled; its log tells what hinders it.");
		return;
	}
	if (!S_ISSOCK(socket_file.st_mode)) {
		c = report_add(r, VERDICT_ERROR, "socket", "socket", "it is a file, not a socket");
		check_advise(c, "Remove it, and restart Prosody.");
		return;
	}
	open_to_all = (socket_file.st_mode & 0002) != 0 && (directory.st_mode & 0001) != 0;
	c = report_add(r, open_to_all ? VERDICT_WARNING : VERDICT_OK, "socket", "socket", "owner %s, mode %03o", user_name(socket_file.st_uid, user),
		       (unsigned)(socket_file.st_mode & 0777));
	if (open_to_all)
		check_advise(c, "Set fdpass_socket_mode = \"660\": now every local user may try to hand connections over.");
	judge_way_in(r, &socket_file, &directory);
	connect_handoff(r, route, &directory);
}
