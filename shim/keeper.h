#ifndef XMPP443_KEEPER_H
#define XMPP443_KEEPER_H

/*
 * keeper: what systemd is where there is no systemd.
 *
 * A parent process that does next to nothing and so does not fail: it runs the
 * daemon as its child, holds the descriptors that the child stores, and starts
 * it anew when it dies, with those descriptors. It speaks the part of
 * sd_notify(3) and sd_listen_fds(3) that the child needs, so the child does
 * not know the difference.
 *
 * SIGTERM and SIGINT end both. SIGHUP goes on to the child. SIGUSR2 replaces
 * the child by a new one, from the program's file as it is then.
 */

/*
 * Runs argv until SIGTERM; n descriptors from first on, with these names, go
 * to each child. Returns the exit code: that of a child that did not come up at
 * the first start, or was told to end.
 */
int keeper_run(char **argv, int first, int n, const char *names);

#endif
